//! Servers that go away, politely.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

use futures_util::{StreamExt as _, stream};
use highball::channel::Settings;
use highball::core::BackoffSettings;
use highball::{Code, Server};
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::{Peer, until};
use super::*;

fn impatient() -> Settings {
    let mut settings = Settings::default();
    settings.backoff =
        BackoffSettings { initial: Duration::from_millis(20), multiplier: 1.0, ..BackoffSettings::default() };
    settings
}

/// Sends messages for so long, then ends.
fn lasting(time: Duration) -> Response<Body> {
    let started = Instant::now();
    let messages = stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        (started.elapsed() < time).then(|| (Ok(Frame::data(seal(b"tick"))), ()))
    });
    let end = stream::once(async { Ok(Frame::trailers(Status::new(Code::Ok, "").to_trailers())) });
    stub::frames(messages.chain(end))
}

async fn answer(request: Request<Body>) -> Response<Body> {
    if request.uri().path() == WATCH {
        return lasting(Duration::from_millis(700));
    }
    match request.into_body().collect().await {
        Ok(_) => stub::messages(&[b"pong"]),
        Err(error) => stub::frames(stream::iter([Err(error)])),
    }
}

/// Calls all the time until it is told to stop; how often it did.
async fn busy(channel: Channel, over: Arc<AtomicBool>) -> usize {
    let mut calls = 0;
    while !over.load(Ordering::SeqCst) {
        let outcome = get(&channel).await;
        assert_eq!(outcome.status.code(), Code::Ok, "after {calls}: {outcome:?}");
        calls += 1;
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_grow_too_old_cost_no_call_and_cut_no_stream() {
    let mut settings = highball::Settings::default();
    settings.connection.age_max = Duration::from_millis(40);
    settings.connection.age_grace = Duration::from_secs(10);
    let server =
        Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS).with_settings(settings);
    let server = TestServer::start(server).await;
    let channel = Channel::builder(&target(&[&server])).with_settings(impatient()).build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8).map(|_| tokio::spawn(busy(channel.clone(), over.clone()))).collect();
    let streams = (0..3).map(|_| call(&channel, request(WATCH, b"")));
    for outcome in futures_util::future::join_all(streams).await {
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
        assert!(outcome.messages.len() > 10, "{}", outcome.messages.len());
    }
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 10);
    }
    let connects = channel.snapshot().endpoints[0].connects;
    assert!(connects.0 > 2 && connects.1 == 0, "{connects:?}");
}

#[tokio::test]
async fn a_drain_costs_no_call_and_cuts_no_stream_while_another_endpoint_is_there() {
    let start = || async {
        let settings = highball::Settings { lame_duck: Duration::from_millis(50), ..Default::default() };
        TestServer::start(
            Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS).with_settings(settings),
        )
        .await
    };
    let (mut leaving, staying) = (start().await, start().await);
    let channel =
        Channel::builder(&target(&[&leaving, &staying])).with_settings(impatient()).build().unwrap();
    until("both are ready", || {
        channel.connect();
        channel.snapshot().endpoints.iter().filter(|endpoint| endpoint.state == "READY").count() == 2
    })
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4).map(|_| tokio::spawn(busy(channel.clone(), over.clone()))).collect();
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel, request(WATCH, b"")).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    leaving.stop();
    for stream in streams {
        let outcome = stream.await.unwrap();
        assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
    }
    let report = tokio::time::timeout(PATIENCE, leaving.drained()).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report:?}");
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_asked_for_signs_of_life_too_often_is_asked_half_as_often() {
    // When each connection was first asked, from its beginning.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let peer = Peer::start(move |nth, mut io| {
        let noted = noted.clone();
        async move {
            // SETTINGS, and an acknowledgement.
            io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
            let begun = tokio::time::Instant::now();
            let mut preface = [0; 24];
            io.read_exact(&mut preface).await.unwrap();
            let mut head = [0; 9];
            while io.read_exact(&mut head).await.is_ok() {
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                io.read_exact(&mut payload).await.unwrap();
                let is_ping = head[3] == 6 && head[4] == 0;
                if is_ping {
                    noted.lock().unwrap().push(begun.elapsed().as_secs());
                    let mut goaway = vec![0, 0, 22, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
                    goaway.extend_from_slice(b"too_many_pings");
                    io.write_all(&goaway).await.unwrap();
                    if nth < 2 {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let mut settings = impatient();
    settings.health = false;
    settings.connection.keepalive_without_calls = true;
    settings.connection.keepalive_timeout = Duration::from_secs(1000);
    let channel = Channel::builder(&peer.target()).with_settings(settings).build().unwrap();
    channel.connect();
    while asked.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked[0].abs_diff(30) <= 2 && asked[1].abs_diff(60) <= 2 && asked[2].abs_diff(120) <= 2,
        "{asked:?}"
    );
}
