//! What is an RPC, and what a request that is none gets.

use bytes::Bytes;
use highball::Code;
use highball_testkit::client::grpc_request;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{GET, echo};

#[tokio::test]
async fn a_wrong_content_type_is_415_and_never_ok() {
    let server = echo().await;
    let client = server.client().await;
    for content_type in ["text/html", "application/json", "application/grpc-web"] {
        let reply = client.call(GET, &[("content-type", content_type)], &[b""]).await;
        assert_eq!(reply.http, 415, "{content_type}");
        assert!(!reply.headers.contains_key("grpc-status"), "{content_type}");
    }
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn only_post_to_a_service_and_method_is_an_rpc() {
    let server = echo().await;
    let client = server.client().await;
    let get = Request::get(format!("http://test{GET}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let reply = client.raw(get, Bytes::new()).await;
    assert_eq!(
        (reply.http.as_u16(), &reply.headers["allow"]),
        (405, &http::HeaderValue::from_static("POST"))
    );
    assert_eq!(client.raw(grpc_request("/nothing", &[]), Bytes::new()).await.http, 404);
    assert!(server.telemetry.render().contains("refused_requests_total{status=\"405\"} 1"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn an_http1_client_is_told_what_this_port_speaks() {
    let server = echo().await;
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("gRPC over HTTP/2"), "{answer}");
    server.drained().await;
}

#[tokio::test]
async fn a_head_request_gets_a_whole_answer_without_a_body() {
    let server = echo().await;
    let client = server.client().await;
    let head = Request::head(format!("http://test{GET}")).header("content-type", "application/grpc");
    let reply = client.raw(head.body(()).unwrap(), Bytes::new()).await;
    assert!(reply.broken.is_none(), "{reply:?}");
    assert_eq!(reply.http, 405);
    assert_eq!(reply.headers["allow"], "POST");
    assert!(reply.headers.contains_key("content-length"), "{:?}", reply.headers);
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok, "the connection survives");
    drop(client);
    server.drained().await;
}
