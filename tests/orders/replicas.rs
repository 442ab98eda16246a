//! Two servers over one database: a caller may go to either.

use tonic::Code;

use crate::ecommerce::{GetOrderRequest, ListOrdersRequest, Order, OrderStatus};
use crate::process::Process;
use crate::shop::{Shop, an_order, keyed, request, soon};
use crate::watch::{STEPS, next, watch};

#[tokio::test]
async fn a_watcher_sees_each_step_that_is_made_through_the_other_server() {
    let shop = Shop::open().await;
    let branch = shop.branch().await;
    let mut orders = shop.orders().await;
    let id = an_order(&mut orders).await.id;
    let mut updates = watch(&mut orders, &id).await;
    assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    let mut process = Process::open(&mut branch.orders().await).await;
    for status in STEPS {
        assert_eq!(process.step(&id, status).await, Ok(()));
        assert_eq!(next(&mut updates).await, Some(status));
    }
    assert_eq!(next(&mut updates).await, None, "DELIVERED is final");
    process.end().await;
    branch.close().await;
    shop.close().await;
}

#[tokio::test]
async fn a_retry_that_reaches_the_other_server_answers_the_same_order_and_another_request_is_refused() {
    let shop = Shop::open().await;
    let branch = shop.branch().await;
    let (mut here, mut there) = (shop.orders().await, branch.orders().await);
    let first = here.create_order(keyed("once", request("ada", &[(1, 9.99)]))).await.unwrap().into_inner();
    let again = there.create_order(keyed("once", request("ada", &[(1, 9.99)]))).await.unwrap().into_inner();
    assert_eq!(first, again);
    let refused = there.create_order(keyed("once", request("ada", &[(2, 9.99)]))).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    branch.close().await;
    shop.close().await;
}

#[tokio::test]
async fn an_answered_order_is_read_and_listed_at_the_other_server_at_once() {
    let shop = Shop::open().await;
    let branch = shop.branch().await;
    let (mut here, mut there) = (shop.orders().await, branch.orders().await);
    for _ in 0..20 {
        let order = an_order(&mut here).await;
        let read = there.get_order(GetOrderRequest { order_id: order.id.clone() }).await.unwrap();
        assert_eq!(read.into_inner(), order);
        let ask = ListOrdersRequest { page_size: 1, ..Default::default() };
        let mut list = there.list_orders(ask).await.unwrap().into_inner();
        let newest: Option<Order> = soon("the newest", list.message()).await.unwrap();
        assert_eq!(newest, Some(order));
    }
    branch.close().await;
    shop.close().await;
}
