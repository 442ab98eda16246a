use connectrpc::ErrorCode;
use orders::proto::ecommerce::v1::{CreateOrderRequest, GetOrderRequest, OrderItem, OrderStatus};

use crate::world::{World, fields, key, reason, request, resource};

fn get(id: &str) -> GetOrderRequest {
    GetOrderRequest { order_id: id.into(), ..Default::default() }
}

#[tokio::test]
async fn a_created_order_is_exact_pending_and_can_be_read() {
    let world = World::new().await;
    let created =
        world.orders().create_order(request("ada", &[(3, 0.1), (2, 19.99)])).await.unwrap().into_owned();
    assert_eq!(created.user_id, "ada");
    assert_eq!(created.total_amount.to_bits(), 40.28_f64.to_bits());
    assert_eq!(created.status.as_known(), Some(OrderStatus::Pending));
    assert_eq!(created.items.len(), 2);
    assert_eq!(created.items[0].price.to_bits(), 0.1_f64.to_bits());
    assert!(created.created_at.as_option().unwrap().seconds > 1_700_000_000);
    assert_eq!(created.id.as_bytes()[14], b'7', "a UUID of version 7");

    let read = world.orders().get_order(get(&created.id)).await.unwrap().into_owned();
    assert_eq!(read, created);
    assert_eq!(world.orders_created.value(), 1);
}

#[tokio::test]
async fn an_order_survives_a_restart() {
    let mut world = World::new().await;
    let created = world.an_order().await;
    world.restart().await;
    assert_eq!(world.orders().get_order(get(&created.id)).await.unwrap().into_owned(), created);
}

#[tokio::test]
async fn many_orders_at_once_are_all_kept() {
    let world = World::new().await;
    let clients: Vec<_> = (0..300).map(|_| world.orders()).collect();
    let calls = clients.iter().map(|client| client.create_order(request("ada", &[(1, 1.0)])));
    let created = futures_util::future::join_all(calls).await;
    let mut ids: Vec<_> = created.into_iter().map(|order| order.unwrap().into_owned().id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    for id in &ids {
        world.orders().get_order(get(id)).await.unwrap();
    }
    assert_eq!(world.orders_created.value(), 300);
}

/// Commits in the write-ahead log: frames that name the size of the database after them.
fn commits(world: &World) -> usize {
    let mut path = world.database().path().as_os_str().to_owned();
    path.push("-wal");
    let log = std::fs::read(path).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let page = number(&log[8..12]) as usize;
    log[32..].chunks_exact(24 + page).filter(|frame| number(&frame[4..8]) != 0).count()
}

#[tokio::test]
async fn calls_at_the_same_moment_share_a_commit() {
    let world = World::new().await;
    let start = commits(&world);
    let client = world.orders();
    for _ in 0..5 {
        client.create_order(request("ada", &[(1, 1.0)])).await.unwrap();
    }
    assert_eq!(commits(&world) - start, 5, "one after the other");
    let calls = (0..200).map(|_| client.create_order(request("ada", &[(1, 1.0)])));
    let created = futures_util::future::join_all(calls).await;
    assert!(created.iter().all(Result::is_ok));
    let shared = commits(&world) - start - 5;
    assert!((1..=20).contains(&shared), "{shared} commits for 200 orders");
}

#[tokio::test]
async fn everything_wrong_with_a_request_is_told_at_once() {
    let world = World::new().await;
    let error = world.orders().create_order(CreateOrderRequest::default()).await.unwrap_err();
    assert_eq!(error.message.as_deref(), Some("user_id is required; at least one item required"));
    assert_eq!(
        fields(&error),
        [
            ("user_id".into(), "user_id is required".into()),
            ("items".into(), "at least one item required".into()),
        ]
    );

    let error =
        world.orders().create_order(request("ada", &[(0, 1.0), (1, -1.0), (1, 1e-12)])).await.unwrap_err();
    let fields: Vec<_> = fields(&error).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["items[0].quantity", "items[1].price", "items[2].price"]);
    assert_eq!(world.orders_created.value(), 0);
}

#[tokio::test]
async fn a_flood_of_problems_fits_into_a_header() {
    let world = World::new().await;
    let worst = CreateOrderRequest {
        items: vec![OrderItem { price: f64::NAN, ..Default::default() }; 10_000],
        ..Default::default()
    };
    let error = world.orders().create_order(worst).await.unwrap_err();
    assert_eq!(fields(&error).len(), 20);
    assert!(error.message.as_ref().unwrap().ends_with("more"), "{error:?}");
    let bytes: usize = error.details.iter().map(|detail| detail.value.as_ref().unwrap().len()).sum();
    assert!(bytes + error.message.unwrap().len() < 4_096, "{bytes}");
}

#[tokio::test]
async fn an_unknown_order_is_not_found() {
    let world = World::new().await;
    let error = world.orders().get_order(get("nowhere")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(error.message.as_deref(), Some("order \"nowhere\" does not exist"));
    assert_eq!(resource(&error), ("ecommerce.v1.Order".into(), "nowhere".into()));
    let error = world.orders().get_order(get("")).await.unwrap_err();
    assert_eq!(fields(&error), [("order_id".into(), "order_id is required".into())]);
}

#[tokio::test]
async fn a_retry_with_the_same_key_answers_the_same_order() {
    let mut world = World::new().await;
    let wanted = request("ada", &[(1, 2.5)]);
    let first =
        world.orders().create_order_with_options(wanted.clone(), key("k-1")).await.unwrap().into_owned();
    let again =
        world.orders().create_order_with_options(wanted.clone(), key("k-1")).await.unwrap().into_owned();
    assert_eq!(first, again);
    world.restart().await;
    let later =
        world.orders().create_order_with_options(wanted.clone(), key("k-1")).await.unwrap().into_owned();
    assert_eq!(first, later);
    assert_eq!(world.orders_created.value(), 1);

    let other = world.orders().create_order_with_options(wanted, key("k-2")).await.unwrap().into_owned();
    assert_ne!(first.id, other.id);
}

#[tokio::test]
async fn retries_at_the_same_moment_make_one_order() {
    let world = World::new().await;
    let clients: Vec<_> = (0..50).map(|_| world.orders()).collect();
    let calls = clients
        .iter()
        .map(|client| client.create_order_with_options(request("ada", &[(1, 1.0)]), key("same")));
    let mut ids: Vec<_> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .map(|order| order.unwrap().into_owned().id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.orders_created.value(), 1);
}

#[tokio::test]
async fn a_key_for_another_request_is_refused() {
    let world = World::new().await;
    world.orders().create_order_with_options(request("ada", &[(1, 1.0)]), key("k")).await.unwrap();
    let error =
        world.orders().create_order_with_options(request("ada", &[(2, 1.0)]), key("k")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::FailedPrecondition);
    assert_eq!(reason(&error), "IDEMPOTENCY_KEY_REUSED");
    // Keys belong to their user.
    world.orders().create_order_with_options(request("bob", &[(2, 1.0)]), key("k")).await.unwrap();
    assert_eq!(world.orders_created.value(), 2);
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_refused() {
    let world = World::new().await;
    for bad in ["", "a b", &"x".repeat(129)] {
        let options = key(bad);
        let error =
            world.orders().create_order_with_options(request("ada", &[(1, 1.0)]), options).await.unwrap_err();
        assert_eq!(fields(&error)[0].0, "idempotency-key", "{bad:?}");
    }
    assert_eq!(world.orders_created.value(), 0);
}
