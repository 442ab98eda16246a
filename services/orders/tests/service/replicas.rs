//! Two services over one file. That they share a process changes nothing: each has connections of its own.

use std::time::Duration;

use connectrpc::ErrorCode;
use futures_util::future::join_all;
use orders::proto::ecommerce::v1::{GetOrderRequest, ListOrdersRequest, Order, OrderStatus, OrderUpdate};
use orders::proto::user::v1::{CreateUserRequest, GetUserRequest};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::process::{move_to, step_taken};
use crate::watch::{next, watch};
use crate::world::{World, key, request};

const STEPS: [OrderStatus; 3] = [OrderStatus::Confirmed, OrderStatus::Shipped, OrderStatus::Delivered];

/// Far longer than anything here takes.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it comes soon")
}

#[tokio::test]
async fn a_watcher_sees_the_changes_of_both_replicas_in_order_and_each_once() {
    let one = World::shared().await;
    let two = one.replica().await;
    for turn in 0..20 {
        let id = one.an_order().await.id;
        let mut watches = [watch(&one, &id).await, watch(&two, &id).await];
        let (odd, even) = if turn % 2 == 0 { (&one, &two) } else { (&two, &one) };
        for (step, mover) in STEPS.into_iter().zip([odd, even, odd]) {
            move_to(mover, &id, step).await;
        }
        for updates in &mut watches {
            assert_eq!(soon(next(updates)).await, Some(OrderStatus::Pending));
            for step in STEPS {
                assert_eq!(soon(next(updates)).await, Some(step));
            }
            assert_eq!(soon(next(updates)).await, None);
            assert!(updates.error().is_none(), "{:?}", updates.error());
        }
    }
}

#[tokio::test]
async fn a_change_through_another_replica_while_the_watch_begins_is_seen() {
    let one = World::shared().await;
    let two = one.replica().await;
    for turn in 0..100 {
        let id = one.an_order().await.id;
        // The watch of the turn before is over: each time the follower begins anew, somewhere between the two changes.
        let begin = async {
            tokio::time::sleep(Duration::from_millis(turn % 6)).await;
            watch(&one, &id).await
        };
        let (mut updates, ()) = tokio::join!(begin, async {
            move_to(&two, &id, OrderStatus::Confirmed).await;
            move_to(&two, &id, OrderStatus::Cancelled).await;
        });
        let mut seen = Vec::new();
        while let Some(status) = soon(next(&mut updates)).await {
            seen.push(status);
        }
        let all = [OrderStatus::Pending, OrderStatus::Confirmed, OrderStatus::Cancelled];
        // The state, whichever it was, then every later one.
        assert!(!seen.is_empty() && all.ends_with(&seen), "{seen:?}");
    }
}

#[tokio::test]
async fn a_watch_tells_nothing_before_it_can_tell_what_comes_after() {
    let world = World::shared().await;
    let id = world.an_order().await.id;
    let mut raw = SqliteConnectOptions::new().filename(world.database().path()).connect().await.unwrap();
    sqlx::query("ALTER TABLE order_changes RENAME TO away").execute(&mut raw).await.unwrap();
    let watching = async {
        let mut updates = watch(&world, &id).await;
        assert_eq!(next(&mut updates).await, Some(OrderStatus::Pending));
    };
    tokio::pin!(watching);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut watching).await;
    assert!(early.is_err(), "changes cannot be followed");
    sqlx::query("ALTER TABLE away RENAME TO order_changes").execute(&mut raw).await.unwrap();
    soon(watching).await;
}

#[tokio::test]
async fn the_same_key_through_both_replicas_makes_one_order_and_one_user() {
    let one = World::shared().await;
    let two = one.replica().await;
    for turn in 0..20 {
        let name = format!("key-{turn}");
        let create = async |world: &World| {
            let client = world.orders();
            let created = client.create_order_with_options(request("ada", &[(1, 1.0)]), key(&name));
            created.await.unwrap().into_owned().id
        };
        let (first, second) = tokio::join!(create(&one), create(&two));
        assert_eq!(first, second);
        let user = CreateUserRequest {
            email: format!("ada{turn}@example.com"),
            name: "Ada".into(),
            ..Default::default()
        };
        let create = async |world: &World| {
            let client = world.users_v1();
            let created = client.create_user_with_options(user.clone(), key(&name));
            created.await.unwrap().into_owned().id
        };
        let (first, second) = tokio::join!(create(&one), create(&two));
        assert_eq!(first, second);
        let get = GetUserRequest { id: first, ..Default::default() };
        assert_eq!(two.users_v1().get_user(get).await.unwrap().into_owned().email, user.email);
    }
    assert_eq!(one.orders_created.value() + two.orders_created.value(), 20);
    assert_eq!(one.users_created.value() + two.users_created.value(), 20);
}

