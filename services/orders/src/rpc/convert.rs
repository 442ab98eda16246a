//! Messages to the domain and back.

use buffa_types::google::protobuf::Timestamp;
use connectrpc::ConnectError;

use super::errors::Problem;
use super::validate;
use crate::clock::Micros;
use crate::domain::money;
use crate::domain::order::{Item, NewOrder, Order, Status};
use crate::proto::ecommerce::v1 as wire;

/// Most items of an order; the `.proto` says the same.
const MAX_ITEMS: usize = 500;

/// Reads a request for an order, or says everything that is wrong with it.
///
/// Items beyond the limit are not looked at: a message of 4 MiB has room for more mistakes than are worth telling.
pub(crate) fn new_order(mut request: wire::CreateOrderRequest) -> Result<NewOrder, ConnectError> {
    let count = request.items.len();
    request.items.truncate(MAX_ITEMS);
    let mut problems = validate::problems(&request)?;
    if count > MAX_ITEMS {
        // Before what is wrong with single items, of which only the first are named.
        let place = problems.iter().position(|problem| problem.field.starts_with("items["));
        let says = format!("must contain at most {MAX_ITEMS} items (got {count})");
        problems.insert(place.unwrap_or(problems.len()), Problem::new("items", says));
    }
    let mut items = Vec::with_capacity(request.items.len());
    for (index, item) in request.items.into_iter().enumerate() {
        match money::price(item.price) {
            Ok(price) => items.push(Item { product_id: item.product_id, quantity: item.quantity, price }),
            // The rules have told it.
            Err(money::PriceError::OutOfRange) => {}
            Err(cause) => problems.push(Problem::new(format!("items[{index}].price"), cause)),
        }
    }
    let total = money::total(items.iter().map(|item| (item.quantity, item.price)));
    if let Err(cause) = &total
        && problems.is_empty()
    {
        problems.push(Problem::saying("items", cause));
    }
    validate::refuse(problems)?;
    let total = total.map_err(|cause| super::errors::masked("add up the order", &cause))?;
    Ok(NewOrder { user_id: request.user_id, items, total })
}

/// An order for the wire.
pub(crate) fn order(order: &Order) -> wire::Order {
    wire::Order {
        id: order.id.clone(),
        user_id: order.user_id.clone(),
        items: order.items.iter().map(item).collect(),
        total_amount: money::to_wire(order.total),
        status: to_wire_status(order.status).into(),
        created_at: timestamp(order.created).into(),
        ..Default::default()
    }
}

fn item(item: &Item) -> wire::OrderItem {
    wire::OrderItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
        price: money::to_wire(item.price),
        ..Default::default()
    }
}

/// A point in time for the wire.
pub(crate) fn timestamp(time: Micros) -> Timestamp {
    let (seconds, nanos) = time.split();
    Timestamp::from_unix(seconds, i32::try_from(nanos).expect("below one second"))
}

const fn to_wire_status(status: Status) -> wire::OrderStatus {
    match status {
        Status::Pending => wire::OrderStatus::Pending,
        Status::Confirmed => wire::OrderStatus::Confirmed,
        Status::Shipped => wire::OrderStatus::Shipped,
        Status::Delivered => wire::OrderStatus::Delivered,
        Status::Cancelled => wire::OrderStatus::Cancelled,
    }
}

/// A status from the wire; `None` for one that is not said or not known.
pub(crate) fn from_wire_status(status: buffa::EnumValue<wire::OrderStatus>) -> Option<Status> {
    match status.as_known()? {
        wire::OrderStatus::Unspecified => None,
        wire::OrderStatus::Pending => Some(Status::Pending),
        wire::OrderStatus::Confirmed => Some(Status::Confirmed),
        wire::OrderStatus::Shipped => Some(Status::Shipped),
        wire::OrderStatus::Delivered => Some(Status::Delivered),
        wire::OrderStatus::Cancelled => Some(Status::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(items: &[(i32, f64)]) -> wire::CreateOrderRequest {
        let items = items.iter().map(|(quantity, price)| wire::OrderItem {
            product_id: "p".into(),
            quantity: *quantity,
            price: *price,
            ..Default::default()
        });
        wire::CreateOrderRequest { user_id: "ada".into(), items: items.collect(), ..Default::default() }
    }

    #[test]
    fn a_good_request_is_added_up_exactly() {
        let order = new_order(request(&[(3, 0.1), (1, 0.2)])).unwrap();
        assert_eq!(order.total.to_string(), "0.5");
    }

    #[test]
    fn rules_and_money_are_told_together() {
        let error = new_order(request(&[(0, 1.0), (1, 0.1 + 0.2)])).unwrap_err();
        assert_eq!(
            error.message.as_deref(),
            Some(
                "items[0].quantity must be from 1 to 10000; items[1].price must have at most 9 decimal places"
            )
        );
    }

    #[test]
    fn too_many_items_are_counted_and_not_read() {
        let error = new_order(request(&[(1, 1.0); 501])).unwrap_err();
        assert_eq!(error.message.as_deref(), Some("items must contain at most 500 items (got 501)"));
        let error = new_order(request(&[(0, 1.0); 100_000])).unwrap_err();
        let message = error.message.unwrap();
        assert!(
            message.starts_with("items must contain at most 500 items (got 100000); items[0].quantity"),
            "{message}"
        );
        assert!(message.ends_with("and 496 more"), "500 bad quantities and one bad count");
        new_order(request(&[(1, 1.0); 500])).unwrap();
    }

    #[test]
    fn a_total_out_of_range_names_the_items() {
        let error = new_order(request(&[(10_000, 1e12)])).unwrap_err();
        assert_eq!(error.message.as_deref(), Some("total_amount must be at most 1000000000000000"));
    }
}
