//! Places: never more streams than the peer allows, and every one is given back.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_net::client::{Connection, SendErrorKind, Settings, Slot};
use http_body_util::BodyExt as _;

use crate::world::*;

const MAX_CONCURRENT_STREAMS: u16 = 3;

async fn limited(max: u32) -> (highball_net::Tasks, Connection, Raw) {
    Raw::serve(&Settings::default(), &[(MAX_CONCURRENT_STREAMS, max)]).await
}

#[tokio::test]
async fn the_peers_limit_is_known_after_the_handshake_and_holds() {
    let (_tasks, client, _raw) = limited(2).await;
    assert_eq!(client.streams_max(), 2);
    let (one, _two) = (client.reserve().expect("a place"), client.reserve().expect("a place"));
    assert!(client.reserve().is_none());
    assert_eq!(client.in_flight(), 2);
    drop(one);
    assert_eq!(client.in_flight(), 1);
    assert!(client.reserve().is_some());
}

#[tokio::test]
async fn our_own_cap_holds_when_the_peer_has_none_or_a_higher_one() {
    let settings = Settings { concurrent_streams_max: 1, ..Settings::default() };
    for theirs in [[].as_slice(), &[(MAX_CONCURRENT_STREAMS, 5)]] {
        let (_tasks, client, _raw) = Raw::serve(&settings, theirs).await;
        let _one = client.reserve().expect("a place");
        assert!(client.reserve().is_none());
    }
}

#[tokio::test]
async fn who_waits_for_room_hears_of_a_free_place_and_of_a_higher_limit() {
    let (_tasks, client, mut raw) = limited(1).await;
    let one = client.reserve().expect("a place");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.slot().await }
    });
    tokio::task::yield_now().await;
    drop(one);
    let two = soon(waiting).await.expect("no panic").expect("a place");
    raw.say(&settings_frame(&[(MAX_CONCURRENT_STREAMS, 2)])).await;
    let _three = soon(client.slot()).await.expect("a place");
    drop(two);
}

#[tokio::test]
async fn places_go_to_those_who_wait_in_their_order_and_to_nobody_else() {
    let (_tasks, client, _raw) = limited(1).await;
    let taken = client.reserve().expect("a place");
    let mut line: Vec<_> = (0..3).map(|_| in_line(&client)).collect();
    assert!(line.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
    drop(taken);
    assert!(client.reserve().is_none(), "others wait");
    for turn in 1..3 {
        assert!(line.get_mut(turn).expect("three").as_mut().now_or_never().is_none(), "not before the first");
    }
    let first = line.remove(0).now_or_never().flatten().expect("its turn");
    // The next gives up; its turn goes to the one after it.
    drop(first);
    drop(line.remove(0));
    let last = soon(line.remove(0)).await.expect("its turn");
    drop(last);
    assert!(client.reserve().is_some(), "nobody waits any more");
}

#[tokio::test]
async fn several_places_at_once_go_to_as_many_who_wait() {
    let (_tasks, client, mut raw) = limited(1).await;
    let _taken = client.reserve().expect("a place");
    let mut line: Vec<_> = (0..4).map(|_| in_line(&client)).collect();
    assert!(line.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
    raw.say(&settings_frame(&[(MAX_CONCURRENT_STREAMS, 4)])).await;
    let served = soon(futures_util::future::select_all(line)).await;
    let mut slots = vec![served.0.expect("a place")];
    let mut line = served.2;
    for _ in 0..2 {
        let (slot, _, rest) = soon(futures_util::future::select_all(line)).await;
        slots.push(slot.expect("a place"));
        line = rest;
    }
    assert!(line.remove(0).now_or_never().is_none(), "four in all");
    client.close();
    assert!(soon(client.slot()).await.is_none());
}

fn in_line(client: &Connection) -> BoxFuture<'static, Option<Slot>> {
    let client = client.clone();
    Box::pin(async move { client.slot().await })
}

#[tokio::test]
async fn a_lower_limit_stops_new_streams_until_enough_have_ended() {
    let (_tasks, client, mut raw) = limited(2).await;
    let running: Vec<_> =
        (0..2).map(|_| tokio::spawn(client.reserve().expect("a place").send(empty()))).collect();
    for _ in 0..2 {
        raw.find(frames::HEADERS).await;
    }
    raw.say(&settings_frame(&[(MAX_CONCURRENT_STREAMS, 1)])).await;
    raw.find(frames::SETTINGS).await;
    assert_eq!((client.streams_max(), client.in_flight()), (1, 2));
    let mut running = running.into_iter();
    raw.say(&response_head(1, true)).await;
    soon(running.next().expect("two")).await.expect("no panic").expect("a response");
    assert!(client.reserve().is_none(), "one still runs");
    raw.say(&response_head(3, true)).await;
    soon(running.next().expect("two")).await.expect("no panic").expect("a response");
    let slot = soon(client.slot()).await.expect("a place");
    let third = tokio::spawn(slot.send(empty()));
    assert_eq!(raw.find(frames::HEADERS).await.stream, 5);
    raw.say(&response_head(5, true)).await;
    soon(third).await.expect("no panic").expect("a response");
    all_free(&client).await;
}

#[tokio::test]
async fn a_dropped_call_is_a_cancel_and_its_place_is_free_once_that_is_written() {
    let (_tasks, client, mut raw) = limited(1).await;
    let calling = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    calling.abort();
    let reset = raw.find(frames::RST_STREAM).await;
    assert_eq!((reset.stream, reset.payload.as_ref()), (1, 8_u32.to_be_bytes().as_slice()));
    let next = tokio::spawn(soon(client.slot()).await.expect("a place").send(empty()));
    assert_eq!(raw.find(frames::HEADERS).await.stream, 3);
    next.abort();
    all_free(&client).await;
}

#[tokio::test]
async fn a_cancel_that_cannot_be_written_holds_its_place() {
    let (_tasks, client, mut raw) = Raw::serve_over(&Settings::default(), &[], 256).await;
    while raw.find(frames::SETTINGS).await.flags == 0 {}
    // Fills the pipe, which nobody empties.
    let calling = tokio::spawn(client.reserve().expect("a place").send(whole(vec![0; 4000])));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    calling.abort();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.in_flight(), 1, "the peer has not heard of it");
    raw.find(frames::RST_STREAM).await;
    all_free(&client).await;
}

