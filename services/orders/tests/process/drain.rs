//! SIGTERM while clients order: nothing that was sent is lost, and the program says so.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use buffa::Message as _;
use futures_util::future::join_all;
use highball::Code;
use highball_testkit::Client;
use highball_testkit::client::Answer;
use orders::proto::ecommerce::v1::{Order, OrderUpdate, WatchOrderRequest};
use tokio::sync::{Notify, watch};

use crate::caller::{Caller, Failure, numbered};
use crate::program::{Ended, Program, is_ready, page, soon};
use crate::rows;

const CLIENTS: usize = 8;

/// Answers after which the program is told to stop: by then all clients are at work.
const ENOUGH: usize = 200;

/// The request of the order that is watched, beyond those of the clients.
const WATCHED: usize = 1_000_000;

/// Counts answers, and tells when they are enough.
#[derive(Default)]
struct Answers {
    count: AtomicUsize,
    enough: Notify,
}

impl Answers {
    fn count(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH {
            self.enough.notify_one();
        }
    }
}

/// One client after its last call.
struct Done {
    answered: Vec<(usize, Order)>,
    failure: Option<Failure>,
    /// Its connection stays open until the server closes it.
    caller: Caller,
}

/// Orders over one connection, one order after the other, as long as `more` says yes and calls are answered. The numbers
/// of its requests are `client`, `client` + [`CLIENTS`] and so on.
async fn order(program: &Program, client: usize, answers: &Answers, more: impl Fn() -> bool) -> Done {
    let mut done =
        Done { answered: Vec::new(), failure: None, caller: Caller::connect(program.addr()).await };
    for number in (client..).step_by(CLIENTS) {
        if !more() {
            break;
        }
        match done.caller.create(&numbered(number, CLIENTS), None).await {
            Ok(order) => done.answered.push((number, order)),
            Err(failure) => {
                done.failure = Some(failure);
                break;
            }
        }
        answers.count();
    }
    done
}

/// The answered orders are the rows on disk, no more and no fewer.
async fn check(dir: &Path, clients: &[Done]) {
    let mut rows = rows::read(dir).await;
    rows.remove(&WATCHED);
    let answered = clients.iter().flat_map(|done| &done.answered);
    let answered: Vec<(usize, Vec<String>)> =
        answered.map(|(number, order)| (*number, vec![order.id.clone()])).collect();
    assert_eq!(rows, answered.into_iter().collect());
    assert!(rows.len() >= ENOUGH);
}

/// The exit code, RPCs cut, and connections cut.
fn outcome(ended: &Ended) -> (Option<i32>, u64, u64) {
    let drained = ended.drained();
    let count = |name: &str| drained[name].as_u64().unwrap();
    (ended.status.code(), count("cut"), count("connections_cut"))
}

/// Watches a new order, up to its first update.
async fn watch_an_order(program: &Program) -> (Client, Answer) {
    let order = Caller::connect(program.addr()).await;
    let order = order.create(&numbered(WATCHED, CLIENTS), None).await.unwrap();
    let client = Client::tcp(program.addr()).await;
    let mut call = client.open("/ecommerce.v1.OrderService/WatchOrder", &[]).await;
    let ask = WatchOrderRequest { order_id: order.id.clone(), ..Default::default() };
    call.send(&ask.encode_to_vec()).await;
    let mut updates = call.half_closed().await;
    let first = soon("the first update", updates.message()).await.unwrap();
    let first = OrderUpdate::decode_from_slice(&first.unwrap()).unwrap();
    assert_eq!(first.order.as_option(), Some(&order));
    (client, updates)
}

async fn ends_unavailable(updates: &mut Answer) {
    let end = soon("the end of the watch", updates.message()).await.unwrap();
    assert_eq!(end, None, "trailers, not a reset");
    assert_eq!(updates.status().unwrap().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_follow_readiness_lose_no_call_and_their_watch_ends_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let (watcher, mut updates) = watch_an_order(&program).await;
    let (tell, ready) = watch::channel(true);
    let follow = async {
        while is_ready(program.admin).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tell.send(false).unwrap();
    };
    let answers = Answers::default();
    let clients = (0..CLIENTS).map(|client| order(&program, client, &answers, || *ready.borrow()));
    let (clients, (), ()) = soon("the clients", async {
        tokio::join!(join_all(clients), follow, async {
            answers.enough.notified().await;
            program.terminate().await;
        })
    })
    .await;
    for done in &clients {
        assert!(done.failure.is_none(), "{:?}", done.failure);
    }
    ends_unavailable(&mut updates).await;
    drop(watcher);
    let ended = program.ended().await;
    assert_eq!(outcome(&ended), (Some(0), 0, 0), "{ended:#?}");
    check(dir.path(), &clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_only_hear_goaway_lose_no_call_that_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let answers = Answers::default();
    let clients = (0..CLIENTS).map(|client| order(&program, client, &answers, || true));
    let (clients, ()) = soon("the clients", async {
        tokio::join!(join_all(clients), async {
            answers.enough.notified().await;
            program.terminate().await;
        })
    })
    .await;
    for done in &clients {
        assert!(matches!(done.failure, Some(Failure::NotSent)), "{:?}", done.failure);
    }
    let ended = program.ended().await;
    assert_eq!(outcome(&ended), (Some(0), 0, 0), "{ended:#?}");
    check(dir.path(), &clients).await;
}

#[tokio::test]
async fn an_open_watch_ends_unavailable_and_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let (client, mut updates) = watch_an_order(&program).await;
    program.terminate().await;
    ends_unavailable(&mut updates).await;
    soon("the end of the connection", client.closed()).await.expect("an orderly end");
    let ended = program.ended().await;
    assert_eq!(outcome(&ended), (Some(0), 0, 0), "{ended:#?}");
    assert_eq!(ended.drained()["finished"], 1);
}

#[tokio::test]
async fn a_second_sigterm_ends_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let client = Client::tcp(program.addr()).await;
    // A call whose request never comes would hold the drain to its end.
    let call = client.open("/ecommerce.v1.OrderService/CreateOrder", &[]).await;
    let begun = "grpc_active_requests{method=\"ecommerce.v1.OrderService/CreateOrder\"} 1\n";
    soon("the call to begin", async {
        while !page(program.admin, "/metrics").await.contains(begun) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    program.terminate().await;
    program.enters("drain").await;
    program.terminate().await;
    let (_outbound, mut answer) = soon("the answer", call.head()).await;
    assert_eq!(answer.message().await.unwrap(), None);
    assert_eq!(answer.status().unwrap().code(), Code::Unavailable);
    let ended = program.ended().await;
    assert_eq!(outcome(&ended), (Some(1), 1, 0), "{ended:#?}");
}
