//! Messages pass through as they are, one by one, up to a limit.

use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use futures_util::future::{join_all, ready};
use futures_util::{StreamExt as _, stream};
use highball::core::envelope::seal;
use highball::{Body, Code, Status};
use highball_testkit::client::grpc_request;
use highball_testkit::{Reply, TestServer, stub};
use http::{HeaderValue, Request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::{Barrier, mpsc};
use tokio::time::timeout;

use super::backend::host;
use super::peer::{Peer, Rpc};
use super::scripted::{head, status};
use super::world::{File, World};
use super::{CHAT, GET, PATIENCE, UPLOAD, WATCH};

const LIMIT: usize = 4 << 20;

/// Sends back what comes, frame by frame; but no empty frames, which clients count as abuse.
async fn echo() -> TestServer {
    host(|request: Request<Body>| async move {
        let body = request.into_body();
        let frames = stream::unfold(body, |mut body| async move { Some((body.frame().await?, body)) });
        let is_empty = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(Bytes::is_empty);
        let frames = frames.filter(move |frame| ready(!frame.as_ref().is_ok_and(is_empty)));
        let end = stream::iter([Ok(Frame::trailers(Status::new(Code::Ok, "").to_trailers()))]);
        stub::frames(frames.chain(end))
    })
    .await
}

async fn through(backends: &[&TestServer]) -> World {
    let addrs: Vec<_> = backends.iter().map(|backend| backend.addr()).collect();
    File::to(&addrs).ready().await
}

/// Bytes no two of which are alike in their surroundings.
fn noise(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[tokio::test]
async fn large_messages_arrive_byte_for_byte_in_both_directions() {
    let backend = echo().await;
    let edge = through(&[&backend]).await;
    let client = edge.client().await;
    for size in [0, 1, 64 << 10, LIMIT] {
        let message = noise(size);
        for path in [GET, CHAT] {
            let reply = client.unary(path, &message).await;
            assert_eq!(reply.code(), Code::Ok, "{size}: {}", reply.status());
            assert!(reply.messages == [message.clone()], "{size} bytes of {path} are not the same");
        }
    }
    let several = [noise(LIMIT), noise(3), noise(64 << 10), noise(LIMIT)];
    let reply = client.call(CHAT, &[], &several.each_ref().map(Vec::as_slice)).await;
    assert_eq!(reply.code(), Code::Ok);
    assert!(reply.messages == several);
    drop(client);
    edge.drained().await;
    backend.drained().await;
}

fn assert_exhausted(what: &str, reply: &Reply) {
    assert_eq!(reply.code(), Code::ResourceExhausted, "{what}: {}", reply.status());
    assert!(reply.status().message().contains("size_bytes_max"), "{what}: {}", reply.status());
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_in_either_direction() {
    let backend = host(|request: Request<Body>| async move {
        let path = request.uri().path().to_owned();
        match (request.into_body().collect().await, path.as_str()) {
            (Err(error), _) => stub::frames(stream::iter([Err(error)])),
            (Ok(_), WATCH) => stub::messages(&[b"first", &noise(LIMIT + 1)]),
            (Ok(_), _) => stub::messages(&[&noise(LIMIT + 1)]),
        }
    })
    .await;
    let edge = through(&[&backend]).await;
    let client = edge.client().await;
    for path in [GET, UPLOAD] {
        assert_exhausted("a request", &client.unary(path, &noise(LIMIT + 1)).await);
    }
    assert_exhausted("a response", &client.unary(GET, b"").await);
    let reply = client.unary(WATCH, b"").await;
    assert_exhausted("a response in a stream", &reply);
    assert_eq!(reply.messages, ["first"]);
    drop(client);
    edge.drained().await;
    backend.drained().await;
}

#[tokio::test]
async fn an_upload_above_the_limit_is_refused_while_the_backend_reads_slowly() {
    let (tell, mut told) = mpsc::channel(1);
    let backend = host(move |request: Request<Body>| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            let whole = loop {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            tell.send(whole).await.unwrap();
            stub::messages(&[b"stored"])
        }
    })
    .await;
    let edge = through(&[&backend]).await;
    let client = edge.client().await;
    let reply = client.call(UPLOAD, &[], &[&noise(2 << 20), &noise(LIMIT + 1)]).await;
    assert_exhausted("an upload", &reply);
    // It is dropped as it reads, or sees the failure; it never sees a whole request.
    assert_ne!(timeout(PATIENCE, async { told.try_recv().ok() }).await.unwrap(), Some(true));
    drop(client);
    edge.idle().await;
    edge.drained().await;
    backend.drained().await;
}

#[tokio::test]
async fn each_message_arrives_before_the_next_is_sent() {
    let backend = echo().await;
    let edge = through(&[&backend]).await;
    let client = edge.client().await;
    let (mut request, mut answer) = client.open(CHAT, &[]).await.head().await;
    let rounds = async {
        for round in 0..200_u32 {
            let message = Bytes::from(round.to_be_bytes().to_vec());
            request.send_data(seal(&message)).await.unwrap();
            assert_eq!(answer.message().await.unwrap(), Some(message));
        }
    };
    timeout(PATIENCE, rounds).await.expect("nothing is kept back");
    drop(request);
    assert_eq!(answer.message().await.unwrap(), None);
    assert_eq!(answer.status().unwrap().code(), Code::Ok);
    drop(client);
    edge.drained().await;
    backend.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_run_at_the_same_time() {
    const STREAMS: usize = 1000;
    let backends = [echo().await, echo().await];
    let edge = through(&backends.each_ref()).await;
    let client = Arc::new(edge.client().await);
    let all = Arc::new(Barrier::new(STREAMS));
    let streams = (0..STREAMS).map(|nth| {
        let (client, all) = (client.clone(), all.clone());
        async move {
            let (mut request, mut answer) = client.open(CHAT, &[]).await.head().await;
            for round in 0..3 {
                let message = Bytes::from(format!("{nth}, {round}"));
                request.send_data(seal(&message)).await.unwrap();
                assert_eq!(answer.message().await.unwrap(), Some(message));
                // All are open, and all have come as far.
                all.wait().await;
            }
            drop(request);
            assert_eq!(answer.message().await.unwrap(), None);
            answer.status().unwrap()
        }
    });
    let ended = timeout(PATIENCE, join_all(streams)).await.expect("all run");
    let failed: Vec<_> = ended.iter().filter(|status| status.code() != Code::Ok).collect();
    assert!(failed.is_empty(), "{} failed, such as {:?}", failed.len(), failed[0]);
    drop(client);
    edge.drained().await;
    for backend in backends {
        backend.drained().await;
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A message whose flag says that it is compressed.
fn compressed(bytes: &[u8]) -> Bytes {
    let mut sealed = seal(bytes).to_vec();
    sealed[0] = 1;
    sealed.into()
}

#[tokio::test]
async fn compressed_messages_pass_through_untouched() {
    // A backend that says what it saw, and answers in the same encoding.
    let (tell, mut told) = mpsc::channel(10);
    let backend = Peer::rpcs(move |mut rpc: Rpc| {
        let tell = tell.clone();
        async move {
            let encodings = ["grpc-encoding", "grpc-accept-encoding"].map(|name| {
                rpc.request.headers().get(name).map(HeaderValue::to_str).unwrap().unwrap().to_owned()
            });
            let mut response = head();
            response.headers_mut().insert("grpc-encoding", encodings[0].parse().unwrap());
            let mut stream = rpc.respond.send_response(response, false).unwrap();
            let mut request = Vec::new();
            while let Some(Ok(data)) = rpc.request.body_mut().data().await {
                request.extend_from_slice(&data);
            }
            stream.send_data(request.clone().into(), false).unwrap();
            stream.send_trailers(status(Code::Ok)).unwrap();
            tell.send((encodings, request)).await.unwrap();
        }
    })
    .await;
    let edge = File::to(&[backend.addr]).ready().await;
    let client = edge.client().await;
    // The second is one that nobody here knows.
    for (encoding, message) in
        [("gzip", gzip(&noise(10_000))), ("zstd", b"(\xb5/\xfd no such thing".to_vec())]
    {
        let headers = [("grpc-encoding", encoding), ("grpc-accept-encoding", "identity,gzip,zstd")];
        let reply = client.raw(grpc_request(GET, &headers), compressed(&message)).await;
        assert_eq!(reply.code(), Code::Ok, "{encoding}: {}", reply.status());
        let (encodings, request) = told.recv().await.unwrap();
        assert_eq!(encodings, [encoding, "identity,gzip,zstd"]);
        assert!(request == compressed(&message), "{encoding}: the backend sees other bytes");
        assert_eq!(reply.headers["grpc-encoding"], encoding);
        assert!(reply.messages == [message], "{encoding}: the client sees other bytes");
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_response_head_comes_before_any_message() {
    let backend = host(|_| async { stub::frames(stream::pending()) }).await;
    let edge = through(&[&backend]).await;
    let client = edge.client().await;
    let opened = client.open(WATCH, &[]).await.head();
    let (request, answer) = timeout(PATIENCE, opened).await.expect("the head is not kept back");
    assert_eq!(answer.headers["content-type"], "application/grpc");
    drop((request, answer));
    edge.idle().await;
    drop(client);
    edge.drained().await;
    backend.drained().await;
}
