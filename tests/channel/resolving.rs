//! Where a target leads, as it changes.

mod script;

use futures_util::{StreamExt as _, stream};
use highball::Code;
use highball::channel::resolver::{self, ResolveError, Update};
use highball::channel::{Address, Endpoint, ServiceConfig, Settings, State};
use highball::core::BackoffSettings;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use self::script::{Script, Zone};
use super::peer::{Peer, Rpc, is_health, serve, serve_all, until};
use super::scripted::{head, status};
use super::*;

fn endpoints(addrs: &[std::net::SocketAddr]) -> Vec<Endpoint> {
    addrs.iter().map(|addr| Endpoint::new(Address::Tcp(*addr))).collect()
}

fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.backoff =
        BackoffSettings { initial: Duration::from_millis(20), multiplier: 1.0, ..BackoffSettings::default() };
    settings
}

fn following(script: &Script) -> Channel {
    Channel::builder("shop").with_resolver(script.resolver()).with_settings(quick()).build().unwrap()
}

/// The endpoints there are, by their ports.
fn ports(channel: &Channel) -> Vec<String> {
    channel.snapshot().endpoints.into_iter().flat_map(|endpoint| endpoint.addresses).collect()
}

/// Sends back whatever comes, under its name.
async fn echo(name: &'static str) -> Peer {
    Peer::rpcs(move |rpc| echoed(name, rpc)).await
}

async fn echoed(name: &'static str, mut rpc: Rpc) {
    let mut stream = rpc.respond.send_response(head(), false).unwrap();
    stream.send_data(seal(name.as_bytes()), false).unwrap();
    while let Some(Ok(data)) = rpc.request.body_mut().data().await {
        rpc.request.body_mut().flow_control().release_capacity(data.len()).unwrap();
        if rpc.request.uri().path() == CHAT {
            stream.send_data(data, false).unwrap();
        }
    }
    stream.send_trailers(status(Code::Ok)).unwrap();
}

#[tokio::test]
async fn a_stream_goes_on_at_an_endpoint_that_is_no_longer_listed() {
    let (one, two) = (echo("one").await, echo("two").await);
    let script = Script::new();
    let channel = following(&script);
    script.tell(Ok(Update::new(endpoints(&[one.addr]))));
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let frames = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|frame| (frame, rx)) });
    let chat = Request::post(CHAT).body(StreamBody::new(frames.boxed())).unwrap();
    let mut body = tokio::time::timeout(PATIENCE, channel.call(chat)).await.unwrap().into_body();
    let mut heard = async || {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        frame.into_data().map_err(|frame| frame.into_trailers().unwrap()["grpc-status"].clone())
    };
    assert_eq!(heard().await, Ok(seal(b"one")));
    script.tell(Ok(Update::new(endpoints(&[two.addr]))));
    until("the other is listed", || ports(&channel) == [two.addr.to_string()]).await;
    assert_eq!(get(&channel).await.text(), "two");
    tx.send(Ok(Frame::data(seal(b"still there?")))).await.unwrap();
    assert_eq!(heard().await, Ok(seal(b"still there?")));
    assert_eq!((one.open(), one.made()), (1, 1));
    drop(tx);
    assert_eq!(heard().await.unwrap_err(), "0");
    until("its connection is closed with its last stream", || one.open() == 0).await;
}

#[tokio::test]
async fn what_was_resolved_stays_while_the_resolver_fails_and_the_operator_sees_why() {
    let peer = echo("one").await;
    let script = Script::new();
    let channel = following(&script);
    script.tell(Err(ResolveError::new("10.0.0.53 does not answer")));
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert_eq!(outcome.status.message(), "shop: the name cannot be resolved");
    assert_eq!(channel.snapshot().resolve_error.as_deref(), Some("10.0.0.53 does not answer"));
    script.tell(Ok(Update::new(endpoints(&[peer.addr]))));
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    assert_eq!(channel.snapshot().resolve_error, None);
    script.tell(Err(ResolveError::new("gone again")));
    until("it has heard", || channel.snapshot().resolve_error.is_some()).await;
    assert_eq!(get(&channel).await.text(), "one");
    assert_eq!(channel.state(), State::Ready);
}

