//! Bodies both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::Builder;
use highball_core::{Body, BodyError};
use highball_net::client::{SendErrorKind, Settings};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::world::*;

/// Answers each piece of the request as it comes, and ends after it.
async fn echo((request, mut respond): Arrived) {
    let mut body = request.into_body();
    let mut out = respond.send_response(head(), false).expect("the stream is open");
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).expect("it was received");
        out.send_data(data, false).expect("the stream is open");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    out.send_trailers(trailers).expect("the stream is open");
}

#[tokio::test]
async fn a_whole_request_arrives_and_data_and_trailers_come_back() {
    let (_tasks, client) = serving(echo).await;
    let response = send(&client, whole("hello")).await.expect("a response");
    let mut body = response.into_body();
    assert!(!http_body::Body::is_end_stream(&body));
    assert_eq!(data(&mut body).await.expect("data"), "hello");
    let trailers = soon(body.frame()).await.expect("trailers").expect("no error");
    assert_eq!(trailers.into_trailers().expect("trailers")["grpc-status"], "0");
    assert!(http_body::Body::is_end_stream(&body));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(0));
    assert_eq!(client.in_flight(), 0, "free at the end of the stream, not of the body");
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test]
async fn a_small_request_leaves_in_one_write() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    // Until the client has said all it has to say about the beginning.
    while raw.find(frames::SETTINGS).await.flags == 0 {}
    let slot = client.reserve().expect("a place");
    let mut sending = Box::pin(slot.send(whole("hello")));
    assert!(futures_util::future::poll_immediate(&mut sending).await.is_none());
    // Not polled again: the driver has all it needs.
    let seen = soon(raw.next()).await;
    assert_eq!(seen.expect("a frame").kind, frames::HEADERS);
    let body = soon(raw.next()).await.expect("a frame");
    assert_eq!((body.kind, body.flags, body.payload.as_ref()), (frames::DATA, 1, b"hello".as_slice()));
}

#[tokio::test]
async fn a_response_without_a_body_ends_with_its_head() {
    let (_tasks, client) = serving(|(_, respond)| async { answer(respond) }).await;
    let response = send(&client, whole("hello")).await.expect("a response");
    assert!(http_body::Body::is_end_stream(response.body()));
    all_free(&client).await;
}

#[tokio::test]
async fn messages_go_back_and_forth_in_lock_step() {
    let (_tasks, client) = serving(echo).await;
    let (mut sender, request) = streaming();
    let mut body = send(&client, request).await.expect("a response").into_body();
    for round in 0..20 {
        let message = Bytes::from(format!("round {round}"));
        soon(sender.send_data(message.clone())).await.expect("somebody reads");
        assert_eq!(data(&mut body).await.expect("data"), message);
    }
    drop(sender);
    assert!(soon(body.frame()).await.expect("trailers").expect("no error").is_trailers());
    all_free(&client).await;
}

#[tokio::test]
async fn a_server_may_wait_for_the_first_message_before_it_answers() {
    let (_tasks, client) = serving(|(request, mut respond)| async move {
        let mut body = request.into_body();
        let first = body.data().await.expect("data").expect("no error");
        let mut out = respond.send_response(head(), false).expect("the stream is open");
        out.send_data(first, true).expect("the stream is open");
        while let Some(Ok(_)) = body.data().await {}
    })
    .await;
    let (mut sender, request) = streaming();
    let (response, ()) = tokio::join!(send(&client, request), async {
        tokio::task::yield_now().await;
        sender.send_data("first".into()).await.expect("somebody reads");
    });
    let mut body = response.expect("a response").into_body();
    assert_eq!(data(&mut body).await.expect("data"), "first");
    assert!(soon(body.frame()).await.is_none());
    all_free(&client).await;
}

#[tokio::test]
async fn a_caller_that_only_writes_is_not_held_up_by_the_response_it_does_not_read() {
    let (done, finished) = tokio::sync::oneshot::channel();
    let done = std::sync::Mutex::new(Some(done));
    let (_tasks, client) = serving(move |(request, mut respond)| {
        let done = done.lock().expect("not poisoned").take().expect("one request");
        async move {
            let mut body = request.into_body();
            let _out = respond.send_response(head(), false).expect("the stream is open");
            let mut total = 0;
            while let Some(Ok(data)) = body.data().await {
                total += data.len();
                body.flow_control().release_capacity(data.len()).expect("it was received");
            }
            done.send(total).expect("the test waits");
        }
    })
    .await;
    let (mut sender, request) = streaming();
    let unread = send(&client, request).await.expect("a response").into_body();
    for _ in 0..100 {
        soon(sender.send_data(vec![7; 10_000].into())).await.expect("somebody reads");
    }
    drop(sender);
    assert_eq!(soon(finished).await.expect("the server lives"), 1_000_000);
    drop(unread);
    all_free(&client).await;
}

