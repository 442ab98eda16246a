use orders::proto::ecommerce::v1::{ListOrdersRequest, Order};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::world::{World, fields, request};

struct Page {
    orders: Vec<Order>,
    next: Option<String>,
}

fn ask(user: &str, size: i32, token: &str) -> ListOrdersRequest {
    ListOrdersRequest {
        user_id: user.into(),
        page_size: size,
        page_token: token.into(),
        ..Default::default()
    }
}

async fn page(world: &World, request: ListOrdersRequest) -> Page {
    let mut stream = world.orders().list_orders(request).await.unwrap();
    let mut orders = Vec::new();
    while let Some(order) = stream.message::<Order>().await.unwrap() {
        orders.push(order.to_owned_message());
    }
    let next = stream.trailers().and_then(|trailers| trailers.get("next-page-token"));
    Page { orders, next: next.map(|token| token.to_str().unwrap().to_owned()) }
}

async fn refused(world: &World, request: ListOrdersRequest) -> Vec<(String, String)> {
    match world.orders().list_orders(request).await {
        Err(error) => fields(&error),
        Ok(mut stream) => fields(&stream.message::<Order>().await.unwrap_err()),
    }
}

async fn some_orders(world: &World, user: &str, count: i32) {
    for number in 1..=count {
        world.orders().create_order(request(user, &[(number, 1.0), (1, 0.5)])).await.unwrap();
    }
}

fn numbers(page: &Page) -> Vec<i32> {
    page.orders.iter().map(|order| order.items[0].quantity).collect()
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_without_gap_or_repeat() {
    let world = World::new().await;
    some_orders(&world, "ada", 25).await;
    some_orders(&world, "bob", 3).await;
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = page(&world, ask("ada", 10, &token)).await;
        seen.extend(numbers(&page));
        // An order that comes while pages are turned is newer than all of them.
        some_orders(&world, "ada", 1).await;
        match page.next {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn sizes_have_a_default_and_a_cap_and_the_last_page_has_no_token() {
    let world = World::new().await;
    some_orders(&world, "ada", 101).await;
    let check = async |size, expected, more| {
        let page = page(&world, ask("ada", size, "")).await;
        assert_eq!((page.orders.len(), page.next.is_some()), (expected, more), "{size}");
    };
    check(0, 50, true).await;
    check(1, 1, true).await;
    check(1_000, 100, true).await;
    world.orders().list_orders(ask("nobody", 0, "")).await.unwrap();
    let last = page(&world, ask("ada", 100, "")).await.next.unwrap();
    let page = page(&world, ask("ada", 100, &last)).await;
    assert_eq!((numbers(&page), page.next), (vec![1], None));
}

#[tokio::test]
async fn a_new_order_is_the_newest_also_after_the_clock_was_set_back() {
    let mut world = World::new().await;
    let late = world.an_order().await.id;
    // Made when the clock was some years ahead of now.
    let future = late.replacen('0', "1", 1);
    let mut file = SqliteConnectOptions::new()
        .filename(world.database().path())
        .foreign_keys(false)
        .connect()
        .await
        .unwrap();
    for update in ["UPDATE orders SET id = ?", "UPDATE order_items SET order_id = ?"] {
        sqlx::query(update).bind(&future).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
    world.restart().await;
    let made: Vec<_> = [world.an_order().await.id, world.an_order().await.id].into();
    let listed = page(&world, ask("", 0, "")).await.orders;
    let listed: Vec<_> = listed.into_iter().map(|order| order.id).collect();
    assert_eq!(listed, [made[1].clone(), made[0].clone(), future]);
}

#[tokio::test]
async fn a_list_is_exactly_full_without_a_next_page() {
    let world = World::new().await;
    some_orders(&world, "ada", 3).await;
    let page = page(&world, ask("ada", 3, "")).await;
    assert_eq!((page.orders.len(), page.next), (3, None));
}

#[tokio::test]
async fn without_a_user_all_orders_are_listed_with_their_items() {
    let world = World::new().await;
    some_orders(&world, "ada", 30).await;
    some_orders(&world, "bob", 30).await;
    let page = page(&world, ask("", 100, "")).await;
    assert_eq!(page.orders.len(), 60);
    assert!(page.orders.iter().all(|order| order.items.len() == 2));
    assert_eq!(page.orders[0].user_id, "bob");
}

#[tokio::test]
async fn a_token_is_for_one_list_one_filter_and_one_database() {
    let mut world = World::new().await;
    some_orders(&world, "ada", 3).await;
    let token = page(&world, ask("ada", 1, "")).await.next.unwrap();
    world.restart().await;
    assert_eq!(numbers(&page(&world, ask("ada", 5, &token)).await), [2, 1]);

    let expected = [("page_token".to_owned(), "page_token is not valid for this request".to_owned())];
    assert_eq!(refused(&world, ask("bob", 1, &token)).await, expected);
    assert_eq!(refused(&world, ask("", 1, &token)).await, expected);
    assert_eq!(refused(&world, ask("ada", 1, "AAAA")).await, expected);
    assert_eq!(refused(&World::new().await, ask("ada", 1, &token)).await, expected);
}

#[tokio::test]
async fn a_negative_page_size_is_refused() {
    let world = World::new().await;
    let expected = [("page_size".to_owned(), "page_size must not be negative".to_owned())];
    assert_eq!(refused(&world, ask("ada", -1, "")).await, expected);
}
