//! What becomes of replicas, and what becomes of calls meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use buffa::Message as _;
use highball::Code;
use highball_testkit::Client;
use orders::client::{Error, OrdersClient};
use orders::proto::ecommerce::v1::{
    CreateOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderItem,
};
use tokio::time::{Instant, sleep};

use crate::program::{Up, highball, until};
use crate::{prints, sh};

/// Calls of each kind, at least: kills go on until the last is made.
const CALLS: usize = 500;
const KILLS: u64 = 5;
const CALLERS: usize = 4;

fn order(number: usize) -> CreateOrderRequest {
    let tea =
        OrderItem { product_id: format!("tea-{number}"), quantity: 1, price: 1.5, ..Default::default() };
    CreateOrderRequest { user_id: "u1".into(), items: vec![tea], ..Default::default() }
}

#[derive(Default)]
struct Load {
    over: AtomicBool,
    created: AtomicUsize,
    read: AtomicUsize,
    /// Of these, by the client that repeats nothing.
    once: AtomicUsize,
}

impl Load {
    /// Orders and reads what was ordered, until it is over and enough was done.
    async fn call(&self, client: &OrdersClient) -> Result<(), Error> {
        while !self.over.load(Ordering::Relaxed) || self.read.load(Ordering::Relaxed) < CALLS {
            let number = self.created.fetch_add(1, Ordering::Relaxed);
            let made = client.create_order(order(number)).await?;
            let seen = client.get_order(&made.id).await?;
            assert_eq!(seen.id, made.id);
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same as a client does that repeats nothing: what is lost is lost for it.
    async fn call_once(&self, client: &Client) {
        while !self.over.load(Ordering::Relaxed) {
            let number = self.created.fetch_add(1, Ordering::Relaxed);
            let key = format!("once-{number}");
            let message = order(number).encode_to_vec();
            let path = "/ecommerce.v1.OrderService/CreateOrder";
            let made = client.call(path, &[("idempotency-key", &key)], &[&message]).await;
            assert_eq!(made.code(), Code::Ok, "{made:?}");
            let made = Order::decode_from_slice(&made.messages[0]).unwrap();
            let ask = GetOrderRequest { order_id: made.id, ..Default::default() };
            let seen = client.unary("/ecommerce.v1.OrderService/GetOrder", &ask.encode_to_vec()).await;
            assert_eq!(seen.code(), Code::Ok, "{seen:?}");
            self.read.fetch_add(1, Ordering::Relaxed);
            self.once.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Kills one replica after the other, each time once all are there again.
async fn chaos(up: &Up, load: &Load) {
    for round in 0..KILLS {
        until("all replicas are reached", async || up.ready().await == 2).await;
        prints(&format!("kill -9 {}", up.replica(1 + round % 2))).await;
        // Calls go on without it.
        let (before, until_more) = (load.read.load(Ordering::Relaxed), Duration::from_millis(300));
        sleep(until_more).await;
        until("calls go on", async || load.read.load(Ordering::Relaxed) > before).await;
    }
    load.over.store(true, Ordering::Relaxed);
}

#[tokio::test]
async fn a_replica_that_is_killed_is_not_missed_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    let client = OrdersClient::connect(&format!("static:///{}", up.addr())).unwrap();
    let watched = client.create_order(order(0)).await.unwrap();
    let mut watch = client.watch_order(&watched.id).await.unwrap();
    assert!(watch.next().await.unwrap().is_some());

    let (load, started) = (Load::default(), Instant::now());
    let plain = Client::tcp(up.addr()).await;
    let callers = futures_util::future::join_all((0..CALLERS).map(|_| load.call(&client)));
    let (ended, (), ()) = tokio::join!(callers, load.call_once(&plain), chaos(&up, &load));
    for outcome in ended {
        outcome.unwrap();
    }
    let (created, read) = (load.created.load(Ordering::Relaxed), load.read.load(Ordering::Relaxed));
    let once = load.once.load(Ordering::Relaxed);
    let took = started.elapsed();
    println!(
        "{created} orders and {read} reads in {took:.1?}, {once} of each sent once; {KILLS} kills, no failure"
    );

    let mut rows = std::collections::HashSet::new();
    let mut ask = ListOrdersRequest { user_id: "u1".into(), page_size: 100, ..Default::default() };
    loop {
        let page = client.list_orders(ask.clone()).await.unwrap();
        rows.extend(page.orders.into_iter().map(|order| order.id));
        let Some(token) = page.next_page_token else { break };
        ask.page_token = token;
    }
    assert_eq!(rows.len(), created + 1, "each order once");
    drop((watch, client, plain));
    let (said, log, code) = up.interrupted().await;
    assert_eq!(code, Some(0), "{said:?}");
    let ends = log.iter().filter(|line| line["message"] == "a replica ended; it is started again").count();
    assert_eq!(ends, usize::try_from(KILLS).unwrap());
}

#[tokio::test]
async fn the_whole_is_ready_while_one_replica_is() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    let is_ready = async || up.page("/readyz").await.starts_with("HTTP/1.1 200");
    until("ready", is_ready).await;
    for index in [1, 2] {
        prints(&format!("kill -STOP {}", up.replica(index))).await;
        prints(&format!("kill -9 {}", up.replica(index))).await;
    }
    until("not ready without a replica", async || !is_ready().await).await;
    until("ready again", is_ready).await;
}

#[tokio::test]
async fn replicas_do_not_outlive_who_started_them() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    let replicas = [up.replica(1), up.replica(2)];
    up.killed().await;
    for pid in replicas {
        until("a replica ends", async || !sh(&format!("kill -0 {pid}")).await.status.success()).await;
    }
    assert!(!dir.path().join("replicas/1.sock").exists(), "it drained, and took its socket along");
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_told_so_and_leaves_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    until("ready", async || up.page("/readyz").await.starts_with("HTTP/1.1 200")).await;
    let any = "127.0.0.1:0";
    let flags = ["up", "--listen", any, "--admin", any, "--data", dir.path().to_str().unwrap()];
    let second = highball(&flags).output().await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another highball up uses"), "{said}");
    assert_eq!(up.ready().await, 2);
    let (said, _, code) = up.interrupted().await;
    assert_eq!(code, Some(0), "{said:?}");
}
