//! Connections and the places on them (gRFC A105).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::Builder;
use highball::Code;
use highball::channel::Settings;

use super::peer::{Peer, serve};
use super::*;

/// Takes so many streams at a time on each connection, and so long for each.
async fn narrow(streams: u32, takes: Duration) -> Peer {
    Peer::start(move |_, io| {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(streams);
        serve(io, builder, move |rpc| async move {
            tokio::time::sleep(takes).await;
            rpc.succeed();
        })
    })
    .await
}

fn plain() -> Settings {
    let mut settings = Settings::default();
    settings.health = false;
    settings
}

async fn calls(channel: &Channel, count: usize) {
    let outcomes = futures_util::future::join_all((0..count).map(|_| get(channel))).await;
    for outcome in outcomes {
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
    }
}

#[tokio::test]
async fn calls_wait_for_a_place_on_the_only_connection() {
    let peer = narrow(2, Duration::from_millis(5)).await;
    let channel = Channel::builder(&peer.target()).with_settings(plain()).build().unwrap();
    calls(&channel, 40).await;
    assert_eq!((peer.made(), channel.snapshot().waiting), (1, 0));
}

#[tokio::test]
async fn a_full_connection_gets_a_second_one_beside_it_where_that_is_allowed() {
    let peer = narrow(2, Duration::from_millis(50)).await;
    let config = r#"{"connectionScaling":{"maxConnectionsPerSubchannel":3}}"#;
    let builder = Channel::builder(&peer.target()).with_settings(plain());
    let channel = builder.with_service_config(config).build().unwrap();
    calls(&channel, 12).await;
    assert_eq!((peer.made(), channel.snapshot().endpoints[0].connections), (3, 3));
    // Fewer calls than places need none of the new ones, and no more.
    calls(&channel, 2).await;
    assert_eq!(peer.made(), 3);
}

#[tokio::test]
async fn whoever_waits_for_a_place_gets_it_before_those_who_come_later() {
    let peer = narrow(1, Duration::from_millis(1)).await;
    let channel = Channel::builder(&peer.target()).with_settings(plain()).build().unwrap();
    calls(&channel, 1).await;
    // Calls again and again, without a pause in which another could take the place.
    let greedy = channel.clone();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let hog = tokio::spawn(async move {
        loop {
            assert_eq!(get(&greedy).await.status.code(), Code::Ok);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    while made.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..5 {
        let before = made.load(Ordering::SeqCst);
        calls(&channel, 1).await;
        let overtaken = made.load(Ordering::SeqCst) - before;
        assert!(overtaken <= 3, "{overtaken} calls went first");
    }
    hog.abort();
}

#[tokio::test]
async fn many_waiting_calls_cost_no_more_than_few() {
    let peer = narrow(10, Duration::ZERO).await;
    let channel = Channel::builder(&peer.target()).with_settings(plain()).build().unwrap();
    calls(&channel, 1).await;
    let tasks: Vec<_> = (0..3000)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { get(&channel).await.status.code() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Code::Ok);
    }
}
