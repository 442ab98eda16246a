//! ListOrders: pages through the `next-page-token` trailer.

use crate::ecommerce::ListOrdersRequest;
use crate::shop::{Orders, Shop, fields, request};

/// One page: the quantities that tell its orders apart, and the token of the next.
async fn page(orders: &mut Orders, size: i32, token: &str) -> (Vec<i32>, Option<String>) {
    let ask = ListOrdersRequest { user_id: "ada".into(), page_size: size, page_token: token.to_owned() };
    let mut listed = orders.list_orders(ask).await.unwrap().into_inner();
    let mut quantities = Vec::new();
    while let Some(order) = listed.message().await.unwrap() {
        assert_eq!(order.user_id, "ada");
        quantities.push(order.items[0].quantity);
    }
    let trailers = listed.trailers().await.unwrap().unwrap_or_default();
    let token = trailers.get("next-page-token").map(|token| token.to_str().unwrap().to_owned());
    (quantities, token)
}

/// Orders of 1, 2, ... pieces.
async fn some_orders(orders: &mut Orders, count: i32) {
    for quantity in 1..=count {
        let wanted = request("ada", &[(quantity, 1.0)]);
        orders.create_order(wanted).await.unwrap();
    }
    orders.create_order(request("bob", &[(99, 1.0)])).await.unwrap();
}

#[tokio::test]
async fn the_trailer_leads_from_page_to_page_until_it_is_absent() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    some_orders(&mut orders, 5).await;
    let (first, token) = page(&mut orders, 2, "").await;
    // Another client may go on where this one stopped, with pages of another size.
    let mut another = shop.orders().await;
    let (second, token) = page(&mut another, 2, &token.unwrap()).await;
    let (third, end) = page(&mut another, 100, &token.unwrap()).await;
    assert_eq!([first, second, third].concat(), [5, 4, 3, 2, 1]);
    assert_eq!(end, None);
    shop.close().await;
}

#[tokio::test]
async fn a_page_that_cannot_be_asked_for_names_the_field() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    some_orders(&mut orders, 3).await;
    let (_, token) = page(&mut orders, 2, "").await;
    let ask = |user: &str, page_size, page_token: &str| ListOrdersRequest {
        user_id: user.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    for (wrong, field) in [
        (ask("ada", -1, ""), "page_size"),
        (ask("ada", 2, "made up"), "page_token"),
        (ask("bob", 2, &token.unwrap()), "page_token"),
    ] {
        let status = orders.list_orders(wrong).await.unwrap_err();
        assert_eq!(fields(&status), [field], "{status:?}");
    }
    shop.close().await;
}
