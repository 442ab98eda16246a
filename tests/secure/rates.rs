//! Rates of callers.

use highball::server::{Rates, Settings};
use highball::{Code, ListenAddr};
use highball_testkit::{Client, TestServer};

use crate::{CHECK, GET, server};

#[tokio::test]
async fn a_caller_beyond_its_rate_is_told_when_to_come_back_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let settings = Settings { rates: Some(Rates::new(0.01, 3)), ..Settings::default() };
    let server = server().with_settings(settings).listen(ListenAddr::Unix(path.clone()));
    let server = TestServer::start(server).await;
    let client = server.client().await;
    for _ in 0..3 {
        assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    }
    // Another connection is the same caller.
    let refused = server.client().await.unary(GET, b"").await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.trailers_only && refused.status().message().contains("(rates)"), "{refused:?}");
    let wait: u64 = refused.headers["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!((90_000..=100_000).contains(&wait), "{wait}");
    let details = String::from_utf8_lossy(refused.status().details()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");

    assert_eq!(client.unary(CHECK, b"").await.code(), Code::Ok, "probes are not counted");
    let neighbour = Client::unix(&path).await;
    assert_eq!(neighbour.unary(GET, b"").await.code(), Code::Ok, "a Unix user has a budget of its own");
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"rate\"} 1"));
    drop((client, neighbour));
    server.drained().await;
}

#[tokio::test]
async fn a_process_behind_a_unix_socket_is_named_by_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let server = TestServer::start(server().listen(ListenAddr::Unix(path.clone()))).await;
    let client = Client::unix(&path).await;
    let reply = client.unary(GET, b"").await;
    assert!(reply.messages[0].starts_with(b"uid "), "{:?}", reply.messages);
    drop(client);
    server.drained().await;
}
