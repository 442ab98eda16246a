//! What a call is: where it goes, how it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use highball::Code;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn calls_go_to_all_endpoints_in_turn() {
    let servers = [named("a").await, named("b").await, named("c").await];
    let channel = channel(&[&servers[0], &servers[1], &servers[2]]);
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    // All three are connected in a moment; until then calls go to those that are.
    while channel.snapshot().endpoints.iter().any(|endpoint| endpoint.state != "READY") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..30 {
        let outcome = get(&channel).await;
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
        *seen.entry(outcome.text()).or_default() += 1;
    }
    assert_eq!(seen, HashMap::from([("a".into(), 10), ("b".into(), 10), ("c".into(), 10)]));
    let snapshot = channel.snapshot();
    assert_eq!((snapshot.state, snapshot.policy, snapshot.calls), ("READY", "round_robin", 0));
    assert_eq!(snapshot.picks.last().unwrap().why, "round_robin");
}

#[tokio::test]
async fn without_a_server_a_call_fails_and_says_why_without_an_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let channel = Channel::new(&format!("static:///{addr}")).unwrap();
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("connection refused"), "{outcome:?}");
}

#[tokio::test]
async fn a_call_that_waits_for_ready_waits_until_its_deadline_and_says_for_what() {
    let channel = Channel::new("static:///127.0.0.1:1").unwrap();
    let mut request = request(GET, b"ping");
    request.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
    request.extensions_mut().insert(highball::WaitForReady(true));
    let outcome = call(&channel, request).await;
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded, "{outcome:?}");
    let message = outcome.status.message();
    assert!(message.contains("300ms") && message.contains("no endpoint"), "{message}");
}

#[tokio::test]
async fn a_bidirectional_stream_runs_in_lock_step() {
    let server = host(|request: Request<Body>| async move {
        let body = request.into_body();
        let echoed = stream::unfold(body, |mut body| async move {
            let frame = body.frame().await?;
            Some((frame, body))
        });
        stub::frames(
            echoed
                .chain(stream::once(async { Ok(Frame::trailers(Status::new(Code::Ok, "").to_trailers())) })),
        )
    })
    .await;
    let channel = channel(&[&server]);
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let frames = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|frame| (frame, rx)) });
    let request = Request::post(CHAT).body(StreamBody::new(frames.boxed())).unwrap();
    let mut body = tokio::time::timeout(PATIENCE, channel.call(request)).await.unwrap().into_body();
    for message in [&b"one"[..], b"two", b"three"] {
        tx.send(Ok(Frame::data(seal(message)))).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), seal(message));
    }
    drop(tx);
    let end = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(end.into_trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_stream_is_cut_at_its_deadline() {
    let server = host(|_| async {
        let messages = stream::iter([Ok(Frame::data(seal(b"first")))]).chain(stream::pending());
        stub::frames(messages)
    })
    .await;
    let channel = channel(&[&server]);
    let mut request = request(WATCH, b"");
    request.headers_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let outcome = call(&channel, request).await;
    assert_eq!(outcome.text(), "first");
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded, "{outcome:?}");
}

#[tokio::test]
async fn a_status_with_metadata_arrives_as_the_server_sent_it() {
    let server = host(|_| async {
        let mut response = Status::new(Code::NotFound, "no such order").into_response();
        response.headers_mut().insert("x-hint", "look elsewhere".parse().unwrap());
        response
    })
    .await;
    let channel = channel(&[&server]);
    let response = channel.call(request(GET, b"ping")).await;
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.headers()["x-hint"], "look elsewhere");
}

#[tokio::test]
async fn a_retry_policy_is_followed_and_attempts_are_numbered() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let server = host(move |request: Request<Body>| {
        let counted = counted.clone();
        async move {
            let previous = request.headers().get("grpc-previous-rpc-attempts").cloned();
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    assert!(previous.is_none());
                    Status::new(Code::Unavailable, "not now").into_response()
                }
                n => {
                    assert_eq!(previous.unwrap(), n.to_string());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    stub::messages(&[&body[5..]])
                }
            }
        }
    })
    .await;
    let config = r#"{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.01s",
        "maxBackoff":"0.1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}"#;
    let channel = Channel::builder(&target(&[&server])).with_service_config(config).build().unwrap();
    let outcome = get(&channel).await;
    assert_eq!((outcome.status.code(), outcome.text().as_str()), (Code::Ok, "ping"), "{outcome:?}");
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    assert_eq!(channel.snapshot().replay_bytes, 0);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let (gone, mut heard) = mpsc::channel::<()>(1);
    let server = host(move |_| {
        let gone = gone.clone();
        async move {
            // Dropped with the handler.
            let _gone = gone;
            std::future::pending().await
        }
    })
    .await;
    let channel = channel(&[&server]);
    let pending = tokio::time::timeout(Duration::from_millis(300), channel.call(request(GET, b"ping"))).await;
    assert!(pending.is_err());
    drop(server);
    assert!(tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().is_none());
    assert_eq!(channel.snapshot().calls, 0);
}