#[tokio::test]
async fn a_target_without_endpoints_fails_calls_and_gets_well() {
    let peer = echo("one").await;
    let script = Script::new();
    let channel = following(&script);
    script.tell(Ok(Update::new(Vec::new())));
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("no endpoints"), "{outcome:?}");
    script.tell(Ok(Update::new(endpoints(&[peer.addr]))));
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    assert_eq!(get(&channel).await.text(), "one");
}

#[tokio::test]
async fn a_lost_connection_makes_the_resolver_look_again() {
    let peer = Peer::start(|nth, io| async move {
        if nth == 0 {
            drop(
                tokio::time::timeout(
                    Duration::from_millis(50),
                    serve(io, h2::server::Builder::new(), |_| async {}),
                )
                .await,
            );
        } else {
            serve(io, h2::server::Builder::new(), |_| async {}).await;
        }
    })
    .await;
    let script = Script::new();
    let channel = following(&script);
    script.tell(Ok(Update::new(endpoints(&[peer.addr]))));
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    assert_eq!(script.hints(), 0);
    until("it is asked to look again", || script.hints() > 0).await;
}

#[tokio::test]
async fn what_was_known_before_the_channel_was_idle_is_better_than_nothing() {
    let peer = echo("one").await;
    let script = Script::new();
    let mut settings = quick();
    settings.idle_timeout = Duration::from_millis(50);
    let builder = Channel::builder("shop").with_resolver(script.resolver()).with_settings(settings);
    let channel = builder.build().unwrap();
    script.tell(Ok(Update::new(endpoints(&[peer.addr]))));
    assert_eq!(get(&channel).await.text(), "one");
    until("it is idle", || channel.state() == State::Idle && script.restarts() == 1).await;
    script.tell(Err(ResolveError::new("DNS is down")));
    assert_eq!(get(&channel).await.text(), "one");
}

