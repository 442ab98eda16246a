use connectrpc::ErrorCode;
use orders::proto::ecommerce::v1::{OrderStatus, ProcessOrderRequest, ProcessOrderResponse};

use crate::world::World;

fn step(id: &str, status: OrderStatus) -> ProcessOrderRequest {
    ProcessOrderRequest { order_id: id.into(), new_status: status.into(), ..Default::default() }
}

/// Sends one request and expects it to succeed.
pub(crate) async fn move_to(world: &World, id: &str, status: OrderStatus) {
    assert!(step_taken(world, id, status).await, "{id} to {status:?}");
}

/// Sends one request. Whether the order could take the step.
pub(crate) async fn step_taken(world: &World, id: &str, status: OrderStatus) -> bool {
    let mut stream = world.orders().process_orders().await.unwrap();
    stream.send(step(id, status)).await.unwrap();
    let answer = stream.message::<ProcessOrderResponse>().await.unwrap().unwrap().to_owned_message();
    stream.close_send();
    assert!(stream.message::<ProcessOrderResponse>().await.unwrap().is_none());
    answer.success
}

#[tokio::test]
async fn each_request_is_answered_in_order_while_the_stream_is_open() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let mut stream = world.orders().process_orders().await.unwrap();
    let steps = [
        (OrderStatus::Shipped, "an order that is PENDING cannot become SHIPPED"),
        (OrderStatus::Confirmed, ""),
        (OrderStatus::Confirmed, "an order that is CONFIRMED cannot become CONFIRMED"),
        (OrderStatus::Shipped, ""),
        (OrderStatus::Cancelled, "an order that is SHIPPED cannot become CANCELLED"),
        (OrderStatus::Delivered, ""),
        (OrderStatus::Pending, "an order that is DELIVERED cannot become PENDING"),
        (OrderStatus::Unspecified, "new_status is not a status an order can have"),
    ];
    for (status, sentence) in steps {
        stream.send(step(&id, status)).await.unwrap();
        let answer = stream.message::<ProcessOrderResponse>().await.unwrap().unwrap().to_owned_message();
        assert_eq!(answer.order_id, id);
        assert_eq!((answer.success, answer.error_message.as_str()), (sentence.is_empty(), sentence));
    }
    stream.close_send();
    assert!(stream.message::<ProcessOrderResponse>().await.unwrap().is_none());
}

#[tokio::test]
async fn a_bad_request_does_not_end_the_stream() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let mut stream = world.orders().process_orders().await.unwrap();
    let expected = [
        (step("nowhere", OrderStatus::Confirmed), "the order does not exist"),
        (step("", OrderStatus::Confirmed), "order_id is required"),
        (step(&"x".repeat(129), OrderStatus::Confirmed), "order_id must be at most 128 characters"),
        (
            ProcessOrderRequest {
                order_id: id.clone(),
                new_status: buffa::EnumValue::from(99),
                ..Default::default()
            },
            "new_status is not a status an order can have",
        ),
        (step(&id, OrderStatus::Cancelled), ""),
    ];
    // All requests first, then all answers: the sequence is kept.
    for (request, _) in &expected {
        stream.send(request.clone()).await.unwrap();
    }
    stream.close_send();
    for (_, sentence) in &expected {
        let answer = stream.message::<ProcessOrderResponse>().await.unwrap().unwrap().to_owned_message();
        assert_eq!(answer.error_message, *sentence);
    }
    assert!(stream.message::<ProcessOrderResponse>().await.unwrap().is_none());
}

#[tokio::test]
async fn a_drain_ends_an_idle_stream() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let mut stream = world.orders().process_orders().await.unwrap();
    stream.send(step(&id, OrderStatus::Confirmed)).await.unwrap();
    assert!(stream.message::<ProcessOrderResponse>().await.unwrap().unwrap().to_owned_message().success);
    world.drain();
    let error = stream.message::<ProcessOrderResponse>().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
}
