//! Rates of callers, and faults on purpose.

use std::time::Duration;

use highball::Code;
use highball_testkit::{Client, client::Reply};

use super::made::{Recorder, says};
use super::world::File;
use super::{GET, PATIENCE};

async fn called(client: &Client, headers: &[(&str, &str)]) -> Reply {
    client.call(GET, headers, &[b""]).await
}

#[tokio::test]
async fn a_caller_told_by_a_header_that_calls_too_often_is_told_when_to_come_back() {
    let backend = Recorder::start("shop").await;
    let rate = "rate = { per_second = 0.01, burst = 2, per = 'header:x-user' }";
    let edge = File::to(&[backend.addr()]).route(rate).top("workers = 2").ready().await;
    let clients = [edge.client().await, edge.client().await, edge.client().await, edge.client().await];
    for client in &clients[..2] {
        says(client, GET, &[("x-user", "alice")]).await;
    }
    // Whatever the worker: the budget is the edge's.
    for client in &clients {
        let reply = called(client, &[("x-user", "alice")]).await;
        assert_eq!(reply.code(), Code::ResourceExhausted);
        let headers = if reply.trailers_only { &reply.headers } else { &reply.trailers };
        let pushback: u64 = headers["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
        // A hundred seconds are between two calls.
        assert!((1..=100_000).contains(&pushback), "{pushback}");
    }
    for client in &clients[..2] {
        says(client, GET, &[("x-user", "bob")]).await;
        says(client, GET, &[]).await;
    }
    assert_eq!(called(&clients[0], &[]).await.code(), Code::ResourceExhausted, "those without it share one");
    assert_eq!(backend.seen().len(), 6);
    drop(clients);
    edge.drained().await;
}

#[tokio::test]
async fn a_rate_by_address_believes_the_proxies_in_front_and_a_rate_by_caller_does_not() {
    let backend = Recorder::start("shop").await;
    for (per, third) in [("address", Code::Ok), ("caller", Code::ResourceExhausted)] {
        let rate = format!("rate = {{ per_second = 0.01, burst = 2, per = '{per}' }}");
        let file = File::to(&[backend.addr()]).route(&rate).top("trusted_hops = 1");
        let edge = file.ready().await;
        let client = edge.client().await;
        let one = [("x-forwarded-for", "203.0.113.1")];
        says(&client, GET, &one).await;
        says(&client, GET, &one).await;
        assert_eq!(called(&client, &one).await.code(), Code::ResourceExhausted);
        assert_eq!(called(&client, &[("x-forwarded-for", "203.0.113.2")]).await.code(), third, "{per}");
        drop(client);
        edge.drained().await;
    }
}

#[tokio::test]
async fn an_injected_abort_hits_its_share_and_reaches_nobody() {
    let backend = Recorder::start("shop").await;
    let edge = File::to(&[backend.addr()])
        .route("fault = { abort = 'DATA_LOSS', abort_percent = 30 }")
        .ready()
        .await;
    let client = edge.client().await;
    let mut hit = 0;
    for _ in 0..1000 {
        match called(&client, &[]).await.code() {
            Code::DataLoss => hit += 1,
            code => assert_eq!(code, Code::Ok),
        }
    }
    // 300 with a standard deviation of 14.5.
    assert!((180..420).contains(&hit), "{hit} of 1000");
    assert_eq!(backend.seen().len(), 1000 - hit);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn an_injected_delay_comes_before_the_call_and_ends_at_the_deadline() {
    let backend = Recorder::start("shop").await;
    let edge = File::to(&[backend.addr()]).route("fault = { delay = '80ms' }").ready().await;
    let client = edge.client().await;
    let began = tokio::time::Instant::now();
    says(&client, GET, &[]).await;
    assert!(began.elapsed() >= Duration::from_millis(80));
    drop(client);
    edge.drained().await;

    let edge =
        File::to(&[backend.addr()]).route("fault = { delay = '1h', delay_percent = 50 }").ready().await;
    let client = edge.client().await;
    let calls = (0..60).map(|_| async {
        let reply = tokio::time::timeout(PATIENCE, called(&client, &[("grpc-timeout", "2S")])).await;
        reply.expect("an end").code()
    });
    let codes = futures_util::future::join_all(calls).await;
    let late = codes.iter().filter(|code| **code == Code::DeadlineExceeded).count();
    assert_eq!(late + codes.iter().filter(|code| **code == Code::Ok).count(), 60, "{codes:?}");
    // 30 with a standard deviation of 4.
    assert!((8..=52).contains(&late), "{late} of 60");
    assert_eq!(backend.seen().len(), 61 - late);
    drop(client);
    edge.drained().await;
}