#[tokio::test]
async fn a_bad_service_config_keeps_the_one_before_and_can_be_seen() {
    let peer = echo("one").await;
    let script = Script::new();
    let channel = following(&script);
    let with = |json: &str| {
        let config = ServiceConfig::parse(json).map(std::sync::Arc::new);
        Ok(Update { service_config: Some(config), ..Update::new(endpoints(&[peer.addr])) })
    };
    script.tell(with(r#"{"loadBalancingConfig":[{"nobody_knows":{}}]}"#));
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("service config"), "{outcome:?}");
    script.tell(with(r#"{"loadBalancingConfig":[{"pick_first":{}}]}"#));
    until("it is taken", || channel.snapshot().policy == "pick_first").await;
    assert_eq!(channel.snapshot().config_error, None);
    script.tell(with(
        r#"{"loadBalancingConfig":[{"round_robin":{}}],"methodConfig":[{"name":[{}],"timeout":"x"}]}"#,
    ));
    until("it is refused", || channel.snapshot().config_error.is_some()).await;
    let snapshot = channel.snapshot();
    assert_eq!(snapshot.policy, "pick_first");
    assert!(snapshot.config_error.as_deref().unwrap().contains("methodConfig[0].timeout"), "{snapshot:?}");
    assert_eq!(get(&channel).await.text(), "one");
    script.tell(with(r#"{"loadBalancingConfig":[{"round_robin":{}}]}"#));
    until("the next is taken", || channel.snapshot().policy == "round_robin").await;
    assert_eq!(channel.snapshot().config_error, None);
}

#[tokio::test]
async fn another_name_to_watch_the_health_of_is_followed() {
    let peer = Peer::start(|_, io| {
        serve_all(io, h2::server::Builder::new(), |mut rpc| async move {
            if !is_health(&rpc.request) {
                return echoed("one", rpc).await;
            }
            let asked = rpc.request.body_mut().data().await.unwrap().unwrap();
            let serving = if asked.ends_with(b"well") { 1 } else { 2 };
            let mut stream = rpc.respond.send_response(head(), false).unwrap();
            stream.send_data(seal(&[8, serving]), false).unwrap();
            drop(std::future::poll_fn(|cx| stream.poll_reset(cx)).await);
        })
    })
    .await;
    let script = Script::new();
    let channel = following(&script);
    let watching = |service: &str| {
        let config = format!(r#"{{"healthCheckConfig":{{"serviceName":"{service}"}}}}"#);
        let config = ServiceConfig::parse(&config).map(std::sync::Arc::new);
        Ok(Update { service_config: Some(config), ..Update::new(endpoints(&[peer.addr])) })
    };
    script.tell(watching("ill"));
    let outcome = get(&channel).await;
    assert!(outcome.status.message().contains("NOT_SERVING"), "{outcome:?}");
    script.tell(watching("well"));
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    assert_eq!(get(&channel).await.text(), "one");
}

#[tokio::test]
async fn a_file_of_endpoints_is_followed_and_a_bad_one_changes_nothing() {
    let (one, two) = (echo("one").await, echo("two").await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("endpoints");
    let write = |content: String| {
        let next = directory.path().join("next");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    write(one.addr.to_string());
    let builder = Channel::builder(&format!("file://{}", path.display()));
    let channel = builder.with_settings(quick()).build().unwrap();
    assert_eq!(get(&channel).await.text(), "one");
    write(format!("{}\n{}\n", one.addr, two.addr));
    until("both are listed", || ports(&channel) == [one.addr.to_string(), two.addr.to_string()]).await;
    write("this is no address".to_owned());
    until("it is refused", || channel.snapshot().resolve_error.is_some()).await;
    assert_eq!(ports(&channel), [one.addr.to_string(), two.addr.to_string()]);
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_by_its_time_to_live_and_stays_while_dns_is_silent() {
    let one = Peer::at("127.0.0.2:0".parse().unwrap(), |_, io| {
        serve(io, h2::server::Builder::new(), |rpc| echoed("one", rpc))
    })
    .await;
    let port = one.addr.port();
    let two = Peer::at(format!("127.0.0.3:{port}").parse().unwrap(), |_, io| {
        serve(io, h2::server::Builder::new(), |rpc| echoed("two", rpc))
    })
    .await;
    let zone = Zone::new();
    zone.set("shop.example", &["127.0.0.2"]);
    zone.set_text(
        "_grpc_config.shop.example",
        r#"grpc_config=[{"serviceConfig":{"loadBalancingConfig":[{"pick_first":{}}]}}]"#,
    );
    let dialled = |with_config: bool| {
        let mut resolving = resolver::Settings::default();
        resolving.dns.interval_min = Duration::from_millis(20);
        resolving.dns.interval_max = Duration::from_millis(40);
        resolving.dns.service_config = with_config;
        let builder = Channel::builder(&format!("dns:///shop.example:{port}")).with_settings(quick());
        builder.with_resolving(resolving).with_platform(zone.platform()).build().unwrap()
    };
    let (plain, configured) = (dialled(false), dialled(true));
    assert_eq!((get(&plain).await.text(), get(&configured).await.text()), ("one".into(), "one".into()));
    assert_eq!(
        (plain.snapshot().policy, configured.snapshot().policy),
        ("round_robin", "pick_first"),
        "texts are believed behind the switch only"
    );
    zone.set("shop.example", &["127.0.0.3"]);
    until("it has moved", || ports(&plain) == [two.addr.to_string()]).await;
    assert_eq!(get(&plain).await.text(), "two");
    zone.set_text("_grpc_config.shop.example", "grpc_config=[oops");
    until("the text is refused", || configured.snapshot().config_error.is_some()).await;
    assert_eq!(configured.snapshot().policy, "pick_first");
    zone.silence();
    until("it is noticed", || plain.snapshot().resolve_error.is_some()).await;
    assert_eq!(get(&plain).await.text(), "two");
}
