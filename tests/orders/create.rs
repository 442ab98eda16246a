//! CreateOrder and GetOrder: exact answers, told mistakes, safe retries.

use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::ecommerce::{CreateOrderRequest, GetOrderRequest, ListOrdersRequest, OrderStatus};
use crate::shop::{Shop, an_order, fields, keyed, reason, request, resource};

#[tokio::test]
async fn a_created_order_is_exact_and_read_back_as_it_was_answered() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let wanted = request("ada", &[(3, 0.1), (2, 19.99)]);
    let order = orders.create_order(wanted.clone()).await.unwrap().into_inner();
    assert_eq!((order.user_id.as_str(), &order.items), ("ada", &wanted.items));
    assert_eq!(order.total_amount, 40.28);
    assert_eq!(order.status(), OrderStatus::Pending);
    assert!(order.created_at.unwrap().seconds > 0);

    let read = orders.get_order(GetOrderRequest { order_id: order.id.clone() });
    assert_eq!(read.await.unwrap().into_inner(), order);
    let page = shop.metrics().await;
    assert!(page.contains("\norders_created_total 1\n"), "{page}");
    shop.close().await;
}

#[tokio::test]
async fn messages_may_be_compressed_both_ways() {
    let shop = Shop::open().await;
    let mut orders = shop
        .orders()
        .await
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let items = [(1, 1.0); 400];
    let order = orders.create_order(request("ada", &items)).await.unwrap();
    assert_eq!(order.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(order.into_inner().total_amount, 400.0);
    shop.close().await;
}

#[tokio::test]
async fn a_compressed_request_that_grows_beyond_a_limit_is_told_which() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await.send_compressed(CompressionEncoding::Gzip);
    let dense = orders.create_order(request(&"a".repeat(4 << 20), &[])).await.unwrap_err();
    assert_eq!(dense.code(), Code::ResourceExhausted);
    assert!(dense.message().contains("decompression_ratio_max"), "{dense:?}");
    // About three quarters of its size when compressed.
    let hex: String = (0_u32..600_000).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let large = orders.create_order(request(&hex, &[])).await.unwrap_err();
    assert_eq!(large.code(), Code::ResourceExhausted);
    assert!(large.message().contains("4194304 bytes (message_size_bytes_max)"), "{large:?}");
    shop.close().await;
}

#[tokio::test]
async fn every_field_at_fault_is_named() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let mut wrong = request("", &[(0, -1.0), (1, 1.0)]);
    wrong.items[1].product_id.clear();
    let status = orders.create_order(wrong).await.unwrap_err();
    assert_eq!(fields(&status), ["user_id", "items[0].quantity", "items[0].price", "items[1].product_id"]);

    let status = orders.create_order(CreateOrderRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), ["user_id", "items"]);
    assert!(status.message().contains("at least one item required"), "{status:?}");

    let status = orders.get_order(GetOrderRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), ["order_id"]);
    shop.close().await;
}

#[tokio::test]
async fn an_unknown_order_is_named() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let order_id = "nobody's".to_owned();
    let status = orders.get_order(GetOrderRequest { order_id }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(resource(&status), ("ecommerce.v1.Order".into(), "nobody's".into()));
    shop.close().await;
}

#[tokio::test]
async fn retries_with_one_key_from_many_connections_make_one_order() {
    let shop = Shop::open().await;
    let retry = async || {
        let mut orders = shop.orders().await;
        let answer = orders.create_order(keyed("k1", request("ada", &[(1, 5.0)]))).await;
        answer.unwrap().into_inner()
    };
    let answers = futures_util::future::join_all((0..8).map(|_| retry())).await;
    assert!(answers.iter().all(|order| *order == answers[0]), "{answers:#?}");

    let mut orders = shop.orders().await;
    let all = ListOrdersRequest { user_id: "ada".into(), ..Default::default() };
    let mut listed = orders.list_orders(all).await.unwrap().into_inner();
    assert_eq!(listed.message().await.unwrap().as_ref(), Some(&answers[0]));
    assert_eq!(listed.message().await.unwrap(), None);
    assert!(shop.metrics().await.contains("\norders_created_total 1\n"));
    shop.close().await;
}

#[tokio::test]
async fn a_key_that_was_used_for_another_request_is_refused_with_a_reason() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let first = keyed("k1", request("ada", &[(1, 5.0)]));
    orders.create_order(first).await.unwrap();
    let other = keyed("k1", request("ada", &[(2, 5.0)]));
    let status = orders.create_order(other).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), ("IDEMPOTENCY_KEY_REUSED".into(), "orders.highball.rs".into()));

    let hers = keyed("k1", request("bob", &[(2, 5.0)]));
    orders.create_order(hers).await.expect("keys belong to users");
    shop.close().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_named_like_a_field() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    for bad in ["two words", &"k".repeat(129)] {
        let status = orders.create_order(keyed(bad, request("ada", &[(1, 5.0)]))).await.unwrap_err();
        assert_eq!(fields(&status), ["idempotency-key"]);
    }
    an_order(&mut orders).await;
    shop.close().await;
}
