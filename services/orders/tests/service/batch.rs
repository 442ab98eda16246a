use connectrpc::{ErrorCode, stream_iter};
use orders::proto::ecommerce::v1::{BatchCreateOrdersResponse, CreateOrderRequest};

use crate::world::{World, key, reason, request};

async fn send(world: &World, requests: Vec<CreateOrderRequest>) -> BatchCreateOrdersResponse {
    world.orders().batch_create_orders(stream_iter(requests)).await.unwrap().into_owned()
}

#[tokio::test]
async fn each_message_stands_alone_and_the_counts_are_exact() {
    let world = World::new().await;
    let requests =
        (0..200).map(|n| if n % 3 == 0 { request("", &[]) } else { request("ada", &[(n, 1.0)]) }).collect();
    let answer = send(&world, requests).await;
    assert_eq!((answer.success_count, answer.failure_count), (133, 67));
    let quantities: Vec<i32> = answer.orders.iter().map(|order| order.items[0].quantity).collect();
    let expected: Vec<i32> = (0..200).filter(|n| n % 3 != 0).collect();
    assert_eq!(quantities, expected, "in the sequence of the messages");
    assert_eq!(world.orders_created.value(), 133);
}

#[tokio::test]
async fn an_empty_batch_is_an_empty_answer() {
    let world = World::new().await;
    let answer = send(&world, Vec::new()).await;
    assert_eq!((answer.success_count, answer.failure_count, answer.orders.len()), (0, 0, 0));
}

#[tokio::test]
async fn a_retried_batch_answers_the_same_orders() {
    let world = World::new().await;
    let requests: Vec<_> = (1..=20).map(|n| request("ada", &[(n, 1.0)])).collect();
    let options = || key("import-7");
    let half = requests[..10].to_vec();
    let first = world.orders().batch_create_orders_with_options(stream_iter(half), options()).await.unwrap();
    let first = first.into_owned();
    let again =
        world.orders().batch_create_orders_with_options(stream_iter(requests), options()).await.unwrap();
    let again = again.into_owned();
    assert_eq!(again.success_count, 20);
    assert_eq!(again.orders[..10], first.orders[..]);
    assert_eq!(world.orders_created.value(), 20);
}

#[tokio::test]
async fn a_changed_message_under_the_same_key_is_a_failure() {
    let world = World::new().await;
    let batch = |quantity| stream_iter(vec![request("ada", &[(1, 1.0)]), request("ada", &[(quantity, 1.0)])]);
    world.orders().batch_create_orders_with_options(batch(2), key("k")).await.unwrap();
    let answer =
        world.orders().batch_create_orders_with_options(batch(3), key("k")).await.unwrap().into_owned();
    assert_eq!((answer.success_count, answer.failure_count), (1, 1));
    assert_eq!(world.orders_created.value(), 2);
}

#[tokio::test]
async fn too_many_messages_end_the_batch_and_keep_what_was_created() {
    let world = World::new().await;
    let mut requests = vec![request("ada", &[(1, 1.0)])];
    requests.resize(10_001, request("", &[]));
    let error = world.orders().batch_create_orders(stream_iter(requests)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ResourceExhausted);
    assert_eq!(reason(&error), "BATCH_TOO_LARGE");
    assert!(error.message.unwrap().contains("message 10001"));
    assert_eq!(world.orders_created.value(), 1);
}

#[tokio::test]
async fn an_answer_never_grows_beyond_what_a_caller_takes() {
    let world = World::new().await;
    let mut large = request(&"u".repeat(128), &[(1, 1.0); 500]);
    for item in &mut large.items {
        item.product_id = "p".repeat(128);
    }
    let error = world.orders().batch_create_orders(stream_iter(vec![large.clone(); 60])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ResourceExhausted);
    assert_eq!(reason(&error), "BATCH_TOO_LARGE");
    let kept = world.orders_created.value();
    assert!((30..60).contains(&kept), "{kept}");

    let kept = usize::try_from(kept).unwrap();
    let answer = send(&world, vec![large; kept]).await;
    let bytes = buffa::Message::encoded_len(&answer);
    assert!(bytes < 3 * 1024 * 1024, "{bytes}");
}
