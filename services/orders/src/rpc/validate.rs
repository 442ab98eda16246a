//! The rules of the `.proto` files, told in sentences.

use std::collections::HashSet;

use connectrpc::ConnectError;
use protovalidate_buffa::{Validate, Violation};

use super::errors::{self, Problem};
use crate::domain::{money, user};

/// Every field of `message` that breaks a rule, once each, in the order of the message.
///
/// An error is a rule that could not be evaluated, which is our mistake.
pub(crate) fn problems(message: &impl Validate) -> Result<Vec<Problem>, ConnectError> {
    let Err(error) = message.validate() else {
        return Ok(Vec::new());
    };
    if error.violations.is_empty() {
        return Err(errors::masked("check the request", &error));
    }
    let mut told = HashSet::new();
    Ok(error.violations.iter().map(tell).filter(|problem| told.insert(problem.field.clone())).collect())
}

/// Refuses `message` when it breaks a rule.
pub(crate) fn check(message: &impl Validate) -> Result<(), ConnectError> {
    refuse(problems(message)?)
}

/// Refuses when there are problems.
pub(crate) fn refuse(problems: Vec<Problem>) -> Result<(), ConnectError> {
    if problems.is_empty() { Ok(()) } else { Err(errors::invalid(problems)) }
}

/// The rules know numbers and names of rules; a person wants to know what to write instead.
fn tell(violation: &Violation) -> Problem {
    let field = violation.field.to_string();
    let leaf = field.rsplit('.').next().unwrap_or(&field).to_owned();
    let message = violation.message.as_ref();
    match (leaf.as_str(), violation.rule_id.as_ref()) {
        (_, "required") => Problem::new(field, "is required"),
        ("quantity", "int32.gte_lte") => Problem::new(field, "must be from 1 to 10000"),
        ("price", "double.finite" | "double.gte_lte") => Problem::new(field, money::PriceError::OutOfRange),
        ("page_size", "int32.gte") => Problem::new(field, "must not be negative"),
        (_, "string.email" | "string.email_empty") => Problem::new(field, user::BAD_EMAIL),
        (_, "string.max_len" | "repeated.max_items") => {
            let says = message.trim_start_matches("value length ").trim_start_matches("list ");
            Problem::new(field, says)
        }
        // A rule with a sentence of its own, or one this table does not know.
        _ => Problem::saying(field, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ecommerce::v1::{CreateOrderRequest, OrderItem};
    use crate::proto::user::v1::{CreateUserRequest, ListUsersRequest};

    fn sentences(message: &impl Validate) -> Vec<String> {
        problems(message).unwrap().into_iter().map(|problem| problem.sentence).collect()
    }

    fn order(items: Vec<OrderItem>) -> CreateOrderRequest {
        CreateOrderRequest { user_id: "ada".into(), items, ..Default::default() }
    }

    fn item(quantity: i32, price: f64) -> OrderItem {
        OrderItem { product_id: "p".into(), quantity, price, ..Default::default() }
    }

    #[test]
    fn an_empty_order_is_told_everything_at_once() {
        assert_eq!(
            sentences(&CreateOrderRequest::default()),
            ["user_id is required", "at least one item required"]
        );
    }

    #[test]
    fn the_edges_of_every_rule_are_inside() {
        let edges = order(vec![item(1, 0.0), item(10_000, 1e12)]);
        assert_eq!(sentences(&edges), [""; 0]);
        assert_eq!(sentences(&order(vec![item(1, 1.0); 500])), [""; 0]);
    }

    #[test]
    fn beyond_the_edges_is_outside_and_says_where_they_are() {
        let check = |item: OrderItem, expected: &str| assert_eq!(sentences(&order(vec![item])), [expected]);
        check(item(0, 1.0), "items[0].quantity must be from 1 to 10000");
        check(item(10_001, 1.0), "items[0].quantity must be from 1 to 10000");
        check(item(1, -0.01), "items[0].price must be from 0 to 1000000000000");
        check(item(1, 1e12 + 1.0), "items[0].price must be from 0 to 1000000000000");
        check(item(1, f64::NAN), "items[0].price must be from 0 to 1000000000000");
        check(item(1, f64::INFINITY), "items[0].price must be from 0 to 1000000000000");
        check(OrderItem { product_id: String::new(), ..item(1, 1.0) }, "items[0].product_id is required");
        check(
            OrderItem { product_id: "p".repeat(129), ..item(1, 1.0) },
            "items[0].product_id must be at most 128 characters",
        );
        assert_eq!(
            sentences(&order(vec![item(1, 1.0); 501])),
            ["items must contain at most 500 items (got 501)"]
        );
    }

    #[test]
    fn the_rules_of_users_are_told_too() {
        assert_eq!(sentences(&CreateUserRequest::default()), ["email is required", "name is required"]);
        let wrong = CreateUserRequest { email: "ada".into(), name: "a".repeat(257), ..Default::default() };
        assert_eq!(
            sentences(&wrong),
            ["email must be an e-mail address", "name must be at most 256 characters"]
        );
        let page = ListUsersRequest { page_size: -1, ..Default::default() };
        assert_eq!(sentences(&page), ["page_size must not be negative"]);
    }
}
