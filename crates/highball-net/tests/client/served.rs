//! Against our own server, over sockets.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use highball_core::envelope::seal;
use highball_core::{Body, BodyError, Code, Status};
use highball_net::client::{Connection, Leaving, Settings, handshake};
use highball_net::{Drain, Phase, Tasks, http};
use highball_testkit::stub;
use http_body::Frame;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{data, request, soon};

/// Answers each piece of a request as it comes.
async fn echo(request: ::http::Request<Body>) -> ::http::Response<Body> {
    let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
    let pieces = request.into_body().into_data_stream().map(|data| data.map(Frame::data));
    stub::frames(pieces.chain(stream::iter([Ok(end)])))
}

/// Both ends of a TCP connection under one owner, and the hand that drains the server.
async fn connect() -> (Tasks, Drain, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let (theirs, _) = listener.accept().await.expect("it connects");
    ours.set_nodelay(true).expect("a socket");
    let (tasks, drain) = (Tasks::new(), Drain::new());
    let draining = drain.listen();
    tasks.spawn(async move {
        let settings = http::Settings::default();
        http::drive(Box::new(theirs), &settings, 0, &draining, |request, _| echo(request.map(Body::of)))
            .await;
    });
    let client = soon(handshake(Box::new(ours), &Settings::default(), &tasks.spawner())).await;
    (tasks, drain, client.expect("a handshake"))
}

/// All of a response, which must end well.
async fn whole(body: &mut Body) -> Vec<u8> {
    let (mut seen, mut status) = (Vec::new(), None);
    while let Some(frame) = soon(body.frame()).await {
        match frame.expect("no error").into_data() {
            Ok(data) => seen.extend(data),
            Err(frame) => status = frame.into_trailers().ok(),
        }
    }
    assert_eq!(status.expect("trailers")["grpc-status"], "0");
    seen
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let (_tasks, _drain, client) = connect().await;
    assert_eq!(client.streams_max(), 1000);
    let calls = (0..300_usize).map(|number| {
        let client = &client;
        async move {
            let message = seal(&vec![1; number * 331]);
            let slot = client.reserve().expect("a place");
            let response = slot.send(request(Body::new(Full::new(message.clone())))).await;
            assert_eq!(whole(&mut response.expect("a response").into_body()).await, message);
        }
    });
    soon(futures_util::future::join_all(calls)).await;
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_lets_a_running_stream_finish() {
    let (tasks, drain, client) = connect().await;
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(1);
    soon(sender.send_data(seal(b"one"))).await.expect("there is room for one");
    let slot = client.reserve().expect("a place");
    let mut body = soon(slot.send(request(Body::new(body)))).await.expect("a response").into_body();
    assert_eq!(data(&mut body).await.expect("data"), seal(b"one"));

    drain.advance(Phase::Draining);
    let leaving = soon(client.leaving()).await;
    assert!(matches!(leaving, Leaving::GoAway { code: 0, .. }), "{leaving:?}");
    assert!(client.reserve().is_none());
    soon(sender.send_data(seal(b"two"))).await.expect("somebody reads");
    drop(sender);
    assert_eq!(whole(&mut body).await, seal(b"two"));
    soon(client.closed()).await;
    soon(tasks.finished()).await;
    assert_eq!(client.in_flight(), 0);
}
