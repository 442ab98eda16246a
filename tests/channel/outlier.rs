//! Outlier detection (gRFC A50).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use highball::Code;

use super::peer::{Peer, until};
use super::*;

const CONFIG: &str = r#"{"loadBalancingConfig":[{"outlier_detection_experimental":{"interval":"0.1s",
    "baseEjectionTime":"0.4s","maxEjectionPercent":50,"consecutiveFailures":5,"childPolicy":[{"round_robin":{}}]}}]}"#;

/// Answers with whatever code is set.
async fn moody() -> (Peer, Arc<AtomicU16>) {
    let code = Arc::new(AtomicU16::new(0));
    let mood = code.clone();
    let peer = Peer::rpcs(move |rpc| {
        let code = mood.load(Ordering::SeqCst);
        async move {
            match Code::ALL.into_iter().find(|known| *known as u16 == code) {
                Some(Code::Ok) | None => rpc.succeed(),
                Some(code) => rpc.fail(code),
            }
        }
    })
    .await;
    (peer, code)
}

async fn connected(peers: &[&Peer]) -> Channel {
    let addrs: Vec<String> = peers.iter().map(|peer| peer.addr.to_string()).collect();
    let target = format!("static:///{}", addrs.join(","));
    let channel = Channel::builder(&target).with_service_config(CONFIG).build().unwrap();
    until("all are ready", || {
        channel.connect();
        let endpoints = channel.snapshot().endpoints;
        endpoints.len() == peers.len() && endpoints.iter().all(|endpoint| endpoint.state == "READY")
    })
    .await;
    channel
}

fn ejected(channel: &Channel) -> usize {
    channel.snapshot().endpoints.iter().filter(|endpoint| endpoint.ejected.is_some()).count()
}

#[tokio::test]
async fn a_backend_that_fails_five_times_in_a_row_is_left_alone_for_a_while() {
    let ((bad, mood), (good, _)) = (moody().await, moody().await);
    mood.store(Code::Unavailable as u16, Ordering::SeqCst);
    let channel = connected(&[&bad, &good]).await;
    let mut failures = 0;
    for _ in 0..10 {
        failures += usize::from(get(&channel).await.status.code() != Code::Ok);
    }
    assert_eq!(failures, 5);
    until("it is ejected", || ejected(&channel) == 1).await;
    let snapshot = channel.snapshot();
    assert_eq!(snapshot.endpoints[0].ejected.as_deref(), Some("5 failures in a row; out for 0.4 s"));
    assert_eq!((snapshot.endpoints[0].state, snapshot.endpoints[0].connections), ("TRANSIENT_FAILURE", 1));
    for _ in 0..6 {
        let outcome = get(&channel).await;
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
    }
    mood.store(0, Ordering::SeqCst);
    until("it is back", || ejected(&channel) == 0).await;
    until("it is used again", || {
        channel.snapshot().endpoints.iter().all(|endpoint| endpoint.state == "READY")
    })
    .await;
    assert_eq!(bad.made(), 1, "its connection stayed");
}

#[tokio::test]
async fn what_a_request_is_answered_does_not_eject() {
    let ((bad, mood), (other, _)) = (moody().await, moody().await);
    let channel = connected(&[&bad, &other]).await;
    for code in [
        Code::NotFound,
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::Aborted,
        Code::ResourceExhausted,
    ] {
        mood.store(code as u16, Ordering::SeqCst);
        for _ in 0..14 {
            get(&channel).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(ejected(&channel), 0, "{code}");
    }
}

#[tokio::test]
async fn no_more_than_the_share_is_ejected() {
    let peers = [moody().await, moody().await, moody().await];
    for (_, mood) in &peers {
        mood.store(Code::Unavailable as u16, Ordering::SeqCst);
    }
    let channel = connected(&[&peers[0].0, &peers[1].0, &peers[2].0]).await;
    for _ in 0..60 {
        get(&channel).await;
        assert!(ejected(&channel) <= 1, "{:?}", channel.snapshot());
    }
    until("one is ejected", || ejected(&channel) == 1).await;
}
