//! A server below a proxy: messages pass as they come.

use std::io::Write as _;

use bytes::Bytes;
use highball::core::envelope::seal;
use highball::{Body, Code, Settings};
use highball_testkit::client::grpc_request;
use highball_testkit::{TestServer, stub};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;

use crate::{GET, host};

/// A message in an envelope that says it is compressed.
fn compressed(message: &[u8]) -> Bytes {
    let mut sealed = seal(message).to_vec();
    sealed[0] = 1;
    sealed.into()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

/// Answers with one message: the encoding it was told, and the bytes that came.
async fn mirror(request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let encoding = head.headers.get("grpc-encoding").map(HeaderValue::as_bytes).unwrap_or(b"-").to_vec();
    match body.collect().await {
        Ok(body) => stub::messages(&[&[&encoding[..], b" ", &body.to_bytes()].concat()]),
        Err(error) => stub::frames(futures_util::stream::iter([Err(error)])),
    }
}

async fn passing(size_bytes_max: usize) -> TestServer {
    let settings =
        Settings { decompress: false, message_size_bytes_max: size_bytes_max, ..Settings::default() };
    TestServer::start(host(mirror).with_settings(settings)).await
}

#[tokio::test]
async fn a_compressed_request_reaches_the_service_as_it_came() {
    let server = passing(1000).await;
    let client = server.client().await;
    let body = [&compressed(&gzip(b"hello, hello"))[..], &seal(b"plain"), &compressed(b"")].concat();
    for encoding in ["gzip", "deflate", "nobody-knows-it"] {
        let request = grpc_request(GET, &[("grpc-encoding", encoding)]);
        let reply = client.raw(request, body.clone().into()).await;
        assert_eq!(reply.code(), Code::Ok, "{}", reply.status());
        assert_eq!(reply.messages, [[encoding.as_bytes(), b" ", &body].concat()]);
    }
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn the_bound_is_for_messages_as_they_come() {
    let server = passing(1000).await;
    let client = server.client().await;
    let gzipped = &[("grpc-encoding", "gzip")];
    // Far larger than the bound once it is decompressed, which is not done here.
    let dense = compressed(&gzip(&[0; 100_000]));
    assert!(dense.len() < 1000, "{}", dense.len());
    assert_eq!(client.raw(grpc_request(GET, gzipped), dense).await.code(), Code::Ok);
    let reply = client.raw(grpc_request(GET, gzipped), compressed(&[7; 1001])).await;
    assert_eq!(reply.code(), Code::ResourceExhausted);
    for part in ["1001", "1000", "message_size_bytes_max"] {
        assert!(reply.status().message().contains(part), "{}", reply.status());
    }
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"inbound_message_size\"} 1"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_flag_still_needs_an_encoding_and_is_one_bit() {
    let server = passing(1000).await;
    let client = server.client().await;
    for headers in [&[][..], &[("grpc-encoding", "identity")]] {
        let reply = client.raw(grpc_request(GET, headers), compressed(b"x")).await;
        assert_eq!(reply.code(), Code::Internal, "{headers:?}");
    }
    let two = Bytes::from_static(&[2, 0, 0, 0, 1, 7]);
    let reply = client.raw(grpc_request(GET, &[("grpc-encoding", "gzip")]), two).await;
    assert_eq!(reply.code(), Code::Internal);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn the_servers_own_health_reads_compressed_requests_nevertheless() {
    let server = passing(1000).await;
    let client = server.client().await;
    let request = grpc_request("/grpc.health.v1.Health/Check", &[("grpc-encoding", "gzip")]);
    let reply = client.raw(request, compressed(&gzip(b""))).await;
    assert_eq!(reply.code(), Code::Ok, "{}", reply.status());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_compressed_response_passes_too() {
    let answer = |_: Request<Body>| async {
        let frames = [Ok(http_body::Frame::data(compressed(b"packed")))];
        let end = Ok(http_body::Frame::trailers(
            [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect(),
        ));
        let mut response = stub::frames(futures_util::stream::iter(frames.into_iter().chain([end])));
        response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        response
    };
    let settings = Settings { decompress: false, ..Settings::default() };
    let server = TestServer::start(host(answer).with_settings(settings)).await;
    let client = server.client().await;
    let reply = client.unary(GET, b"").await;
    assert_eq!(reply.code(), Code::Ok, "{reply:?}");
    assert_eq!(reply.headers.get("grpc-encoding").unwrap(), "gzip");
    drop(client);
    server.drained().await;
}
