//! Callers that go away: handlers, streams and what they spawned hear of it.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, BodyError, current};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc};

use crate::{CHAT, GET, WATCH, host};

/// Tells when it is dropped.
struct Dropped(mpsc::Sender<&'static str>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.try_send(self.1).expect("the test listens");
    }
}

#[tokio::test]
async fn a_handler_that_waits_is_dropped_when_its_caller_goes_away() {
    let (tell, mut told) = mpsc::channel(1);
    let entered = Arc::new(Notify::new());
    let enter = entered.clone();
    let waiting = move |_: Request<Body>| {
        let (dropped, enter) = (Dropped(tell.clone(), "the handler"), enter.clone());
        async move {
            let _dropped = dropped;
            enter.notify_one();
            std::future::pending().await
        }
    };
    let server = TestServer::start(host(waiting)).await;
    let client = server.client().await;
    let call = client.open(GET, &[]).await;
    entered.notified().await;
    told.try_recv().unwrap_err();
    drop(call);
    assert_eq!(told.recv().await, Some("the handler"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_stream_is_dropped_when_its_caller_goes_away() {
    let (tell, mut told) = mpsc::channel(1);
    let watching = move |_: Request<Body>| {
        let dropped = Dropped(tell.clone(), "the stream");
        async move {
            let silence = stream::pending().map(move |()| {
                let _kept = &dropped;
                Ok(Frame::data(seal(b"never")))
            });
            stub::frames(stream::iter([Ok(Frame::data(seal(b"one")))]).chain(silence))
        }
    };
    let server = TestServer::start(host(watching)).await;
    let client = server.client().await;
    let (outbound, mut answer) = client.open(WATCH, &[]).await.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "one");
    told.try_recv().unwrap_err();
    drop((answer, outbound));
    assert_eq!(told.recv().await, Some("the stream"));
    drop(client);
    server.drained().await;
}

/// A chat whose two directions are two tasks, as in services that talk both ways at once. The one that reads says how the
/// conversation ended; the one that only waits for the RPC says when it was over.
async fn chat(request: Request<Body>, tell: mpsc::Sender<&'static str>) -> Response<Body> {
    let (echo, echoed) = mpsc::channel::<Result<Frame<bytes::Bytes>, BodyError>>(1);
    let mut body = request.into_body();
    let reader = tell.clone();
    tokio::spawn(async move {
        let end = loop {
            match body.frame().await {
                Some(Ok(frame)) => echo.send(Ok(frame)).await.expect("the response is read"),
                Some(Err(_)) => break "broken off",
                None => break "half-closed",
            }
        };
        reader.send(end).await.expect("the test listens");
    });
    tokio::spawn(current::inherit(async move {
        current::capture().expect("it inherits").over().await;
        tell.send("over").await.expect("the test listens");
    }));
    let echoed = stream::unfold(echoed, |mut echoed| async { Some((echoed.recv().await?, echoed)) });
    stub::frames(echoed.chain(stream::pending()))
}

#[tokio::test]
async fn both_directions_of_a_conversation_and_its_tasks_hear_of_its_end() {
    let (tell, mut told) = mpsc::channel(2);
    let server = TestServer::start(host(move |request| chat(request, tell.clone()))).await;
    let client = server.client().await;
    let mut call = client.open(CHAT, &[]).await;
    call.send(b"hello").await;
    let (outbound, mut answer) = call.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "hello");
    told.try_recv().unwrap_err();
    outbound.abort(std::io::Error::other("gone").into());
    drop(answer);
    let mut heard = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    heard.sort_unstable();
    assert_eq!(heard, ["broken off", "over"]);
    drop(client);
    server.drained().await;
}
