//! The drain ends streams that would not end by themselves, and writes what was begun.

use tonic::Code;

use crate::ecommerce::OrderStatus;
use crate::process::Process;
use crate::shop::{Shop, an_order, soon};
use crate::watch::{next, watch};

#[tokio::test]
async fn a_drain_ends_watches_with_unavailable_so_that_callers_watch_elsewhere() {
    let mut shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let id = an_order(&mut orders).await.id;
    let mut updates = watch(&mut orders, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    shop.stop();
    let status = soon("the end", updates.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "server is draining"));
    assert_eq!(shop.drained().await.finished, 1);
}

#[tokio::test]
async fn a_drain_ends_process_streams_after_their_last_answer() {
    let mut shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let id = an_order(&mut orders).await.id;
    let mut process = Process::open(&mut orders).await;
    assert_eq!(process.step(&id, OrderStatus::Confirmed).await, Ok(()));
    shop.stop();
    let status = soon("the end", process.answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // As callers do: the connection stays while they hold their side of the stream open.
    drop(process);
    assert_eq!(shop.drained().await.finished, 1);
}
