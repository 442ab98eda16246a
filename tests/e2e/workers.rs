//! Worker threads: each connection on one of them, evenly, and every promise of a server kept across them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_util::future::join_all;
use highball::net::Workers;
use highball::{Body, Code, Rpc, Server, Settings};
use highball_testkit::{Client, TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};
use tokio::sync::{Barrier, Semaphore};

use crate::GET;

/// A server on `count` workers; `answer` is told which of them it is.
fn host<A, F>(count: usize, answer: A) -> (Server, Arc<Workers>)
where
    A: Fn(usize, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let workers = Workers::start(count).unwrap();
    let make = |worker| {
        let answer = answer.clone();
        stub::service(move |request| answer(worker, request))
    };
    let server = Server::per_worker(workers.clone(), make).with_descriptors(SHOP_DESCRIPTORS);
    (server.with_settings(Settings { connections_per_peer_max: 1000, ..Settings::default() }), workers)
}

async fn clients(server: &TestServer, count: usize) -> Vec<Client> {
    join_all((0..count).map(|_| server.client())).await
}

/// How many connections each worker has, as `/metrics` shows it.
fn shown(server: &TestServer) -> Vec<String> {
    let page = server.telemetry.render();
    page.lines().filter(|line| line.starts_with("worker_connections_open{")).map(str::to_owned).collect()
}

