use connectrpc::ErrorCode;
use connectrpc::client::ServerStream;
use orders::proto::ecommerce::v1::__buffa::view::OrderUpdateView;
use orders::proto::ecommerce::v1::{OrderStatus, OrderUpdate, WatchOrderRequest};

use crate::process::move_to;
use crate::world::{World, resource};

pub(crate) type Updates = ServerStream<connectrpc::ConnectRpcBody, OrderUpdateView<'static>>;

pub(crate) async fn watch(world: &World, id: &str) -> Updates {
    let request = WatchOrderRequest { order_id: id.into(), ..Default::default() };
    world.orders().watch_order(request).await.unwrap()
}

pub(crate) async fn next(updates: &mut Updates) -> Option<OrderStatus> {
    let update = updates.message::<OrderUpdate>().await.unwrap()?.to_owned_message();
    assert!(update.updated_at.is_set());
    update.order.as_option().unwrap().status.as_known()
}

#[tokio::test]
async fn a_watcher_sees_the_state_then_every_change_and_the_end() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let mut updates = watch(&world, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    for status in [OrderStatus::Confirmed, OrderStatus::Shipped, OrderStatus::Delivered] {
        move_to(&world, &id, status).await;
    }
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Confirmed));
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Shipped));
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Delivered));
    assert_eq!(next(&mut updates).await, None);
    assert!(updates.error().is_none(), "{:?}", updates.error());
}

#[tokio::test]
async fn a_final_order_is_told_once() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    move_to(&world, &id, OrderStatus::Cancelled).await;
    let mut updates = watch(&world, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Cancelled));
    assert_eq!(next(&mut updates).await, None);
}

#[tokio::test]
async fn a_change_while_the_watch_begins_is_seen() {
    let world = World::new().await;
    for _ in 0..50 {
        let id = world.an_order().await.id;
        let (mut updates, ()) =
            tokio::join!(watch(&world, &id), move_to(&world, &id, OrderStatus::Cancelled));
        let mut seen = Vec::new();
        while let Some(status) = next(&mut updates).await {
            seen.push(status);
        }
        assert_eq!(seen.last(), Some(&OrderStatus::Cancelled));
        assert!(seen.len() <= 2, "{seen:?}");
    }
}

#[tokio::test]
async fn watchers_do_not_disturb_each_other() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let (mut first, mut second) = (watch(&world, &id).await, watch(&world, &id).await);
    assert_eq!(next(&mut first).await, Some(OrderStatus::Pending));
    drop(first);
    move_to(&world, &id, OrderStatus::Confirmed).await;
    // The second one was slow: it has read nothing so far.
    assert_eq!(next(&mut second).await, Some(OrderStatus::Pending));
    assert_eq!(next(&mut second).await, Some(OrderStatus::Confirmed));
}

#[tokio::test]
async fn an_unknown_order_cannot_be_watched() {
    let world = World::new().await;
    let request = WatchOrderRequest { order_id: "nowhere".into(), ..Default::default() };
    let error = match world.orders().watch_order(request).await {
        Err(error) => error,
        Ok(mut updates) => updates.message::<OrderUpdate>().await.unwrap_err(),
    };
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(resource(&error), ("ecommerce.v1.Order".into(), "nowhere".into()));
}

#[tokio::test]
async fn a_drain_ends_the_watch_so_that_the_caller_goes_elsewhere() {
    let world = World::new().await;
    let id = world.an_order().await.id;
    let mut updates = watch(&world, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    world.drain();
    let error = updates.message::<OrderUpdate>().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(error.message.as_deref(), Some("server is draining"));
}