/// Chunks without an end of them, counted as they are taken.
fn chunks(count: usize, size: usize, taken: Arc<AtomicUsize>) -> Body {
    let one = Bytes::from(vec![1; size]);
    let all = (0..count).map(move |_| {
        taken.fetch_add(size, Ordering::SeqCst);
        Ok::<_, BodyError>(Frame::data(one.clone()))
    });
    Body::new(StreamBody::new(futures_util::stream::iter(all)))
}

#[tokio::test]
async fn an_upload_to_a_slow_reader_is_not_buffered() {
    let settings = Settings { send_buffer_size_bytes_max: 64 << 10, ..Settings::default() };
    let (tasks, client, mut server) = pair(&settings, &Builder::new()).await;
    let spawner = tasks.spawner();
    let taken = Arc::new(AtomicUsize::new(0));
    let seen = taken.clone();
    tasks.spawn(async move {
        while let Some(Ok((request, respond))) = server.accept().await {
            let seen = seen.clone();
            spawner.spawn(async move {
                let (mut body, mut read) = (request.into_body(), 0);
                while let Some(Ok(data)) = body.data().await {
                    read += data.len();
                    // Window of the peer, pipe and buffers of either side, one chunk, the send buffer.
                    let ahead = seen.load(Ordering::SeqCst) - (read - data.len());
                    assert!(ahead <= 512 << 10, "{ahead} bytes ahead of the reader");
                    tokio::task::yield_now().await;
                    body.flow_control().release_capacity(data.len()).expect("it was received");
                }
                assert_eq!(read, 4 << 20);
                answer(respond);
            });
        }
    });
    let upload = chunks(256, 16 << 10, taken.clone());
    let response = send(&client, request(upload)).await.expect("a response");
    assert!(http_body::Body::is_end_stream(response.body()));
    assert_eq!(taken.load(Ordering::SeqCst), 4 << 20);
    all_free(&client).await;
}

