//! Statements inherit the time their RPC has left: late ones do not begin, reads stop, and a commit that others share goes
//! on.

use std::time::Duration;

use futures_util::future::join_all;
use highball::Code;
use highball_testkit::Client;
use prost::Message;
use sqlx::SqliteConnection;

use crate::ecommerce::{GetOrderRequest, Order};
use crate::shop::{Shop, an_order, request, soon};

/// What a slow statement takes is far longer than this.
const SHORT: Duration = Duration::from_millis(300);

async fn run(intruder: &mut SqliteConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(intruder).await.unwrap();
}

/// Calls with a client that keeps no time of its own: what ends the call is the server.
async fn call(
    client: &Client,
    method: &str,
    timeout: Option<Duration>,
    key: &str,
    message: impl Message,
) -> Result<Order, Code> {
    let path = format!("/ecommerce.v1.OrderService/{method}");
    let timeout = timeout.map(|timeout| format!("{}m", timeout.as_millis()));
    let timeout = timeout.as_deref().map(|timeout| ("grpc-timeout", timeout));
    let key = (!key.is_empty()).then_some(("idempotency-key", key));
    let headers: Vec<_> = timeout.into_iter().chain(key).collect();
    let reply = soon("an answer", client.call(&path, &headers, &[&message.encode_to_vec()])).await;
    match reply.code() {
        Code::Ok => Ok(Order::decode(&reply.messages[0][..]).unwrap()),
        code => Err(code),
    }
}

/// Orders one thing.
async fn create(client: &Client, user: &str, timeout: Option<Duration>, key: &str) -> Result<Order, Code> {
    call(client, "CreateOrder", timeout, key, request(user, &[(1, 1.0)])).await
}

async fn orders_of(intruder: &mut SqliteConnection, user: &str) -> i64 {
    let query = sqlx::query_as("SELECT COUNT(*) FROM orders WHERE user_id = ?");
    let (count,): (i64,) = query.bind(user).fetch_one(intruder).await.unwrap();
    count
}

/// The value of a counter of the service.
async fn count(shop: &Shop, name: &str) -> u64 {
    let page = shop.metrics().await;
    page.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.trim().parse().unwrap())
}

const WASTED: &str =
    "grpc_wasted_work_seconds_count{method=\"ecommerce.v1.OrderService/CreateOrder\",after=\"deadline\"}";

/// Orders of the user `slow` take seconds to insert.
const SLOW_ORDERS: &str = "\
    CREATE VIEW slow AS SELECT COUNT(*) FROM
        (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000000) SELECT i FROM n);
    CREATE TRIGGER slow_order BEFORE INSERT ON orders WHEN NEW.user_id = 'slow' BEGIN SELECT * FROM slow; END;";

#[tokio::test]
async fn a_write_whose_deadline_passes_in_the_queue_is_never_applied_and_its_neighbours_are() {
    let shop = Shop::open().await;
    let client = shop.raw().await;
    let mut intruder = shop.intruder().await;
    run(&mut intruder, "BEGIN IMMEDIATE").await;
    // One waits for the file, the others behind it.
    let late = join_all((1..=3).map(|_| create(&client, "late", Some(SHORT), "")));
    let patient = create(&client, "patient", None, "");
    let release = async {
        let late = late.await;
        run(&mut intruder, "ROLLBACK").await;
        late
    };
    let (late, patient) = tokio::join!(release, patient);
    assert_eq!(late, [const { Err(Code::DeadlineExceeded) }; 3]);
    assert_eq!(patient.unwrap().user_id, "patient");
    assert_eq!((orders_of(&mut intruder, "late").await, orders_of(&mut intruder, "patient").await), (0, 1));
    assert_eq!(count(&shop, "orders_writes_dropped_total").await, 3);
    assert_eq!(count(&shop, WASTED).await, 0, "nothing was done for them");
    drop((client, intruder));
    shop.close().await;
}

#[tokio::test]
async fn a_write_whose_deadline_passes_while_it_runs_is_undone_and_what_shares_its_commit_is_not() {
    let shop = Shop::open().await;
    let client = shop.raw().await;
    let mut intruder = shop.intruder().await;
    run(&mut intruder, SLOW_ORDERS).await;
    run(&mut intruder, "BEGIN IMMEDIATE").await;
    let first = create(&client, "ada", None, "");
    // Behind the first one, so that they share a commit.
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let slow = create(&client, "slow", Some(SHORT), "");
        let before = create(&client, "bob", None, "");
        let release = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            run(&mut intruder, "ROLLBACK").await;
        };
        let (slow, bob, ()) = tokio::join!(slow, before, release);
        (slow, bob)
    };
    let (ada, (slow, bob)) = tokio::join!(first, others);
    assert_eq!((ada.unwrap().user_id, bob.unwrap().user_id), ("ada".to_owned(), "bob".to_owned()));
    assert_eq!(slow, Err(Code::DeadlineExceeded));
    let rows = [
        orders_of(&mut intruder, "ada").await,
        orders_of(&mut intruder, "bob").await,
        orders_of(&mut intruder, "slow").await,
    ];
    assert_eq!(rows, [1, 1, 0]);
    assert_eq!(count(&shop, WASTED).await, 1, "the statement went on beyond the deadline");
    drop((client, intruder));
    shop.close().await;
}

#[tokio::test]
async fn a_commit_that_comes_after_the_deadline_is_found_again_by_its_key() {
    let shop = Shop::open().await;
    let client = shop.raw().await;
    let mut intruder = shop.intruder().await;
    run(&mut intruder, SLOW_ORDERS).await;
    run(&mut intruder, "BEGIN IMMEDIATE").await;
    let first = create(&client, "first", None, "");
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Written at once, and committed only when the slow one behind it is written as well.
        let hasty = create(&client, "ada", Some(3 * SHORT), "once");
        let slow = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            create(&client, "slow", None, "").await
        };
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            run(&mut intruder, "ROLLBACK").await;
        };
        tokio::join!(hasty, slow, release)
    };
    let (first, (hasty, slow, ())) = tokio::join!(first, others);
    first.unwrap();
    slow.unwrap();
    assert_eq!(hasty, Err(Code::DeadlineExceeded));
    assert_eq!(orders_of(&mut intruder, "ada").await, 1);
    let again = create(&client, "ada", None, "once").await.unwrap();
    assert_eq!(again.user_id, "ada");
    assert_eq!(orders_of(&mut intruder, "ada").await, 1);
    drop((client, intruder));
    shop.close().await;
}

#[tokio::test]
async fn a_read_stops_at_its_deadline_and_leaves_its_connection_to_others() {
    let shop = Shop::open().await;
    let (client, id) = (shop.raw().await, an_order(&mut shop.orders().await).await.id);
    let mut intruder = shop.intruder().await;
    let endless = "\
        ALTER TABLE orders RENAME TO real_orders;
        CREATE VIEW orders AS SELECT * FROM real_orders WHERE 0 <
            (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n)";
    run(&mut intruder, endless).await;
    let get = |timeout| call(&client, "GetOrder", timeout, "", GetOrderRequest { order_id: id.clone() });
    // More than there are connections.
    for _ in 0..3 {
        let reads = join_all((0..4).map(|_| get(Some(SHORT / 3)))).await;
        assert_eq!(reads, [const { Err(Code::DeadlineExceeded) }; 4]);
    }
    run(&mut intruder, "DROP VIEW orders; ALTER TABLE real_orders RENAME TO orders").await;
    // Longer than it would wait for a connection that does not come.
    assert_eq!(get(None).await.unwrap().id, id);
    drop((client, intruder));
    shop.close().await;
}
