//! What a stream may have done at the server when it failed, and how a connection ends.

use h2::Reason;
use h2::server::Builder;
use highball_net::client::{Leaving, SendErrorKind, Settings};
use http::Request;
use http_body_util::BodyExt as _;

use crate::world::*;

#[tokio::test]
async fn a_refused_stream_is_refused() {
    let (_tasks, client) =
        serving(|(_, mut respond)| async move { respond.send_reset(Reason::REFUSED_STREAM) }).await;
    let error = send(&client, empty()).await.expect_err("refused");
    assert_eq!(error.kind, SendErrorKind::Refused);
    all_free(&client).await;
}

#[tokio::test]
async fn a_reset_keeps_its_code_before_and_after_the_head() {
    let (_tasks, client) = serving(|(request, mut respond)| async move {
        if request.headers().contains_key("late") {
            let mut out = respond.send_response(head(), false).expect("the stream is open");
            out.send_reset(Reason::ENHANCE_YOUR_CALM);
        } else {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    assert_eq!(send(&client, empty()).await.expect_err("reset").kind, SendErrorKind::Reset(2));
    let mut late = empty();
    late.headers_mut().insert("late", "1".parse().expect("a value"));
    match send(&client, late).await {
        Ok(response) => assert_eq!(failure(&mut response.into_body()).await, SendErrorKind::Reset(11)),
        // The reset may overtake the head.
        Err(error) => assert_eq!(error.kind, SendErrorKind::Reset(11)),
    }
    all_free(&client).await;
}

#[tokio::test]
async fn a_goaway_refuses_the_streams_above_its_last_and_lets_the_others_finish() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let first = tokio::spawn(client.reserve().expect("a place").send(empty()));
    assert_eq!(raw.find(frames::HEADERS).await.stream, 1);
    let second = tokio::spawn(client.reserve().expect("a place").send(empty()));
    assert_eq!(raw.find(frames::HEADERS).await.stream, 3);

    raw.say(&goaway(1, 0, b"max_age")).await;
    let refused = soon(second).await.expect("no panic").expect_err("refused");
    assert_eq!(refused.kind, SendErrorKind::Refused);
    let leaving = soon(client.leaving()).await;
    assert_eq!(leaving, Leaving::GoAway { code: 0, debug: "max_age".into() });
    assert!(client.reserve().is_none());
    assert!(soon(client.slot()).await.is_none());

    raw.say(&response_head(1, true)).await;
    let response = soon(first).await.expect("no panic").expect("a response");
    assert!(http_body::Body::is_end_stream(response.body()));
    soon(client.closed()).await;
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test]
async fn a_slot_that_is_used_after_a_goaway_was_never_sent() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let (running, late) = (client.reserve().expect("a place"), client.reserve().expect("a place"));
    let running = tokio::spawn(running.send(empty()));
    raw.find(frames::HEADERS).await;
    raw.say(&goaway(0x7fff_ffff, 0, b"")).await;
    soon(client.leaving()).await;
    assert_eq!(soon(late.send(empty())).await.expect_err("too late").kind, SendErrorKind::NeverSent);
    raw.say(&response_head(1, true)).await;
    soon(running).await.expect("no panic").expect("a response");
    all_free(&client).await;
}

#[tokio::test]
async fn a_goaway_that_blames_us_is_told_even_after_a_polite_one() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    raw.say(&goaway(0x7fff_ffff, 0, b"")).await;
    soon(client.leaving()).await;
    raw.say(&goaway(0, 11, b"too_many_pings")).await;
    assert_eq!(soon(running).await.expect("no panic").expect_err("refused").kind, SendErrorKind::Refused);
    soon(client.closed()).await;
    let leaving = client.leaving().await;
    assert!(leaving.is_too_many_pings(), "{leaving:?}");
}

#[tokio::test]
async fn debug_data_is_bounded() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    raw.say(&goaway(0, 11, &[b'x'; 9000])).await;
    let Leaving::GoAway { code: 11, debug } = soon(client.leaving()).await else { panic!("a GOAWAY") };
    assert_eq!(debug.len(), 1024);
}

