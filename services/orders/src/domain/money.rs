//! Exact amounts behind the doubles of the wire.
//!
//! A double such as 0.1 is not one tenth, but its shortest decimal text is `0.1`, and that is what the caller
//! meant. So a price is read through that text, counted exactly, and goes back to the very same double.

use rust_decimal::Decimal;
use thiserror::Error;

/// Most decimal places of a price.
pub(crate) const DECIMAL_PLACES: u32 = 9;

/// Greatest price of one piece.
pub(crate) const MAX_PRICE: f64 = 1e12;

/// Greatest total of an order.
pub(crate) const MAX_TOTAL: Decimal = Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0);

/// Why a double is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PriceError {
    /// Not a number, negative, infinite or above [`MAX_PRICE`]. The rules in the `.proto` say the same.
    #[error("must be from 0 to 1000000000000")]
    OutOfRange,
    /// The decimal text is too long to be an amount somebody meant, such as 0.1 + 0.2 in doubles.
    #[error("must have at most 9 decimal places")]
    TooPrecise,
}

/// The items sum up to more than [`MAX_TOTAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("total_amount must be at most 1000000000000000")]
pub(crate) struct TotalTooLarge;

/// The decimal a caller meant by `value`.
pub(crate) fn price(value: f64) -> Result<Decimal, PriceError> {
    if !(0.0..=MAX_PRICE).contains(&value) {
        return Err(PriceError::OutOfRange);
    }
    // Adding zero turns -0.0 into 0.0. The text never has an exponent.
    let text = (value + 0.0).to_string();
    let amount = Decimal::from_str_exact(&text).map_err(|_| PriceError::TooPrecise)?;
    if amount.scale() > DECIMAL_PLACES {
        return Err(PriceError::TooPrecise);
    }
    Ok(amount)
}

/// The exact sum of quantity times price.
pub(crate) fn total(lines: impl IntoIterator<Item = (i32, Decimal)>) -> Result<Decimal, TotalTooLarge> {
    let mut sum = Decimal::ZERO;
    for (quantity, price) in lines {
        let line = Decimal::from(quantity).checked_mul(price).ok_or(TotalTooLarge)?;
        sum = sum.checked_add(line).ok_or(TotalTooLarge)?;
        if sum > MAX_TOTAL {
            return Err(TotalTooLarge);
        }
    }
    Ok(sum.normalize())
}

/// The double nearest to `amount`. Through text, because the direct conversion is not correctly rounded.
pub(crate) fn to_wire(amount: Decimal) -> f64 {
    amount.to_string().parse().expect("a decimal is a valid double")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_greatest_total_is_ten_to_the_fifteen() {
        assert_eq!(MAX_TOTAL.to_string(), "1000000000000000");
    }

    #[test]
    fn three_times_a_tenth_is_three_tenths() {
        let tenth = price(0.1).unwrap();
        let sum = total([(3, tenth)]).unwrap();
        assert_eq!(sum.to_string(), "0.3");
        assert!((to_wire(sum) - 0.3).abs() < f64::EPSILON);
    }

    #[test]
    fn ten_thousand_cents_are_a_hundred() {
        let cent = price(0.01).unwrap();
        assert_eq!(total((0..10_000).map(|_| (1, cent))).unwrap().to_string(), "100");
    }

    #[test]
    fn a_price_nobody_can_mean_is_refused() {
        for value in [f64::NAN, f64::INFINITY, -f64::INFINITY, -0.01, 1e12 + 1.0, f64::MAX] {
            assert_eq!(price(value), Err(PriceError::OutOfRange), "{value}");
        }
        for value in [0.1 + 0.2, 1e-10, f64::MIN_POSITIVE, 5e-324, 1.000_000_000_1] {
            assert_eq!(price(value), Err(PriceError::TooPrecise), "{value}");
        }
    }

    #[test]
    fn the_edges_of_the_range_are_prices() {
        assert_eq!(price(-0.0).unwrap().to_string(), "0");
        assert_eq!(price(1e12).unwrap().to_string(), "1000000000000");
        assert_eq!(price(0.000_000_001).unwrap().to_string(), "0.000000001");
    }

    #[test]
    fn a_total_out_of_range_is_refused_and_never_panics() {
        let most = price(MAX_PRICE).unwrap();
        assert_eq!(total([(1_000, most)]).unwrap(), MAX_TOTAL);
        assert_eq!(total([(1_000, most), (1, price(0.01).unwrap())]), Err(TotalTooLarge));
        assert_eq!(total((0..500).map(|_| (10_000, most))), Err(TotalTooLarge));
        assert_eq!(total([(i32::MAX, Decimal::MAX)]), Err(TotalTooLarge));
    }

    proptest! {
        #[test]
        fn a_price_comes_back_as_the_same_double(units in 0_u64..1_000_000_000, nanos in 0_u32..1_000_000) {
            let value: f64 = format!("{units}.{nanos:06}").parse().unwrap();
            let amount = price(value).unwrap();
            prop_assert_eq!(to_wire(amount).to_bits(), value.to_bits());
        }

        #[test]
        fn any_double_is_a_price_or_an_error(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if let Ok(amount) = price(value) {
                prop_assert_eq!(to_wire(amount).to_bits(), (value + 0.0).to_bits());
            }
        }

        #[test]
        fn a_total_is_the_sum_in_integers(
            lines in proptest::collection::vec((1_i32..10_000, 0_i64..100_000_000), 0..50)
        ) {
            let exact: i128 = lines.iter().map(|(q, cents)| i128::from(*q) * i128::from(*cents)).sum();
            let sum = total(lines.iter().map(|(q, cents)| (*q, Decimal::new(*cents, 2)))).unwrap();
            prop_assert_eq!(sum, Decimal::from_i128_with_scale(exact, 2));
        }
    }
}
