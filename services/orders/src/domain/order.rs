//! Orders and the steps they take.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use super::request_key::Fingerprint;
use crate::clock::Micros;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// UUID of version 7.
    pub(crate) id: String,
    /// Who ordered.
    pub(crate) user_id: String,
    /// What was ordered; never changes.
    pub(crate) items: Vec<Item>,
    /// Exact sum over the items.
    pub(crate) total: Decimal,
    /// Where it stands.
    pub(crate) status: Status,
    /// 1 at creation, one more with every change.
    pub(crate) version: i64,
    /// When it was created.
    pub(crate) created: Micros,
    /// When it last changed.
    pub(crate) updated: Micros,
}

/// One product of an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Which product.
    pub(crate) product_id: String,
    /// How many, at least 1.
    pub(crate) quantity: i32,
    /// Exact price of one.
    pub(crate) price: Decimal,
}

/// A request for an order that keeps all the rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewOrder {
    /// Who orders.
    pub(crate) user_id: String,
    /// What to order, at least one item.
    pub(crate) items: Vec<Item>,
    /// Exact sum over the items.
    pub(crate) total: Decimal,
}

impl NewOrder {
    /// What makes two requests the same: every field, each with its length, so that no two requests share a
    /// text.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut text = |value: &str| {
            hash.update(value.len().to_be_bytes());
            hash.update(value.as_bytes());
        };
        text(&self.user_id);
        for item in &self.items {
            text(&item.product_id);
            text(&item.quantity.to_string());
            text(&item.price.normalize().to_string());
        }
        Fingerprint::new(hash.finalize().into())
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Created, not yet accepted.
    Pending,
    /// Accepted.
    Confirmed,
    /// On its way.
    Shipped,
    /// Arrived; final.
    Delivered,
    /// Called off; final.
    Cancelled,
}

impl Status {
    /// Whether an order may go from here to `next`.
    pub(crate) const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Confirmed | Self::Cancelled)
                | (Self::Confirmed, Self::Shipped | Self::Cancelled)
                | (Self::Shipped, Self::Delivered)
        )
    }

    /// Whether nothing can follow.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Cancelled)
    }

    /// The name in the database and in sentences.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Shipped => "SHIPPED",
            Self::Delivered => "DELIVERED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Status {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Confirmed, Self::Shipped, Self::Delivered, Self::Cancelled]
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or(UnknownName)
    }
}

/// The database holds a name this program does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored name is not known to this program")]
pub(crate) struct UnknownName;

#[cfg(test)]
mod tests {
    use super::Status::{Cancelled, Confirmed, Delivered, Pending, Shipped};
    use super::*;
    use crate::domain::money;

    const ALL: [Status; 5] = [Pending, Confirmed, Shipped, Delivered, Cancelled];

    #[test]
    fn an_order_takes_exactly_the_allowed_steps() {
        let allowed = [
            (Pending, Confirmed),
            (Confirmed, Shipped),
            (Shipped, Delivered),
            (Pending, Cancelled),
            (Confirmed, Cancelled),
        ];
        for from in ALL {
            for to in ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn final_is_where_no_step_leads_on() {
        for status in ALL {
            assert_eq!(status.is_final(), !ALL.iter().any(|next| status.may_become(*next)));
        }
    }

    #[test]
    fn names_are_read_back() {
        for status in ALL {
            assert_eq!(status.name().parse(), Ok(status));
        }
        assert_eq!("LOST".parse::<Status>(), Err(UnknownName));
    }

    #[test]
    fn a_fingerprint_sees_every_field() {
        let item = |product: &str, quantity, price| Item {
            product_id: product.into(),
            quantity,
            price: money::price(price).unwrap(),
        };
        let order =
            |user: &str, items: Vec<Item>| NewOrder { user_id: user.into(), items, total: Decimal::ZERO };
        let base = order("u", vec![item("p", 1, 2.0)]).fingerprint();
        assert_eq!(base, order("u", vec![item("p", 1, 2.00)]).fingerprint());
        for other in [
            order("v", vec![item("p", 1, 2.0)]),
            order("u", vec![item("q", 1, 2.0)]),
            order("u", vec![item("p", 2, 2.0)]),
            order("u", vec![item("p", 1, 2.5)]),
            order("u", vec![item("p", 1, 2.0), item("p", 1, 2.0)]),
            order("up", vec![item("", 1, 2.0)]),
        ] {
            assert_ne!(base, other.fingerprint(), "{other:?}");
        }
    }
}