#[tokio::test]
async fn an_upload_into_a_window_that_stays_shut_takes_one_chunk_only() {
    let mut stalled = Builder::new();
    stalled.initial_window_size(0);
    let (tasks, client, mut server) = pair(&Settings::default(), &stalled).await;
    let (arrived, stream) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let first = server.accept().await;
        arrived.send(first).ok();
        while server.accept().await.is_some() {}
    });
    let taken = Arc::new(AtomicUsize::new(0));
    let slot = client.reserve().expect("a place");
    let mut sending = Box::pin(slot.send(request(chunks(100, 1000, taken.clone()))));
    let stream = tokio::select! {
        _ = &mut sending => panic!("nobody answers"),
        stream = soon(stream) => stream.expect("a stream"),
    };
    for _ in 0..100 {
        assert!(futures_util::future::poll_immediate(&mut sending).await.is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(taken.load(Ordering::SeqCst), 1000);
    drop((sending, stream));
    all_free(&client).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_no_error_and_stops_the_request() {
    let (_tasks, client) = serving(|(_unread, respond)| async { answer(respond) }).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let response = send(&client, request(chunks(10_000, 1000, taken.clone()))).await.expect("a response");
    assert!(http_body::Body::is_end_stream(response.body()));
    assert!(taken.load(Ordering::SeqCst) < 1_000_000, "the rest was not asked for");
    all_free(&client).await;
}

#[tokio::test]
async fn what_the_window_never_let_out_is_dropped_when_the_answer_is_there() {
    let (_tasks, client, mut raw) = Raw::serve_over(&Settings::default(), &[], 1 << 20).await;
    while raw.find(frames::SETTINGS).await.flags == 0 {}
    // More than the connection's window, all before h2 could say so.
    let mut sending = Vec::new();
    for _ in 0..8 {
        let mut one = Box::pin(client.reserve().expect("a place").send(whole(vec![1; 16 << 10])));
        assert!(futures_util::future::poll_immediate(&mut one).await.is_none());
        sending.push(one);
    }
    for _ in 0..8 {
        raw.find(frames::HEADERS).await;
    }
    for stream in [1, 3, 5, 7, 9, 11, 13, 15] {
        raw.say(&response_head(stream, true)).await;
    }
    for one in sending {
        soon(one).await.expect("a response");
    }
    let mut dropped = Vec::new();
    while dropped.len() < 5 {
        let reset = raw.find(frames::RST_STREAM).await;
        assert_eq!(reset.payload.as_ref(), [0; 4], "NO_ERROR");
        dropped.push(reset.stream);
    }
    assert_eq!(dropped, [7, 9, 11, 13, 15]);
    all_free(&client).await;
    // With window again, what is sent is what is asked for now.
    raw.say(&frame(frames::WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes())).await;
    let _next = tokio::spawn(client.reserve().expect("a place").send(whole("next")));
    assert_eq!(soon(raw.next()).await.expect("a frame").kind, frames::HEADERS);
    assert_eq!(soon(raw.next()).await.expect("a frame").payload, "next");
}

#[tokio::test]
async fn a_request_body_is_let_go_when_it_was_sent() {
    let (_tasks, client, mut raw) = Raw::serve(&Settings::default(), &[]).await;
    let held = Arc::new(AtomicUsize::new(0));
    let _calling = tokio::spawn(client.reserve().expect("a place").send(request(chunks(3, 9, held.clone()))));
    while raw.find(frames::DATA).await.flags == 0 {}
    soon(async {
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.in_flight(), 1, "there is no answer yet");
}

#[tokio::test]
async fn an_end_of_the_response_with_a_running_request_is_no_error() {
    let (_tasks, client) = serving(|(_unread, mut respond)| async move {
        let mut out = respond.send_response(head(), false).expect("the stream is open");
        out.send_data("enough".into(), true).expect("the stream is open");
    })
    .await;
    let (mut sender, request) = streaming();
    let mut body = send(&client, request).await.expect("a response").into_body();
    assert_eq!(data(&mut body).await.expect("data"), "enough");
    assert!(soon(body.frame()).await.is_none());
    // The request body is dropped, so its source learns of it.
    soon(async { while sender.send_data("more".into()).await.is_ok() {} }).await;
    all_free(&client).await;
}

#[tokio::test]
async fn a_request_body_that_fails_resets_the_stream_and_says_why() {
    let (_tasks, client) = serving(|(request, _respond)| async move {
        let mut body = request.into_body();
        let error = loop {
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the request ended well"),
            }
        };
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    })
    .await;
    let broken = futures_util::stream::iter([
        Ok(Frame::data(Bytes::from("half"))),
        Err(BodyError::new(std::io::Error::other("the disk is gone"))),
    ]);
    let error = send(&client, request(Body::new(StreamBody::new(broken)))).await.expect_err("it fails");
    assert_eq!(error.kind, SendErrorKind::Reset(8));
    assert!(std::error::Error::source(&error).expect("a source").to_string().contains("disk"));
    all_free(&client).await;
}

#[tokio::test]
async fn the_trailers_of_a_request_are_sent() {
    let (_tasks, client) = serving(|(request, mut respond)| async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.data().await {}
        let trailers = body.trailers().await.expect("no error").expect("trailers");
        let mut response = head();
        response.headers_mut().extend(trailers);
        respond.send_response(response, true).expect("the stream is open");
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "42".parse().expect("a value"));
    let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let response = send(&client, request(body)).await.expect("a response");
    assert_eq!(response.headers()["checksum"], "42");
}

#[tokio::test]
async fn a_body_that_is_taken_gives_its_window_back() {
    let settings = Settings { stream_window_bytes: 70_000, ..Settings::default() };
    let (tasks, client, mut server) = pair(&settings, &Builder::new()).await;
    tasks.spawn(async move {
        let (_request, mut respond) = server.accept().await.expect("a request").expect("no error");
        let mut out = respond.send_response(head(), false).expect("the stream is open");
        out.send_data(vec![0; 1 << 20].into(), true).expect("the stream is open");
        while server.accept().await.is_some() {}
    });
    let mut body = send(&client, empty()).await.expect("a response").into_body();
    let mut total = 0;
    while let Some(data) = data(&mut body).await {
        total += data.len();
    }
    assert_eq!(total, 1 << 20);
    all_free(&client).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_fails_its_stream_only() {
    let (_tasks, client) = serving(|(request, mut respond)| async move {
        let mut response = head();
        if request.headers().contains_key("long") {
            response.headers_mut().insert("x", "y".repeat(20 << 10).parse().expect("a value"));
        }
        respond.send_response(response, true).expect("the stream is open");
    })
    .await;
    let mut long = empty();
    long.headers_mut().insert("long", "1".parse().expect("a value"));
    assert_eq!(send(&client, long).await.expect_err("too long").kind, SendErrorKind::Reset(1));
    assert!(send(&client, empty()).await.is_ok());
    all_free(&client).await;
}

/// For tests that poll by hand.
#[tokio::test]
async fn a_pending_response_is_woken_by_its_data() {
    let (_tasks, client) = serving(echo).await;
    let (mut sender, request) = streaming();
    let mut body = send(&client, request).await.expect("a response").into_body();
    let mut noop = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(http_body::Body::poll_frame(std::pin::Pin::new(&mut body), &mut noop), Poll::Pending));
    soon(sender.send_data("late".into())).await.expect("somebody reads");
    assert_eq!(data(&mut body).await.expect("data"), "late");
}
