//! Many callers on many threads, while everything else changes: nobody is forgotten, and nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highball::Code;
use highball::channel::Settings;
use highball::core::BackoffSettings;

use super::peer::{Peer, Rpc, is_health, linger, until};
use super::*;

const CONFIGS: [&str; 3] = [
    r#"{"loadBalancingConfig":[{"pick_first":{}}]}"#,
    r#"{"connectionScaling":{"maxConnectionsPerSubchannel":3},"methodConfig":[{"name":[{}],"hedgingPolicy":
        {"maxAttempts":2,"hedgingDelay":"0.002s","nonFatalStatusCodes":["UNAVAILABLE"]}}]}"#,
    r#"{"loadBalancingConfig":[{"least_request_experimental":{}}],"methodConfig":[{"name":[{}],"retryPolicy":
        {"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.01s","backoffMultiplier":2,
        "retryableStatusCodes":["UNAVAILABLE"]}}]}"#,
];

/// Takes few streams at a time, and asks to be left after some.
async fn restless() -> Peer {
    Peer::start(|nth, io| async move {
        let (io, rest) = linger(io);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(4);
        let Ok(mut connection) = builder.handshake(io).await else { return };
        let mut served = 0;
        while let Some(Ok((request, respond))) = connection.accept().await {
            let rpc = Rpc { request, respond };
            if is_health(&rpc.request) {
                rpc.fail(Code::Unimplemented);
                continue;
            }
            served += 1;
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(served % 7 * 300)).await;
                // The caller may be gone.
                let mut respond = rpc.respond;
                let Ok(mut stream) = respond.send_response(super::scripted::head(), false) else { return };
                stream.send_trailers(super::scripted::status(Code::Ok)).ok();
            });
            if served > 20 + nth as u64 % 5 {
                connection.graceful_shutdown();
            }
        }
        drop(connection);
        rest.await;
    })
    .await
}

/// Calls, gives up, pauses until the channel is idle.
async fn caller(channel: Channel, number: u64, answered: Arc<AtomicUsize>) {
    for round in 0..60_u64 {
        let patience = Duration::from_micros((number * 7 + round * 13) % 40 * 100);
        let called = async { Outcome::of(channel.call(request(GET, b"ping")).await).await };
        if round % 3 == 0 {
            // It may be long enough, or not.
            drop(tokio::time::timeout(patience, called).await);
        } else {
            let outcome = tokio::time::timeout(PATIENCE, called).await.expect("nobody is forgotten");
            assert!(matches!(outcome.status.code(), Code::Ok), "{outcome:?}");
            answered.fetch_add(1, Ordering::SeqCst);
        }
        if round % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_and_nothing_is_left() {
    for config in CONFIGS {
        let peers = [restless().await, restless().await];
        let mut settings = Settings::default();
        settings.idle_timeout = Duration::from_millis(5);
        settings.backoff = BackoffSettings {
            initial: Duration::from_millis(1),
            multiplier: 1.0,
            ..BackoffSettings::default()
        };
        let target = format!("static:///{},{}", peers[0].addr, peers[1].addr);
        let channel =
            Channel::builder(&target).with_settings(settings).with_service_config(config).build().unwrap();
        let answered = Arc::<AtomicUsize>::default();
        let callers: Vec<_> =
            (0..12).map(|number| tokio::spawn(caller(channel.clone(), number, answered.clone()))).collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(answered.load(Ordering::SeqCst), 12 * 40);
        until("nothing is left", || {
            let snapshot = channel.snapshot();
            let active: usize = snapshot.endpoints.iter().map(|endpoint| endpoint.active).sum();
            (snapshot.calls, snapshot.waiting, snapshot.replay_bytes, active) == (0, 0, 0, 0)
        })
        .await;
        until("its connections are closed", || peers.iter().all(|peer| peer.open() == 0)).await;
    }
}
