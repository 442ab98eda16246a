//! Signs of life, by the rules of gRFC A8, in paused time.

use std::time::Duration;

use highball_net::client::{Leaving, SendErrorKind, Settings};
use tokio::time::{Instant, sleep, timeout};

use crate::world::*;

const TIME: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

fn ack(ping: &Frame) -> Vec<u8> {
    frame(frames::PING, 1, 0, &ping.payload)
}

/// The next PING of ours, and when it came.
async fn ping(raw: &mut Raw, within: Duration) -> Option<(Frame, Instant)> {
    let found = timeout(within, async {
        loop {
            let frame = raw.next().await?;
            if frame.kind == frames::PING {
                return Some(frame);
            }
        }
    });
    found.await.ok().flatten().map(|frame| (frame, Instant::now()))
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_its_answer_starts_the_time_again() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let began = Instant::now();
    let _running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    for round in 1..=3 {
        let (asked, at) = ping(&mut raw, TIME * 2).await.expect("a PING");
        assert_eq!(at - began, TIME * round);
        raw.say(&ack(&asked)).await;
    }
    assert!(timeout(TIMEOUT * 2, client.leaving()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn no_sign_of_life_ends_the_connection_and_its_streams() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let began = Instant::now();
    let running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    let leaving = timeout(TIME * 9, client.leaving()).await.expect("it leaves");
    assert_eq!(leaving, Leaving::KeepaliveTimeout);
    assert_eq!(began.elapsed(), TIME + TIMEOUT);
    assert_eq!(soon(running).await.expect("no panic").expect_err("lost").kind, SendErrorKind::Lost);
    soon(client.closed()).await;
    all_free(&client).await;
}

#[tokio::test(start_paused = true)]
async fn any_byte_is_a_sign_of_life() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let _running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    let (_unanswered, asked) = ping(&mut raw, TIME * 2).await.expect("a PING");
    sleep(TIMEOUT / 2).await;
    raw.say(&settings_frame(&[])).await;
    let read = Instant::now();
    assert_eq!(read - asked, TIMEOUT / 2);
    // The old PING still stands, so none is sent; its time counts from the silence that follows.
    let leaving = timeout(TIME * 9, client.leaving()).await.expect("it leaves");
    assert_eq!((leaving, read.elapsed()), (Leaving::KeepaliveTimeout, TIME + TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn without_streams_nobody_is_asked_until_one_begins() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    assert!(ping(&mut raw, TIME * 20).await.is_none());
    let calling = tokio::spawn(client.reserve().expect("a place").send(empty()));
    let first = soon(raw.next()).await.expect("a frame");
    assert_eq!(first.kind, frames::PING, "before the HEADERS");
    assert_eq!(soon(raw.next()).await.expect("a frame").kind, frames::HEADERS);
    raw.say(&ack(&first)).await;
    raw.say(&response_head(1, true)).await;
    soon(calling).await.expect("no panic").expect("a response");
    // The peer has just spoken.
    let calling = tokio::spawn(client.reserve().expect("a place").send(empty()));
    assert_eq!(soon(raw.next()).await.expect("a frame").kind, frames::HEADERS);
    calling.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_connection_that_died_in_its_sleep_ends_after_the_timeout() {
    let (_tasks, client, _raw) = Raw::serve(&Settings::default(), &[]).await;
    sleep(TIME * 20).await;
    let began = Instant::now();
    let error = send(&client, empty()).await.expect_err("nobody answers");
    assert_eq!((error.kind, began.elapsed()), (SendErrorKind::Lost, TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_asked_without_streams_and_not_at_all() {
    let settings = Settings { keepalive_without_calls: true, ..Settings::default() };
    let (_tasks, _client, mut raw) = Raw::serve(&settings, &[]).await;
    assert!(ping(&mut raw, TIME * 2).await.is_some());

    let settings = Settings { keepalive_time: None, ..Settings::default() };
    let (_tasks, client, mut raw) = Raw::serve(&settings, &[]).await;
    let _running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    assert!(ping(&mut raw, TIME * 20).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_too_short_is_raised() {
    let settings = Settings { keepalive_time: Some(Duration::from_secs(1)), ..Settings::default() };
    let (_tasks, client, mut raw) = Raw::serve(&settings, &[]).await;
    let began = Instant::now();
    let _running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    let (_, at) = ping(&mut raw, TIME).await.expect("a PING");
    assert_eq!(at - began, Duration::from_secs(10));
}
