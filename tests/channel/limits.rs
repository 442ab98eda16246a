//! What calls may cost.

use highball::Code;
use highball::channel::Settings;

use super::peer::{Peer, until};
use super::*;

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

fn to(peer: &Peer, settings: Settings) -> Channel {
    Channel::builder(&peer.target()).with_settings(settings).build().unwrap()
}

/// Answers nobody.
async fn silent() -> Peer {
    Peer::rpcs(|rpc| async move {
        let _held = rpc;
        std::future::pending::<()>().await;
    })
    .await
}

/// A call that goes on.
fn begin(channel: &Channel, wait: bool) -> tokio::task::JoinHandle<()> {
    let channel = channel.clone();
    tokio::spawn(async move {
        let mut request = request(GET, b"");
        request.extensions_mut().insert(highball::WaitForReady(wait));
        drop(channel.call(request).await);
    })
}

#[tokio::test]
async fn so_many_calls_wait_and_one_more_is_refused() {
    let settings = with(|settings| settings.waiting_calls_max = 3);
    let channel = Channel::builder("static:///127.0.0.1:1").with_settings(settings).build().unwrap();
    let waiting: Vec<_> = (0..3).map(|_| begin(&channel, true)).collect();
    until("three wait", || channel.snapshot().waiting == 3).await;
    let mut request = request(GET, b"");
    request.extensions_mut().insert(highball::WaitForReady(true));
    let outcome = call(&channel, request).await;
    assert_eq!(outcome.status.code(), Code::ResourceExhausted, "{outcome:?}");
    assert!(outcome.status.message().contains("waiting_calls_max"), "{outcome:?}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until("their places are free", || channel.snapshot().waiting == 0).await;
    assert_eq!(channel.snapshot().calls, 0);
}

#[tokio::test]
async fn an_endpoint_takes_so_many_calls_and_no_more() {
    let peer = silent().await;
    let channel = to(&peer, with(|settings| settings.endpoint_calls_max = 2));
    let running: Vec<_> = (0..2).map(|_| begin(&channel, false)).collect();
    until("two run", || channel.snapshot().endpoints.first().is_some_and(|endpoint| endpoint.active == 2))
        .await;
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("endpoint_calls_max"), "{outcome:?}");
    running.iter().for_each(tokio::task::JoinHandle::abort);
    until("they are over", || channel.snapshot().endpoints[0].active == 0).await;
}

#[tokio::test]
async fn requests_are_kept_within_the_bounds_of_the_channel_and_let_go() {
    let peer = silent().await;
    let channel = to(
        &peer,
        with(|settings| {
            settings.replay_bytes_max = 4096;
            settings.replay_bytes_total_max = 10_000;
        }),
    );
    let running: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let request = Request::post(GET).body(Full::new(seal(&[7; 3000]))).unwrap();
                drop(channel.call(request).await);
            })
        })
        .collect();
    until("all run", || channel.snapshot().endpoints.first().is_some_and(|endpoint| endpoint.active == 20))
        .await;
    let kept = channel.snapshot().replay_bytes;
    assert!((3000..=10_000).contains(&kept), "{kept}");
    running.iter().for_each(tokio::task::JoinHandle::abort);
    until("nothing is kept", || channel.snapshot().replay_bytes == 0).await;
}

#[tokio::test]
async fn messages_beyond_the_limits_end_the_call() {
    let server = host(|request: Request<Body>| async move {
        match request.into_body().collect().await {
            Ok(body) => stub::messages(&[&body.to_bytes()[5..]]),
            Err(error) => stub::frames(futures_util::stream::iter([Err(error)])),
        }
    })
    .await;
    let echo = async |settings: Settings| {
        let channel = Channel::builder(&target(&[&server])).with_settings(settings).build().unwrap();
        let outcome = call(&channel, request(GET, &[7; 1000])).await;
        until("nothing is left", || channel.snapshot().calls == 0).await;
        outcome
    };
    assert_eq!(echo(with(|settings| settings.response_size_bytes_max = 1000)).await.status.code(), Code::Ok);
    let outcome = echo(with(|settings| settings.response_size_bytes_max = 999)).await;
    assert_eq!(outcome.status.code(), Code::ResourceExhausted, "{outcome:?}");
    assert!(outcome.status.message().contains("response_size_bytes_max"), "{outcome:?}");
    let outcome = echo(with(|settings| settings.request_size_bytes_max = 999)).await;
    assert_eq!(outcome.status.code(), Code::ResourceExhausted, "{outcome:?}");
    assert!(outcome.status.message().contains("request_size_bytes_max"), "{outcome:?}");
}