#[tokio::test]
async fn connections_are_spread_evenly_and_each_stays_on_its_thread() {
    // By connection: the threads its RPCs ran on, and the services that answered.
    let seen: Arc<Mutex<HashMap<u64, HashSet<(ThreadId, usize)>>>> = Arc::default();
    let note = seen.clone();
    let (server, workers) = host(2, move |worker, request: Request<Body>| {
        let (note, connection) = (note.clone(), Rpc::of(request.extensions()).unwrap().connection.clone());
        async move {
            for _ in 0..3 {
                note.lock()
                    .unwrap()
                    .entry(connection.id)
                    .or_default()
                    .insert((thread::current().id(), worker));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stub::messages(&[b"done"])
        }
    });
    let server = TestServer::start(server).await;
    let clients = clients(&server, 64).await;
    for _ in 0..3 {
        let replies = join_all(clients.iter().map(|client| client.unary(GET, b"x"))).await;
        assert!(replies.iter().all(|reply| reply.code() == Code::Ok));
    }
    assert_eq!((workers.open(0), workers.open(1)), (32, 32));
    let mut lines = shown(&server);
    lines.sort();
    assert_eq!(
        lines,
        ["worker_connections_open{worker=\"0\"} 32", "worker_connections_open{worker=\"1\"} 32"]
    );
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 64);
    assert!(seen.values().all(|places| places.len() == 1), "{seen:?}");
    let places: HashSet<_> = seen.into_values().flatten().collect();
    assert_eq!(places.len(), 2, "one thread and one service for each worker: {places:?}");
    assert!(places.iter().all(|(place, _)| *place != thread::current().id()));
    drop(clients);
    server.drained().await;
    assert_eq!((workers.open(0), workers.open(1)), (0, 0));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_on_every_worker() {
    let (all_in, release) = (Arc::new(Barrier::new(9)), Arc::new(Semaphore::new(0)));
    let (enter, wait) = (all_in.clone(), release.clone());
    let (server, workers) = host(2, move |_, _| {
        let (enter, wait) = (enter.clone(), wait.clone());
        async move {
            enter.wait().await;
            wait.acquire().await.unwrap().forget();
            stub::messages(&[b"done"])
        }
    });
    let mut server = TestServer::start(
        server.with_settings(Settings { lame_duck: Duration::ZERO, ..Settings::default() }),
    )
    .await;
    let clients = clients(&server, 8).await;
    let calls = join_all(clients.iter().map(|client| client.unary(GET, b"x")));
    let drain = async {
        all_in.wait().await;
        assert_eq!((workers.open(0), workers.open(1)), (4, 4));
        server.stop();
        server.drain.listen().begun().await;
        release.add_permits(8);
    };
    let (replies, ()) = tokio::join!(calls, drain);
    assert!(replies.iter().all(|reply| reply.code() == Code::Ok));
    let report = server.drained().await;
    assert_eq!((report.finished, report.cut, report.connections_cut), (8, 0, 0));
}

#[tokio::test]
async fn a_drain_that_is_forced_answers_what_is_left_on_every_worker() {
    let all_in = Arc::new(Barrier::new(5));
    let enter = all_in.clone();
    let (server, _workers) = host(2, move |_, _| {
        let enter = enter.clone();
        async move {
            enter.wait().await;
            std::future::pending().await
        }
    });
    let server = TestServer::start(server).await;
    let clients = clients(&server, 4).await;
    let calls = join_all(clients.iter().map(|client| client.unary(GET, b"x")));
    let force = async {
        all_in.wait().await;
        server.forced().await
    };
    let (replies, report) = tokio::join!(calls, force);
    assert!(replies.iter().all(|reply| reply.code() == Code::Unavailable));
    assert_eq!(report.cut, 4);
}

#[tokio::test]
async fn a_panic_costs_neither_its_worker_nor_the_other() {
    let (server, _workers) = host(2, |worker, request: Request<Body>| async move {
        assert!(!request.headers().contains_key("boom"), "on purpose, on worker {worker}");
        stub::messages(&[b"done"])
    });
    let server = TestServer::start(server).await;
    let clients = clients(&server, 4).await;
    for client in &clients {
        assert_eq!(client.call(GET, &[("boom", "1")], &[b"x"]).await.code(), Code::Internal);
    }
    for client in &clients {
        assert_eq!(client.unary(GET, b"x").await.code(), Code::Ok, "the same connection");
    }
    assert_eq!(server.client().await.unary(GET, b"x").await.code(), Code::Ok, "and a new one");
    drop(clients);
    server.drained().await;
}

#[tokio::test]
async fn the_caps_hold_across_workers() {
    let (server, workers) = host(2, |_, _| async { stub::messages(&[b"done"]) });
    let server = TestServer::start(server.with_settings(Settings {
        connections_max: 3,
        connections_per_peer_max: 3,
        ..Settings::default()
    }))
    .await;
    let clients = clients(&server, 3).await;
    for client in &clients {
        assert_eq!(client.unary(GET, b"x").await.code(), Code::Ok);
    }
    let late = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let mut byte = [0];
    use tokio::io::AsyncReadExt as _;
    assert!(!matches!({ late }.read(&mut byte).await, Ok(1..)), "closed without a word");
    assert_eq!(workers.open(0) + workers.open(1), 3, "a refused connection is counted nowhere");
    drop(clients);
    server.drained().await;
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_threads() {
    let (server, workers) = host(2, |_, _| async { stub::messages(&[b"done"]) });
    let server = TestServer::start(server).await;
    let client = server.client().await;
    assert_eq!(client.unary(GET, b"x").await.code(), Code::Ok);
    let ended = Arc::downgrade(&workers);
    let handle = workers.handle(0).clone();
    drop(workers);
    assert!(ended.upgrade().is_some(), "the server holds them");
    drop(client);
    server.drained().await;
    assert!(ended.upgrade().is_none(), "and lets go of them");
    assert!(handle.spawn(async {}).await.unwrap_err().is_cancelled(), "nothing runs there any more");
}

#[test]
fn a_connection_needs_nothing_of_the_runtime_that_accepted_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The one turns only while somebody blocks on it; the client has another.
    let (control, outside) = (runtime(), runtime());
    let (server, _workers) = host(2, |_, _| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        stub::messages(&[b"done"])
    });
    let server = control.block_on(TestServer::start(server));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = thread::scope(|scope| {
        scope.spawn(|| control.block_on(stopped));
        let client = outside.block_on(async {
            let client = server.client().await;
            assert_eq!(client.unary(GET, b"x").await.code(), Code::Ok);
            client
        });
        stop.send(()).unwrap();
        client
    });
    let reply = outside.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), client.unary(GET, b"x")).await.expect("an answer")
    });
    assert_eq!(reply.code(), Code::Ok);
    drop((client, outside));
    control.block_on(server.drained());
}