#[tokio::test]
async fn a_connection_that_breaks_loses_what_was_sent_and_not_what_was_not() {
    // The pipe takes one request with a long head and not the next.
    let (_tasks, client, mut raw) = Raw::serve_over(&Settings::default(), &[], 4096).await;
    while raw.find(frames::SETTINGS).await.flags == 0 {}
    let sent = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    let long = || {
        let mut request = empty();
        let noise: String = (0..6000_u32).map(|n| char::from(33 + (n * 7 % 90) as u8)).collect();
        request.headers_mut().insert("long", noise.parse().expect("a value"));
        request
    };
    let half = tokio::spawn(client.reserve().expect("a place").send(long()));
    let queued = tokio::spawn(client.reserve().expect("a place").send(long()));
    // Some of the second head has left, and that is no request yet.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    drop(raw);
    assert_eq!(soon(sent).await.expect("no panic").expect_err("lost").kind, SendErrorKind::Lost);
    assert_eq!(soon(half).await.expect("no panic").expect_err("lost").kind, SendErrorKind::NeverSent);
    assert_eq!(soon(queued).await.expect("no panic").expect_err("lost").kind, SendErrorKind::NeverSent);
    soon(client.closed()).await;
    assert!(matches!(client.leaving().await, Leaving::Lost(_)));
    all_free(&client).await;
}

#[tokio::test]
async fn a_response_body_is_lost_with_its_connection() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let response = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    raw.say(&response_head(1, false)).await;
    let mut body = soon(response).await.expect("no panic").expect("a response").into_body();
    drop(raw);
    assert_eq!(failure(&mut body).await, SendErrorKind::Lost);
    all_free(&client).await;
}

#[tokio::test]
async fn closing_lets_streams_finish_and_then_says_goodbye() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    client.close();
    assert_eq!(soon(client.leaving()).await, Leaving::Closed);
    assert!(client.reserve().is_none());
    raw.say(&response_head(1, true)).await;
    soon(running).await.expect("no panic").expect("a response");
    let goodbye = raw.find(frames::GOAWAY).await;
    assert_eq!(goodbye.goaway(), Some((0, String::new())));
    soon(client.closed()).await;
    assert!(soon(raw.next()).await.is_none());
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let other = client.clone();
    drop(client);
    let running = tokio::spawn(other.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    drop(other);
    raw.say(&response_head(1, true)).await;
    soon(running).await.expect("no panic").expect("a response");
    raw.find(frames::GOAWAY).await;
}

#[tokio::test]
async fn aborting_cuts_what_runs() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let running = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    client.abort();
    assert_eq!(soon(running).await.expect("no panic").expect_err("cut").kind, SendErrorKind::Lost);
    soon(client.closed()).await;
    all_free(&client).await;
}

#[tokio::test]
async fn the_end_of_the_owner_is_the_end_of_the_connection() {
    let (tasks, client, _raw) = Raw::serve(&Settings::default(), &[]).await;
    drop(tasks);
    soon(client.closed()).await;
    assert_eq!(client.leaving().await, Leaving::Closed);
    assert!(client.reserve().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_cannot_hold_a_connection_that_is_closed() {
    let (_tasks, client, raw) = Raw::serve_over(&Settings::default(), &[], 64).await;
    client.close();
    soon(client.closed()).await;
    drop(raw);
}

#[tokio::test]
async fn a_request_that_h2_refuses_was_never_sent() {
    let (_tasks, client, _server) = pair(&Settings::default(), &Builder::new()).await;
    let relative = Request::post("/pkg.Service/Method").version(http::Version::HTTP_2);
    let relative = relative.body(highball_core::Body::empty()).expect("a request");
    let error = send(&client, relative).await.expect_err("no authority");
    assert_eq!(error.kind, SendErrorKind::NeverSent);
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test]
async fn data_that_came_before_a_reset_is_read_before_it() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let response = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    let mut bytes = response_head(1, false);
    bytes.extend(frame(frames::DATA, 0, 1, b"data"));
    bytes.extend(reset(1, 2));
    raw.say(&bytes).await;
    let mut body = soon(response).await.expect("no panic").expect("a response").into_body();
    assert_eq!(data(&mut body).await.expect("data"), "data");
    let error = soon(body.frame()).await.expect("an error").expect_err("an error");
    assert_eq!(kind(&error), SendErrorKind::Reset(2));
}
