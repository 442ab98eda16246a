//! A process that is killed while it works. The test starts itself again as the victim.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, ServiceTransport};
use highball::{Counter, Draining, Health};
use orders::proto::ecommerce::v1::{GetOrderRequest, OrderServiceClient};
use orders::{App, Database, Seams};

use crate::world::{key, request};

/// Set in the victim: its database.
const VICTIM: &str = "ORDERS_TEST_VICTIM";

/// Answers after which the victim is killed; far fewer than it would give.
const ENOUGH: usize = 300;

async fn open(path: &str) -> (App, Counter) {
    let created = Counter::default();
    let seams = Seams {
        draining: Draining::never(),
        database: Health::new().ready_when("database"),
        orders_created: created.clone(),
        users_created: Counter::default(),
        writes_dropped: Counter::default(),
    };
    (App::open(&Database::sqlite(path), seams).await.unwrap(), created)
}

fn client(app: &App) -> OrderServiceClient<ServiceTransport<connectrpc::ConnectRpcService>> {
    let config = ClientConfig::new("http://orders".parse().unwrap()).with_protocol(Protocol::Grpc);
    OrderServiceClient::new(ServiceTransport::new(app.service()), config)
}

/// Not a test of its own: orders until it is killed, and says every answer.
#[tokio::test]
async fn victim() {
    let Ok(path) = std::env::var(VICTIM) else { return };
    let (app, _) = open(&path).await;
    let client = client(&app);
    let next = AtomicUsize::new(0);
    let worker = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let options = key(&format!("key-{number}"));
            let order = client.create_order_with_options(request("ada", &[(1, 1.0)]), options).await.unwrap();
            println!("answered {number} {}", order.into_owned().id);
        }
    };
    futures_util::future::join_all((0..32).map(|_| worker())).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_answered_order_and_a_retry_makes_no_second_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.db").display().to_string();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash::victim", "--exact", "--nocapture"])
        .env(VICTIM, &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut answered: Vec<(usize, String)> = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let mut words = line.split_whitespace().skip_while(|word| *word != "answered").skip(1);
        if let (Some(number), Some(id)) = (words.next(), words.next()) {
            answered.push((number.parse().unwrap(), id.to_owned()));
        }
        if answered.len() == ENOUGH {
            victim.kill().unwrap();
        }
    }
    victim.wait().unwrap();
    assert!(answered.len() >= ENOUGH, "the victim ended by itself after {}", answered.len());

    let (app, created) = open(&path).await;
    let client = client(&app);
    for (number, id) in &answered {
        let get = GetOrderRequest { order_id: id.clone(), ..Default::default() };
        client.get_order(get).await.expect("an answered order is there");
        let options = key(&format!("key-{number}"));
        let again = client.create_order_with_options(request("ada", &[(1, 1.0)]), options).await.unwrap();
        assert_eq!(again.into_owned().id, *id);
    }
    assert_eq!(created.value(), 0);
    app.close().await;
}
