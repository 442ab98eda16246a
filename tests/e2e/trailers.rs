//! Responses are genuine gRPC, whatever the service made of them.

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code, Status};
use highball_testkit::{TestServer, stub};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::Full;

use crate::{CHAT, GET, host};

fn not_found() -> Status {
    Status::new(Code::NotFound, "no such order").with_details(vec![8, 5].into())
}

async fn reply_of(answer: fn(Request<Body>) -> Response<Body>) -> highball_testkit::Reply {
    let server = TestServer::start(host(move |request| async move { answer(request) })).await;
    let client = server.client().await;
    let reply = client.unary(GET, b"").await;
    drop(client);
    server.drained().await;
    reply
}

#[tokio::test]
async fn a_status_in_a_head_that_does_not_end_the_stream_becomes_trailers_only_with_details() {
    // What one popular service library answers: code and message in the head, everything again in trailers.
    let reply = reply_of(|_| {
        let mut response = stub::frames(stream::iter([Ok(Frame::trailers(not_found().to_trailers()))]));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("no such order"));
        response
    })
    .await;
    assert!(reply.trailers_only, "{reply:?}");
    assert_eq!(reply.status(), not_found());
    assert_eq!(reply.headers.get_all("grpc-status").iter().count(), 1);
}

#[tokio::test]
async fn an_error_before_the_first_message_is_trailers_only() {
    let reply =
        reply_of(|_| stub::frames(stream::iter([Ok(Frame::trailers(not_found().to_trailers()))]))).await;
    assert!(reply.trailers_only, "{reply:?}");
    assert_eq!(reply.status(), not_found());
}

#[tokio::test]
async fn a_response_without_a_status_is_unknown_and_never_ok() {
    let reply = reply_of(|_| stub::frames(stream::iter([Ok(Frame::data(seal(b"half")))]))).await;
    assert_eq!((reply.code(), reply.messages.len()), (Code::Unknown, 1));
}

#[tokio::test]
async fn a_body_that_fails_is_internal_and_keeps_its_cause_to_itself() {
    let reply = reply_of(|_| {
        let broken = highball::BodyError::new(std::io::Error::other("disk /var/secret is full"));
        stub::frames(stream::iter([Ok(Frame::data(seal(b"one"))), Err(broken)]))
    })
    .await;
    assert_eq!((reply.code(), reply.status().message()), (Code::Internal, "internal error"));
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_is_mapped_from_its_http_status() {
    let reply = reply_of(|_| {
        let mut response = Response::new(Body::new(Full::from("<h1>404</h1>")));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    })
    .await;
    assert!(reply.trailers_only);
    assert_eq!((reply.http.as_u16(), reply.code()), (200, Code::Unimplemented));
    let reply = reply_of(|_| Response::new(Body::new(Full::from("<h1>hello</h1>")))).await;
    assert_eq!(reply.code(), Code::Unknown, "HTML is never OK");
}

#[tokio::test]
async fn the_head_of_a_stream_does_not_wait_for_its_first_message() {
    // Lock-step callers wait for the head before they send anything.
    let server = TestServer::start(host(|request: Request<Body>| async move {
        use http_body_util::BodyExt as _;
        let echo = request.into_body().into_data_stream().map(|data| data.map(Frame::data));
        let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
        stub::frames(echo.chain(stream::iter([Ok(end)])))
    }));
    let server = server.await;
    let client = server.client().await;
    let (mut outbound, mut answer) = client.open(CHAT, &[]).await.head().await;
    for word in ["a", "b", "c"] {
        outbound.send_data(seal(word.as_bytes())).await.unwrap();
        assert_eq!(answer.message().await.unwrap().unwrap(), word);
    }
    drop(outbound);
    assert_eq!(answer.message().await.unwrap(), None);
    assert_eq!(answer.status().unwrap().code(), Code::Ok);
    drop((answer, client));
    server.drained().await;
}

/// Metadata of its own in the head, and `status` with more of it in the trailers; no message.
fn decorated(status: &Status) -> Response<Body> {
    let mut trailers = status.to_trailers();
    trailers.insert("x-both", HeaderValue::from_static("trailing"));
    let mut response = stub::frames(stream::iter([Ok(Frame::trailers(trailers))]));
    response.headers_mut().insert("x-both", HeaderValue::from_static("initial"));
    response.headers_mut().insert("x-initial", HeaderValue::from_static("1"));
    response
}

#[tokio::test]
async fn an_empty_stream_that_is_ok_keeps_initial_and_trailing_metadata_apart() {
    let reply = reply_of(|_| decorated(&Status::new(Code::Ok, ""))).await;
    assert!(!reply.trailers_only, "{reply:?}");
    assert_eq!((reply.code(), reply.messages.len()), (Code::Ok, 0));
    let all = |headers: &http::HeaderMap| {
        headers.get_all("x-both").iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (all(&reply.headers), all(&reply.trailers)),
        (vec!["initial".into()], vec!["trailing".into()])
    );
    assert!(
        reply.headers.contains_key("x-initial") && !reply.trailers.contains_key("x-initial"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn an_error_without_messages_is_one_block_with_all_metadata() {
    let reply = reply_of(|_| decorated(&not_found())).await;
    assert!(reply.trailers_only, "{reply:?}");
    assert_eq!(reply.status(), not_found());
    assert_eq!(reply.headers.get_all("x-both").iter().collect::<Vec<_>>(), ["initial", "trailing"]);
    assert!(reply.headers.contains_key("x-initial"), "{reply:?}");
}

#[tokio::test]
async fn a_response_that_ends_inside_a_message_is_never_ok() {
    let reply = reply_of(|_| {
        let half = seal(b"a message").slice(..8);
        let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
        stub::frames(stream::iter([Ok(Frame::data(half)), Ok(end)]))
    })
    .await;
    assert_eq!((reply.code(), reply.status().message()), (Code::Internal, "internal error"));
    assert!(reply.broken.is_none(), "{reply:?}");
}

#[tokio::test]
async fn a_status_in_a_head_of_another_content_type_is_still_grpc() {
    // Clients take a response whose content type is not gRPC's for a proxy's error page.
    let reply = reply_of(|_| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
        response
    })
    .await;
    assert!(reply.trailers_only, "{reply:?}");
    assert_eq!((reply.http.as_u16(), reply.code()), (200, Code::NotFound));
    assert_eq!(reply.headers.get_all("content-type").iter().collect::<Vec<_>>(), ["application/grpc"]);
}
