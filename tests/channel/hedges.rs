//! Hedges must never make a call worse than it was without them (gRFC A6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use highball::Code;
use http_body::Frame;
use http_body_util::StreamBody;

use super::peer::Peer;
use super::*;

fn hedging(delay: &str) -> String {
    format!(
        r#"{{"methodConfig":[{{"name":[{{}}],"hedgingPolicy":{{"maxAttempts":2,"hedgingDelay":"{delay}",
        "nonFatalStatusCodes":["UNAVAILABLE"]}}}}]}}"#
    )
}

#[tokio::test]
async fn a_request_too_large_to_keep_goes_on_with_the_attempt_that_has_read_it() {
    let peer = Peer::rpcs(|mut rpc| async move {
        if rpc.read().await > 300_000 {
            rpc.succeed();
        }
    })
    .await;
    let channel = Channel::builder(&peer.target()).with_service_config(hedging("0s")).build().unwrap();
    // Both attempts have begun when the request turns out to be too large for two.
    let large = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, std::convert::Infallible>(Frame::data(seal(&vec![7; 300_000])))
    });
    let large = Request::post(GET).body(StreamBody::new(large.boxed())).unwrap();
    let outcome = tokio::time::timeout(PATIENCE, async { Outcome::of(channel.call(large).await).await });
    let outcome = outcome.await.unwrap();
    assert_eq!((outcome.status.code(), outcome.text().as_str()), (Code::Ok, "done"), "{outcome:?}");
}

#[tokio::test]
async fn a_hedge_that_finds_no_room_leaves_the_first_attempt_alone() {
    let peer = Peer::rpcs(|rpc| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        rpc.succeed();
    })
    .await;
    let mut settings = highball::channel::Settings::default();
    settings.endpoint_calls_max = 1;
    let builder = Channel::builder(&peer.target()).with_service_config(hedging("0.02s"));
    let channel = builder.with_settings(settings).build().unwrap();
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
}

#[tokio::test]
async fn hedges_that_a_server_refuses_unseen_are_sent_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = attempts.clone();
    let peer = Peer::rpcs(move |mut rpc| {
        let nth = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            match nth {
                0 => rpc.respond.send_reset(h2::Reason::REFUSED_STREAM),
                1 => rpc.fail(Code::Unavailable),
                _ => rpc.succeed(),
            }
        }
    })
    .await;
    let channel = Channel::builder(&peer.target()).with_service_config(hedging("5s")).build().unwrap();
    let before = channel.snapshot().retry_tokens;
    let outcome = get(&channel).await;
    assert_eq!((outcome.status.code(), attempts.load(Ordering::SeqCst)), (Code::Ok, 3), "{outcome:?}");
    // The refusal says nothing about overload: one of 100 tokens for the failure, a tenth back.
    assert_eq!((before, channel.snapshot().retry_tokens), (None, Some(99.1)));
}

#[tokio::test]
async fn a_hedge_that_may_no_longer_be_sent_does_not_leave_the_call_hanging() {
    // One token may be lost, the next stops everything.
    let config = hedging("5s").replacen('{', r#"{"retryThrottling":{"maxTokens":4,"tokenRatio":0.001},"#, 1);
    let peer = Peer::rpcs(|rpc| async move {
        let pushback = Some(("grpc-retry-pushback-ms", "300"));
        super::scripted::fail(rpc.respond, Code::Unavailable, pushback);
    })
    .await;
    let channel = Channel::builder(&peer.target()).with_service_config(config).build().unwrap();
    let waits = get(&channel);
    let empties = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        get(&channel).await
    };
    let (waited, emptied) = tokio::join!(waits, empties);
    assert_eq!((waited.status.code(), emptied.status.code()), (Code::Unavailable, Code::Unavailable));
}
