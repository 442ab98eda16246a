//! WatchOrder: the state, then every change of it, whoever makes it and however slowly it is read.

use highball::Code as RawCode;
use prost::Message as _;
use tonic::{Code, Streaming};

use crate::ecommerce::order_service_client::OrderServiceClient;
use crate::ecommerce::{GetOrderRequest, OrderStatus, OrderUpdate, WatchOrderRequest};
use crate::process::Process;
use crate::shop::{Orders, Shop, an_order, fields, request, resource, soon};

pub(crate) const STEPS: [OrderStatus; 3] =
    [OrderStatus::Confirmed, OrderStatus::Shipped, OrderStatus::Delivered];

pub(crate) async fn watch(orders: &mut Orders, id: &str) -> Streaming<OrderUpdate> {
    let order_id = id.to_owned();
    let updates = orders.watch_order(WatchOrderRequest { order_id }).await;
    updates.unwrap().into_inner()
}

/// The next status; `None` at an end with OK.
pub(crate) async fn next(updates: &mut Streaming<OrderUpdate>) -> Option<OrderStatus> {
    let update = soon("an update", updates.message()).await.unwrap()?;
    assert!(update.updated_at.is_some());
    Some(update.order.unwrap().status())
}

#[tokio::test]
async fn a_watcher_sees_each_step_before_the_next_is_made() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let id = an_order(&mut orders).await.id;
    let mut updates = watch(&mut orders, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));

    let mut process = Process::open(&mut shop.orders().await).await;
    for status in STEPS {
        assert_eq!(process.step(&id, status).await, Ok(()));
        assert_eq!(next(&mut updates).await, Some(status));
    }
    assert_eq!(next(&mut updates).await, None, "DELIVERED is final");
    process.end().await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_watched_is_named() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let order_id = "nobody's".to_owned();
    let status = orders.watch_order(WatchOrderRequest { order_id }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(resource(&status), ("ecommerce.v1.Order".into(), "nobody's".into()));
    let status = orders.watch_order(WatchOrderRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), ["order_id"]);
    shop.close().await;
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends_on_the_server_too() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let id = an_order(&mut orders).await.id;
    let mut updates = watch(&mut orders, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    drop(updates);
    shop.idle().await;
    let page = shop.metrics().await;
    let cancelled =
        "grpc_requests_total{method=\"ecommerce.v1.OrderService/WatchOrder\",code=\"CANCELLED\"} 1\n";
    assert!(page.contains(cancelled), "{page}");
    shop.close().await;
}

#[tokio::test]
async fn a_watch_ends_at_its_deadline_with_what_it_had_sent() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let order_id = an_order(&mut orders).await.id;
    // A client that knew of the deadline would end the call itself, and call it CANCELLED.
    let raw = shop.raw().await;
    let message = WatchOrderRequest { order_id }.encode_to_vec();
    let reply = soon("the deadline", async {
        let path = "/ecommerce.v1.OrderService/WatchOrder";
        raw.call(path, &[("grpc-timeout", "300m")], &[&message]).await
    })
    .await;
    assert_eq!(reply.code(), RawCode::DeadlineExceeded);
    assert_eq!(reply.messages.len(), 1, "the state");
    assert!(reply.broken.is_none(), "trailers, not a reset");
    drop(raw);
    shop.close().await;
}

#[tokio::test]
async fn readers_that_stop_reading_block_no_writer_and_miss_nothing() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let mut big = request("ada", &[(1, 1.0); 500]);
    for item in &mut big.items {
        item.product_id = "p".repeat(128);
    }
    let id = orders.create_order(big).await.unwrap().into_inner().id;

    // The order is larger than the windows of this connection: all its watches stall within their first message.
    let narrow = shop.endpoint().initial_stream_window_size(16 << 10);
    let narrow = narrow.initial_connection_window_size((64 << 10) - 1);
    let mut slow = OrderServiceClient::new(narrow.connect().await.unwrap());
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(soon("the head of a watch", watch(&mut slow, &id)).await);
    }

    let mut process = Process::open(&mut orders).await;
    for status in STEPS {
        assert_eq!(process.step(&id, status).await, Ok(()));
    }
    process.end().await;
    for _ in 0..20 {
        soon("a write", an_order(&mut orders)).await;
    }
    let read = orders.get_order(GetOrderRequest { order_id: id });
    assert_eq!(read.await.unwrap().into_inner().status(), OrderStatus::Delivered);

    // All at once: together they hold the window of the connection, and one alone would wait for the others.
    let read = stalled.into_iter().map(async |mut updates| {
        let mut seen = Vec::new();
        while let Some(status) = next(&mut updates).await {
            seen.push(status);
        }
        assert_eq!(seen[0], OrderStatus::Pending);
        assert_eq!(seen[1..], STEPS);
    });
    futures_util::future::join_all(read).await;
    shop.close().await;
}
