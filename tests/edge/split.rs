//! One client connection, several backends.

use std::collections::BTreeMap;

use highball::Code;
use highball_testkit::TestServer;

use super::HELLO;
use super::backend::named;
use super::world::File;

async fn three() -> ([TestServer; 3], File) {
    let backends = [named("a").await, named("b").await, named("c").await];
    let file = File::to(&backends.each_ref().map(TestServer::addr));
    (backends, file)
}

async fn answers(client: &highball_testkit::Client, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let reply = client.unary(HELLO, b"").await;
        assert_eq!(reply.code(), Code::Ok, "{reply:?}");
        *seen.entry(String::from_utf8_lossy(&reply.messages[0]).into_owned()).or_default() += 1;
    }
    seen
}

fn evenly(each: usize) -> BTreeMap<String, usize> {
    ["a", "b", "c"].map(|name| (name.to_owned(), each)).into()
}

#[tokio::test]
async fn the_calls_of_one_connection_are_split_evenly() {
    let (backends, file) = three().await;
    let edge = file.ready().await;
    let client = edge.client().await;
    assert_eq!(answers(&client, 300).await, evenly(100));
    drop(client);
    edge.drained().await;
    for backend in backends {
        backend.drained().await;
    }
}

#[tokio::test]
async fn every_worker_splits_evenly_over_connections_of_its_own() {
    let (backends, file) = three().await;
    let edge = file.top("workers = 3").ready().await;
    assert_eq!(edge.endpoints().await.len(), 9);
    // One connection for each worker, and then some.
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(edge.client().await);
    }
    for client in &clients {
        let seen = answers(client, 60).await;
        assert_eq!(seen, evenly(20));
    }
    drop(clients);
    edge.drained().await;
    for backend in backends {
        backend.drained().await;
    }
}
