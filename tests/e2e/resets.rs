//! Streams that end before their time: what the service, the metrics and the rest of the connection make of it.

use std::sync::Arc;

use highball::core::envelope::seal;
use highball::{Body, BodyError};
use highball_testkit::raw::{END_HEADERS, Raw, frame, grpc_headers, grpc_request, header_block, kind};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc};

use crate::{GET, UPLOAD, echo, host};

const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

/// RST_STREAM.
fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// HEADERS that leave the request open, with a deadline nobody can read.
fn refused_at_once(stream: u32) -> Vec<u8> {
    let headers = header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", GET),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "soon"),
    ]);
    frame(kind::HEADERS, END_HEADERS, stream, &headers)
}

#[tokio::test]
async fn late_frames_of_rpcs_that_were_answered_early_do_not_cost_the_connection() {
    // What a proxy sees in front of a server that sheds load: its DATA and our answers pass each other.
    let server = echo().await;
    let mut raw = Raw::connect(server.addr(), &[]).await;
    let streams: Vec<u32> = (0..1200).map(|n| 2 * n + 1).collect();
    for batch in streams.chunks(400) {
        let requests: Vec<u8> = batch.iter().flat_map(|stream| refused_at_once(*stream)).collect();
        raw.send(&requests).await;
        // Answered, and reset because the answer does not need the rest of the request.
        for _ in batch {
            let ended = raw.find(|frame| frame.kind == kind::RST_STREAM).await;
            assert_eq!(ended.expect("the connection is open").payload, NO_ERROR.to_be_bytes()[..]);
        }
    }
    let late: Vec<u8> =
        streams.iter().flat_map(|stream| frame(kind::DATA, 0, *stream, &seal(b"late"))).collect();
    raw.send(&late).await;
    raw.send(&grpc_request(2401, GET, b"")).await;
    let wanted = |frame: &highball_testkit::raw::Frame| {
        frame.kind == kind::GOAWAY || (frame.kind == kind::DATA && frame.stream == 2401)
    };
    let answer = raw.find(wanted).await.expect("the connection is open");
    assert_eq!(answer.goaway(), None);
    assert_eq!(answer.payload, seal(b"pong"));
    drop(raw);
    server.drained().await;
}

/// What the service of [`interrupted`] saw of its request.
type Seen = Result<usize, BodyError>;

/// A server whose service reads an upload, says what it saw, and fails its response with the request; with what it says,
/// and its call when the first frame is there.
async fn uploads() -> (TestServer, mpsc::Receiver<Seen>, Arc<Notify>) {
    let (tell, told) = mpsc::channel(1);
    let begun = Arc::new(Notify::new());
    let begin = begun.clone();
    let upload = move |request: Request<Body>| {
        let (tell, begin) = (tell.clone(), begin.clone());
        async move { read_upload(request, &tell, &begin).await }
    };
    (TestServer::start(host(upload)).await, told, begun)
}

async fn read_upload(request: Request<Body>, tell: &mpsc::Sender<Seen>, begin: &Notify) -> Response<Body> {
    let mut body = request.into_body();
    let mut size = 0;
    let seen = loop {
        match body.frame().await {
            Some(Ok(frame)) => size += frame.data_ref().map_or(0, bytes::Bytes::len),
            Some(Err(error)) => break Err(error),
            None => break Ok(size),
        }
        begin.notify_one();
    };
    let answer = match &seen {
        Ok(_) => stub::messages(&[b"stored"]),
        Err(error) => {
            let error = BodyError::new(std::io::Error::other(error.to_string()));
            stub::frames(futures_util::stream::iter([Err(error)]))
        }
    };
    tell.send(seen).await.expect("the test listens");
    answer
}

/// The code that the only upload was metered with.
async fn metered(server: &TestServer) -> String {
    let prefix = "grpc_requests_total{method=\"shop.v1.Shop/Upload\",code=\"";
    loop {
        let page = server.telemetry.render();
        let ended =
            page.lines().filter_map(|line| line.strip_prefix(prefix)).find(|line| line.ends_with(" 1"));
        if let Some((code, _)) = ended.and_then(|line| line.split_once('"')) {
            return code.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Half an upload, then a reset with `code`: what the service saw, and what was metered.
async fn interrupted(code: u32) -> (Seen, String) {
    let (server, mut told, begun) = uploads().await;
    let mut raw = Raw::connect(server.addr(), &[]).await;
    raw.send(&frame(kind::HEADERS, END_HEADERS, 1, &grpc_headers(UPLOAD))).await;
    raw.send(&frame(kind::DATA, 0, 1, &seal(b"the first of many"))).await;
    begun.notified().await;
    raw.send(&reset(1, code)).await;
    let seen = told.recv().await.expect("the service looked");
    let code = metered(&server).await;
    drop(raw);
    server.drained().await;
    (seen, code)
}

#[tokio::test]
async fn a_request_that_is_reset_without_an_error_is_not_a_whole_request() {
    // Some proxies reset with NO_ERROR when their client goes away.
    let (seen, code) = interrupted(NO_ERROR).await;
    assert!(seen.is_err(), "half an upload passed for a whole one: {seen:?}");
    assert_eq!(code, "CANCELLED");
}

#[tokio::test]
async fn an_upload_that_its_caller_cancels_is_cancelled_and_no_fault_of_the_service() {
    let (seen, code) = interrupted(CANCEL).await;
    assert!(seen.is_err(), "{seen:?}");
    assert_eq!(code, "CANCELLED");
}

#[tokio::test]
async fn an_upload_that_ends_by_itself_is_whole() {
    let (server, mut told, _) = uploads().await;
    let client = server.client().await;
    let reply = client.call(UPLOAD, &[], &[b"one", b"two"]).await;
    assert_eq!(reply.messages, ["stored"]);
    assert_eq!(told.recv().await.expect("the service looked").unwrap(), 16);
    drop(client);
    server.drained().await;
}
