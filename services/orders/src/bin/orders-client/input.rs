//! What people write: items, steps, files of orders.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use buffa::Enumeration as _;
use orders::proto::ecommerce::v1::{CreateOrderRequest, OrderItem, OrderStatus, ProcessOrderRequest};
use serde::de::DeserializeOwned;

/// Longest file that is read, in bytes. Ten thousand orders, which is what a batch may hold, rarely need one.
const FILE_SIZE_BYTES_MAX: u64 = 64 << 20;

/// `tea:2:3.5` is two pieces of tea at 3.5 each.
pub(crate) fn item(text: &str) -> Result<OrderItem, String> {
    let wrong = || format!("{text:?} is not an item: write PRODUCT:QUANTITY:PRICE, such as tea:2:3.5");
    // From the right: products may have colons.
    let (rest, price) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (product, quantity) = rest.rsplit_once(':').ok_or_else(wrong)?;
    Ok(OrderItem {
        product_id: product.to_owned(),
        quantity: quantity.parse().map_err(|_| wrong())?,
        price: price.parse().map_err(|_| wrong())?,
        ..Default::default()
    })
}

/// `ID=CONFIRMED` or `ID CONFIRMED`, in any case.
pub(crate) fn step(text: &str) -> Result<ProcessOrderRequest, String> {
    let (id, status) = text
        .split_once(['=', ' ', '\t'])
        .ok_or_else(|| format!("{text:?} is not a step: write ID=STATUS, such as 0190f6d2-...=CONFIRMED"))?;
    let name = status.trim().to_ascii_uppercase();
    let status = OrderStatus::from_proto_name(&format!("ORDER_STATUS_{name}"))
        .filter(|status| *status != OrderStatus::Unspecified)
        .ok_or_else(|| {
            format!("{name:?} is not a status: PENDING, CONFIRMED, SHIPPED, DELIVERED or CANCELLED")
        })?;
    Ok(ProcessOrderRequest {
        order_id: id.trim().to_owned(),
        new_status: status.into(),
        ..Default::default()
    })
}

/// The orders in a file, or on the standard input for `-`: a JSON array, or one object after the other.
pub(crate) fn orders(file: &Path) -> Result<Vec<CreateOrderRequest>, String> {
    let text = text(file)?;
    let place = |cause: serde_json::Error| format!("{}: {cause}", file.display());
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(place);
    }
    objects(&text).map_err(place)
}

fn objects<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

fn text(file: &Path) -> Result<String, String> {
    let fails = |cause: io::Error| format!("cannot read {}: {cause}", file.display());
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(FILE_SIZE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        let file = File::open(file).map_err(fails)?;
        file.take(FILE_SIZE_BYTES_MAX + 1).read_to_string(&mut text)
    };
    read.map_err(fails)?;
    if text.len() as u64 > FILE_SIZE_BYTES_MAX {
        return Err(format!("{} is larger than {} MiB", file.display(), FILE_SIZE_BYTES_MAX >> 20));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_from_the_right() {
        let item = item("a:b:2:3.5").unwrap();
        assert_eq!((item.product_id.as_str(), item.quantity, item.price), ("a:b", 2, 3.5));
        for bad in ["tea", "tea:2", "tea:x:1", "tea:1:x", "tea:1.5:1"] {
            assert!(super::item(bad).unwrap_err().contains("tea:2:3.5"), "{bad}");
        }
    }

    #[test]
    fn a_step_names_an_order_and_a_status() {
        for text in ["7=confirmed", "7 CONFIRMED", "7\tConfirmed"] {
            let step = step(text).unwrap();
            assert_eq!(
                (step.order_id.as_str(), step.new_status.as_known()),
                ("7", Some(OrderStatus::Confirmed))
            );
        }
        for bad in ["7", "7=", "7=unspecified", "7=gone"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn orders_come_as_an_array_or_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders.json");
        let one = r#"{"userId":"ada","items":[{"productId":"tea","quantity":2,"price":3.5}]}"#;
        for text in [format!(" [{one},{one}]"), format!("{one}\n{one}\n"), format!("{one}{one}")] {
            std::fs::write(&file, text).unwrap();
            let orders = orders(&file).unwrap();
            assert_eq!(orders.len(), 2);
            assert_eq!((orders[1].user_id.as_str(), orders[1].items[0].quantity), ("ada", 2));
        }
        std::fs::write(&file, format!("{one}\n{{\"userId\":7}}")).unwrap();
        let sentence = orders(&file).unwrap_err();
        assert!(sentence.contains("orders.json: ") && sentence.contains("line 2"), "{sentence}");
    }
}
