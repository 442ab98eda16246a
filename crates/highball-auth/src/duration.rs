//! Durations as people write them: `250ms`, `60s`, `10m`, `1h`, `7d`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de};

/// Reads a whole number with its unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// A sentence that names the units. A number alone is refused: nobody remembers whether it was seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is not a duration; write a whole number with ms, s, m, h or d")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is not a duration; it has no usable number"))?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("60s", 60_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "60", "s", "1.5h", "-1s", "1 h", "1min", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
