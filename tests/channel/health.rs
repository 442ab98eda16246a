//! What servers say of their health steers the choice among them (gRFC A17).

use highball::Code;
use highball::channel::State;

use super::peer::{Peer, until};
use super::*;

const CONFIGURED: &str = r#"{"healthCheckConfig":{"serviceName":"shop.v1.Shop"}}"#;

/// Waits until the endpoints are in these states, in the target's order.
async fn states(channel: &Channel, expected: &[&str]) {
    until(&format!("{expected:?}"), || {
        channel.connect();
        let endpoints = channel.snapshot().endpoints;
        endpoints.iter().map(|endpoint| endpoint.state).eq(expected.iter().copied())
    })
    .await;
}

/// Who answers, over some calls.
async fn who(channel: &Channel) -> String {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let outcome = get(channel).await;
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
        names.insert(outcome.text());
    }
    names.into_iter().collect()
}

#[tokio::test]
async fn without_being_asked_for_health_steers_but_never_leaves_nobody() {
    let (a, b) = (named("a").await, named("b").await);
    a.health.set_serving("", false);
    let channel = channel(&[&a, &b]);
    states(&channel, &["TRANSIENT_FAILURE", "READY"]).await;
    assert_eq!(who(&channel).await, "b");
    let trouble = channel.snapshot().endpoints[0].trouble.clone();
    assert_eq!(trouble.as_deref(), Some("health: NOT_SERVING"));
    // Both would rather not: then both must.
    b.health.set_serving("", false);
    states(&channel, &["READY", "READY"]).await;
    assert_eq!(who(&channel).await, "ab");
    a.health.set_serving("", true);
    states(&channel, &["READY", "TRANSIENT_FAILURE"]).await;
    assert_eq!(who(&channel).await, "a");
}

#[tokio::test]
async fn health_that_was_asked_for_decides() {
    let (a, b) = (named("a").await, named("b").await);
    for server in [&a, &b] {
        server.health.set_serving("shop.v1.Shop", true);
    }
    let builder = Channel::builder(&target(&[&a, &b]));
    let channel = builder.with_service_config(CONFIGURED).build().unwrap();
    states(&channel, &["READY", "READY"]).await;
    a.health.set_serving("shop.v1.Shop", false);
    states(&channel, &["TRANSIENT_FAILURE", "READY"]).await;
    assert_eq!(who(&channel).await, "b");
    b.health.set_serving("shop.v1.Shop", false);
    until("nobody is left", || channel.state() == State::TransientFailure).await;
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("2 of 2 endpoints: health: NOT_SERVING"), "{outcome:?}");
    a.health.set_serving("shop.v1.Shop", true);
    states(&channel, &["READY", "TRANSIENT_FAILURE"]).await;
    assert_eq!(who(&channel).await, "a");
}

#[tokio::test]
async fn a_server_without_a_health_service_is_healthy() {
    let peer = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
    let channel = Channel::builder(&peer.target()).with_service_config(CONFIGURED).build().unwrap();
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn pick_first_asks_nobody_for_health() {
    let server = named("a").await;
    server.health.set_serving("", false);
    let config = r#"{"loadBalancingConfig":[{"pick_first":{}}],"healthCheckConfig":{"serviceName":""}}"#;
    let channel = Channel::builder(&target(&[&server])).with_service_config(config).build().unwrap();
    assert_eq!(who(&channel).await, "a");
}
