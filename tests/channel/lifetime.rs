//! A channel over its life: idle and back, without a server, dropped.

use futures_util::{StreamExt as _, stream};
use highball::Code;
use highball::channel::{Settings, State};
use highball::core::BackoffSettings;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::peer::{Peer, until};
use super::*;

/// Waits between attempts to connect that a test can wait for.
fn quick() -> BackoffSettings {
    BackoffSettings { initial: Duration::from_millis(20), multiplier: 1.0, ..BackoffSettings::default() }
}

fn idle_after(millis: u64) -> Settings {
    let mut settings = Settings::default();
    settings.idle_timeout = Duration::from_millis(millis);
    settings.backoff = quick();
    settings
}

const PICK_FIRST: &str = r#"{"loadBalancingConfig":[{"pick_first":{}}]}"#;

#[tokio::test]
async fn an_idle_channel_closes_its_connections_and_the_next_call_makes_new_ones() {
    let peer = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), peer.addr.to_string()).unwrap();
    for (target, config) in [
        (peer.target(), "{}"),
        (peer.target(), PICK_FIRST),
        (format!("file://{}", file.path().display()), "{}"),
        (format!("dns:///localhost:{}", peer.addr.port()), PICK_FIRST),
    ] {
        let builder = Channel::builder(&target).with_settings(idle_after(100));
        let channel = builder.with_service_config(config).build().unwrap();
        for round in 0..3 {
            let outcome = get(&channel).await;
            assert_eq!(outcome.status.code(), Code::Ok, "{target} {config} round {round}: {outcome:?}");
            until("the channel is idle", || {
                channel.state() == State::Idle && channel.snapshot().endpoints.is_empty()
            })
            .await;
            until("its connection is closed", || peer.open() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_channel_that_is_idle_stays_so_until_somebody_calls() {
    let peer = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
    let channel = Channel::builder(&peer.target()).with_settings(idle_after(60)).build().unwrap();
    // Several that find it idle.
    let outcomes = futures_util::future::join_all((0..5).map(|_| get(&channel))).await;
    assert!(outcomes.iter().all(|outcome| outcome.status.code() == Code::Ok), "{outcomes:?}");
    until("it is idle again", || peer.open() == 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(peer.made(), 1, "nobody has called");
}

#[tokio::test]
async fn a_channel_whose_policy_connects_on_demand_becomes_ready_when_asked() {
    let peer = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
    let ring = r#"{"loadBalancingConfig":[{"ring_hash_experimental":{}}]}"#;
    for config in [PICK_FIRST, ring] {
        let channel = Channel::builder(&peer.target()).with_service_config(config).build().unwrap();
        tokio::time::timeout(PATIENCE, channel.ready()).await.expect(config);
    }
}

#[tokio::test]
async fn a_channel_finds_a_server_that_comes_later() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let channel =
        Channel::builder(&format!("static:///{addr}")).with_settings(idle_after(60_000)).build().unwrap();
    assert_eq!(get(&channel).await.status.code(), Code::Unavailable);
    assert_eq!(channel.state(), State::TransientFailure);
    let mut patient = request(GET, b"ping");
    patient.extensions_mut().insert(highball::WaitForReady(true));
    let patient = call(&channel, patient);
    let peer = async {
        until("it has tried several times", || channel.snapshot().endpoints[0].connects.1 >= 3).await;
        Peer::at(addr, |_, io| {
            super::peer::serve(io, h2::server::Builder::new(), |rpc| async { rpc.succeed() })
        })
        .await
    };
    let (outcome, _peer) = tokio::join!(patient, peer);
    assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
    assert_eq!(channel.state(), State::Ready);
}

#[tokio::test]
async fn dropping_the_channel_ends_everything_and_a_stream_keeps_it() {
    let peer = Peer::rpcs(|mut rpc| async move {
        let mut stream = rpc.respond.send_response(super::scripted::head(), false).unwrap();
        while let Some(Ok(data)) = rpc.request.body_mut().data().await {
            stream.send_data(data, false).unwrap();
        }
        stream.send_trailers(super::scripted::status(Code::Ok)).unwrap();
    })
    .await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let channel = Channel::new(&peer.target()).unwrap();
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let frames = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|frame| (frame, rx)) });
    let chat = Request::post(CHAT).body(StreamBody::new(frames.boxed())).unwrap();
    let mut body = channel.call(chat).await.into_body();
    drop(channel);
    tx.send(Ok(Frame::data(seal(b"still there")))).await.unwrap();
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), seal(b"still there"));
    drop(body);
    until("its connection is closed", || peer.open() == 0).await;
    until("no task is left", || tokio::runtime::Handle::current().metrics().num_alive_tasks() <= tasks).await;
    assert!(tx.send(Ok(Frame::data(Bytes::new()))).await.is_err(), "nobody reads the request any more");
}

#[tokio::test]
async fn a_request_is_let_go_with_the_end_of_its_response() {
    let peer = Peer::rpcs(|mut rpc| async move {
        let mut stream = rpc.respond.send_response(super::scripted::head(), false).unwrap();
        drop(rpc.request.body_mut().data().await);
        stream.send_trailers(super::scripted::status(Code::Ok)).unwrap();
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let frames = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|frame| (frame, rx)) });
    let chat = Request::post(CHAT).body(StreamBody::new(frames.boxed())).unwrap();
    tx.send(Ok(Frame::data(seal(b"one")))).await.unwrap();
    let mut body = channel.call(chat).await.into_body();
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "0");
    // The application still holds the response, and would wait for ever for room to send.
    tokio::time::timeout(PATIENCE, tx.closed()).await.expect("the request is let go");
    drop(body);
}

#[test]
fn calls_on_a_channel_whose_runtime_has_ended_fail_at_once() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let channel = first.block_on(async { Channel::new("static:///127.0.0.1:1").unwrap() });
    drop(first);
    runtime().block_on(async {
        let mut patient = request(GET, b"ping");
        patient.extensions_mut().insert(highball::WaitForReady(true));
        for request in [request(GET, b"ping"), patient] {
            let outcome = call(&channel, request).await;
            assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
            assert!(outcome.status.message().contains("closed"), "{outcome:?}");
        }
    });
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_not_sent() {
    let peer = Peer::rpcs(|_| async { panic!("it must not come here") }).await;
    let channel = Channel::new(&peer.target()).unwrap();
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    let mut late = request(GET, b"ping");
    late.headers_mut().insert("grpc-timeout", "0n".parse().unwrap());
    let outcome = call(&channel, late).await;
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded, "{outcome:?}");
    assert_eq!(channel.snapshot().picks.len(), 0);
}