#[tokio::test]
async fn a_dropped_response_body_is_a_cancel() {
    let (_tasks, client, mut raw) = limited(9).await;
    let (mut sender, request) = streaming();
    let response = tokio::spawn(client.reserve().expect("a place").send(request));
    raw.find(frames::HEADERS).await;
    raw.say(&response_head(1, false)).await;
    let body = soon(response).await.expect("no panic").expect("a response").into_body();
    drop(body);
    let reset = raw.find(frames::RST_STREAM).await;
    assert_eq!((reset.stream, reset.payload.as_ref()), (1, 8_u32.to_be_bytes().as_slice()));
    soon(async { while sender.send_data("more".into()).await.is_ok() {} }).await;
    all_free(&client).await;
}

#[tokio::test]
async fn a_reset_of_the_peer_stops_the_request_of_a_caller_that_reads_nothing() {
    let (_tasks, client, mut raw) = limited(9).await;
    let (mut sender, request) = streaming();
    let response = tokio::spawn(client.reserve().expect("a place").send(request));
    raw.find(frames::HEADERS).await;
    raw.say(&response_head(1, false)).await;
    let mut unread = soon(response).await.expect("no panic").expect("a response").into_body();
    raw.say(&reset(1, 11)).await;
    soon(async {
        while sender.send_data("more".into()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(failure(&mut unread).await, SendErrorKind::Reset(11));
    all_free(&client).await;
}

#[tokio::test]
async fn an_unread_answer_holds_its_place_until_it_is_dropped() {
    let (_tasks, client, mut raw) = limited(9).await;
    let response = tokio::spawn(client.reserve().expect("a place").send(empty()));
    raw.find(frames::HEADERS).await;
    let mut bytes = response_head(1, false);
    bytes.extend(frame(frames::DATA, 1, 1, b"data"));
    raw.say(&bytes).await;
    let mut body = soon(response).await.expect("no panic").expect("a response").into_body();
    assert_eq!(client.in_flight(), 1);
    // Whoever looks at `is_end_stream` stops here.
    assert!(soon(body.frame()).await.expect("data").expect("no error").is_data());
    assert!(http_body::Body::is_end_stream(&body));
    drop(body);
    all_free(&client).await;
    assert!(client.reserve().is_some());
}
