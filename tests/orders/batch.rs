//! BatchCreateOrders: a stream in, one answer out.

use crate::ecommerce::{BatchCreateOrdersResponse, CreateOrderRequest, ListOrdersRequest};
use crate::shop::{Orders, Shop, keyed, request};

fn three() -> Vec<CreateOrderRequest> {
    vec![request("ada", &[(1, 1.0)]), request("ada", &[]), request("ada", &[(3, 1.0)])]
}

async fn send(
    orders: &mut Orders,
    key: &str,
    messages: Vec<CreateOrderRequest>,
) -> BatchCreateOrdersResponse {
    let stream = keyed(key, tokio_stream::iter(messages));
    orders.batch_create_orders(stream).await.unwrap().into_inner()
}

#[tokio::test]
async fn each_message_of_a_batch_stands_alone() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let answer = send(&mut orders, "b1", three()).await;
    assert_eq!((answer.success_count, answer.failure_count), (2, 1));
    let quantities: Vec<i32> = answer.orders.iter().map(|order| order.items[0].quantity).collect();
    assert_eq!(quantities, [1, 3], "in the sequence of the messages");
    shop.close().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_with_its_key_makes_nothing_twice() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let answer = send(&mut orders, "b1", three()).await;
    let mut another = shop.orders().await;
    assert_eq!(send(&mut another, "b1", three()).await, answer);

    let all = orders.list_orders(ListOrdersRequest::default()).await.unwrap();
    let mut all = all.into_inner();
    let mut count = 0;
    while all.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 2);
    shop.close().await;
}
