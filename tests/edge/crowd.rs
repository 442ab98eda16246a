//! Limits, workers, and the end while much is under way.

use std::sync::Arc;
use std::time::Duration;

use highball::Code;
use highball_testkit::{Client, Reply, leaks};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::made::{Recorder, answer, received, says};
use super::peer::{Peer, until};
use super::world::{File, World};
use super::{CHAT, GET, PATIENCE};

/// A backend that answers when it is told to: one RPC for each permit.
async fn held() -> (Peer, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let peer = Peer::rpcs(move |rpc| {
        let gate = gate.clone();
        async move {
            let (rpc, _) = received(rpc).await;
            gate.acquire().await.unwrap().forget();
            answer(rpc, &[b"held"]);
        }
    })
    .await;
    (peer, go)
}

async fn active(edge: &World, want: usize) {
    let count = || {
        let found = leaks::found(&edge.telemetry)
            .into_iter()
            .filter(|line| line.starts_with("grpc_active_requests{"));
        found.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
    };
    until("so many are under way", || count() == want).await;
}

fn spawn(client: &Arc<Client>, path: &'static str) -> tokio::task::JoinHandle<Reply> {
    let client = client.clone();
    tokio::spawn(async move { client.unary(path, b"").await })
}

#[tokio::test]
async fn one_rpc_more_than_the_edge_takes_is_refused() {
    let (backend, go) = held().await;
    let edge = File::to(&[backend.addr]).limits("concurrent_rpcs_max = 2").ready().await;
    let client = Arc::new(edge.client().await);
    let calls = [spawn(&client, GET), spawn(&client, GET)];
    active(&edge, 2).await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::ResourceExhausted);
    go.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().code(), Code::Ok);
    }
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn one_connection_more_than_the_edge_takes_is_closed() {
    let backend = Recorder::start("shop").await;
    let edge = File::to(&[backend.addr()]).limits("connections_max = 2").ready().await;
    let clients = [edge.client().await, edge.client().await];
    for client in &clients {
        says(client, GET, &[]).await;
    }
    // It may be closed before it has said anything.
    let third = tokio::spawn({
        let addr = edge.addr();
        async move { Client::tcp(addr).await.closed().await }
    });
    drop(tokio::time::timeout(PATIENCE, third).await.expect("it is closed"));
    for client in &clients {
        says(client, GET, &[]).await;
    }
    drop(clients);
    until("a place is free", || edge.metric("connections_open 0")).await;
    says(&edge.client().await, GET, &[]).await;
    edge.drained().await;
}

#[tokio::test]
async fn a_call_that_finds_every_backend_full_is_told_which_cluster() {
    let ((one, first), (two, second)) = (held().await, held().await);
    let edge = File::to(&[one.addr, two.addr]).cluster("calls_per_endpoint_max = 1").ready().await;
    let client = Arc::new(edge.client().await);
    let calls = [spawn(&client, GET), spawn(&client, GET)];
    active(&edge, 2).await;
    let full = tokio::time::timeout(PATIENCE, client.unary(GET, b"")).await.unwrap();
    assert_eq!(full.code(), Code::Unavailable);
    assert!(full.status().message().contains("shop"), "{:?}", full.status());
    assert!(!full.status().message().contains("127.0.0.1"), "{:?}", full.status());
    first.add_permits(2);
    second.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().code(), Code::Ok);
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn one_call_more_than_may_wait_for_a_connection_is_refused() {
    // Accepts, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = File::to(&[mute.local_addr().unwrap()]).cluster("waiting_max = 2\nconnect_timeout = '1h'");
    let edge = World::start(&file.text()).await;
    let client = Arc::new(edge.client().await);
    let calls = [spawn(&client, GET), spawn(&client, GET)];
    active(&edge, 2).await;
    // The second may be on its way to the line.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = client.call(GET, &[("grpc-timeout", "30S")], &[b""]).await;
    assert_eq!(third.code(), Code::ResourceExhausted, "{:?}", third.status());
    calls.into_iter().for_each(|call| call.abort());
    drop(client);
    edge.idle().await;
    edge.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_serve_sixty_four_connections_and_drain_what_each_of_them_has() {
    let (backend, go) = held().await;
    let mut edge = File::to(&[backend.addr])
        .top("workers = 4")
        .limits("lame_duck = '0s'\ndrain_timeout = '40s'")
        .ready()
        .await;
    assert_eq!(backend.made(), 4);
    let mut calls = Vec::new();
    for _ in 0..64 {
        let client = Arc::new(edge.client().await);
        calls.push(spawn(&client, GET));
    }
    active(&edge, 64).await;
    for worker in 0..4 {
        let none = format!("worker_connections_open{{worker=\"{worker}\"}} 0");
        assert!(
            !edge.metric(&none)
                && edge.metric(format_args!("worker_connections_open{{worker=\"{worker}\"}}"))
        );
    }
    edge.stop();
    go.add_permits(64);
    for call in calls {
        let reply = call.await.unwrap();
        assert_eq!((reply.code(), &reply.messages[0][..]), (Code::Ok, &b"held"[..]));
    }
    let report = edge.drained().await;
    assert_eq!(report.cut, 0, "{report:?}");
    until("the backend's connections are closed", || backend.open() == 0).await;
}

#[tokio::test]
async fn an_edge_ends_in_bounded_time_whatever_streams_are_open() {
    let (backend, _go) = held().await;
    let mut edge = File::to(&[backend.addr])
        .top("workers = 2")
        .limits("lame_duck = '0s'\ndrain_timeout = '1s'")
        .ready()
        .await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let client = edge.client().await;
        let mut call = client.open(CHAT, &[]).await;
        call.send(b"hello").await;
        open.push((client, call));
    }
    active(&edge, 8).await;
    edge.stop();
    let report = edge.drained().await;
    assert_eq!(report.cut, 8, "{report:?}");
    until("the backend's connections are closed", || backend.open() == 0).await;
    drop(open);
}