#[tokio::test]
async fn an_address_belongs_to_one_user_whichever_replica_is_asked() {
    let one = World::shared().await;
    let two = one.replica().await;
    for turn in 0..20 {
        let user = |name: &str| CreateUserRequest {
            email: format!("ada{turn}@example.com"),
            name: name.into(),
            ..Default::default()
        };
        let (clients_one, clients_two) = (one.users_v1(), two.users_v1());
        let (first, second) =
            tokio::join!(clients_one.create_user(user("First")), clients_two.create_user(user("Second")));
        let refused = match (first, second) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("{both:?}"),
        };
        assert_eq!(refused.code, ErrorCode::AlreadyExists);
    }
}

async fn page(world: &World, token: &str) -> (Vec<Order>, String) {
    let ask = ListOrdersRequest { page_size: 7, page_token: token.into(), ..Default::default() };
    let mut stream = world.orders().list_orders(ask).await.unwrap();
    let mut orders = Vec::new();
    while let Some(order) = stream.message::<Order>().await.unwrap() {
        orders.push(order.to_owned_message());
    }
    let token = stream.trailers().and_then(|trailers| trailers.get("next-page-token"));
    (orders, token.map(|token| token.to_str().unwrap().to_owned()).unwrap_or_default())
}

#[tokio::test]
async fn pages_go_on_at_another_replica_and_identifiers_are_in_the_order_of_creation() {
    let one = World::shared().await;
    let two = one.replica().await;
    let mut created = Vec::new();
    for _ in 0..100 {
        created.push(one.an_order().await.id);
        created.push(two.an_order().await.id);
    }
    created.reverse();
    let (mut listed, mut token) = (Vec::new(), String::new());
    for world in [&one, &two].into_iter().cycle() {
        let (orders, next) = page(world, &token).await;
        listed.extend(orders.into_iter().map(|order| order.id));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_both_replicas_wait_for_each_other_and_no_update_is_lost() {
    let one = World::shared().await;
    let two = one.replica().await;
    let ids: Vec<String> = join_all((0..100).map(async |_| one.an_order().await.id)).await;
    let races = ids.iter().map(async |id| {
        let confirm = async |world: &World| step_taken(world, id, OrderStatus::Confirmed).await;
        let (first, second) = tokio::join!(confirm(&one), confirm(&two));
        assert!(first != second, "an order is confirmed once: {first} {second}");
    });
    let creations = (0..100).map(async |number| {
        let world = if number % 2 == 0 { &one } else { &two };
        world.an_order().await;
    });
    tokio::join!(join_all(races), join_all(creations));
    let mut raw = SqliteConnectOptions::new().filename(one.database().path()).connect().await.unwrap();
    let changes: (i64, i64, i64) =
        sqlx::query_as("SELECT COUNT(*), MIN(sequence), MAX(sequence) FROM order_changes")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(changes, (100, 1, 100), "one for each change, without gaps");
    let (orders, versions): (i64, i64) =
        sqlx::query_as("SELECT COUNT(*), SUM(version) FROM orders").fetch_one(&mut raw).await.unwrap();
    assert_eq!((orders, versions), (200, 300));
    raw.close().await.unwrap();
}

#[tokio::test]
async fn a_replica_that_starts_later_or_again_sees_everything_and_the_other_goes_on() {
    let mut one = World::shared().await;
    let id = one.an_order().await.id;
    move_to(&one, &id, OrderStatus::Confirmed).await;
    let two = one.replica().await;
    let mut updates = watch(&two, &id).await;
    assert_eq!(soon(next(&mut updates)).await, Some(OrderStatus::Confirmed));
    one.close().await;
    move_to(&two, &id, OrderStatus::Shipped).await;
    assert_eq!(soon(next(&mut updates)).await, Some(OrderStatus::Shipped));
    let one = one.replica().await;
    let get = GetOrderRequest { order_id: id.clone(), ..Default::default() };
    assert_eq!(one.orders().get_order(get).await.unwrap().into_owned().status, OrderStatus::Shipped);
    move_to(&one, &id, OrderStatus::Delivered).await;
    assert_eq!(soon(next(&mut updates)).await, Some(OrderStatus::Delivered));
}

#[tokio::test]
async fn the_end_of_a_replica_ends_its_watches() {
    let mut world = World::shared().await;
    let id = world.an_order().await.id;
    let mut updates = watch(&world, &id).await;
    assert_eq!(soon(next(&mut updates)).await, Some(OrderStatus::Pending));
    world.close().await;
    let end = soon(updates.message::<OrderUpdate>()).await;
    assert_eq!(end.unwrap_err().code, ErrorCode::Unavailable);
}
