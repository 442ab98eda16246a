//! Plain HTTP with JSON on the port of gRPC.

use bytes::Bytes;
use highball::{Body, Code, Server, Settings};
use highball_testkit::{TestServer, stub};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SAY: &str = "/lines.v1.Lines/Say";

/// Says what it is told, and `wait` for ever.
async fn lines(settings: Settings) -> TestServer {
    let service = stub::service(|request: Request<Body>| async {
        let path = request.uri().path().to_owned();
        let Ok(said) = request.into_body().collect().await else {
            return highball::Status::new(Code::Internal, "broken").into_response();
        };
        let said = said.to_bytes();
        let message = said.get(5..).unwrap_or_default();
        if message.ends_with(b"wait") {
            std::future::pending::<()>().await;
        }
        let times = if path.ends_with("Follow") { 2 } else { 1 };
        stub::messages(&vec![message; times])
    });
    let server = Server::new(service)
        .with_descriptors(include_bytes!(concat!(env!("OUT_DIR"), "/lines.bin")))
        .with_settings(settings)
        .with_gateway(highball::gateway::Settings::default());
    TestServer::start(server).await
}

/// Over HTTP/1.1, as curl speaks it: the head and the body of the answer.
#[expect(clippy::disallowed_methods, reason = "a test's way to the server under test")]
async fn http1(server: &TestServer, request: &str) -> (String, String) {
    let mut io = TcpStream::connect(server.addr()).await.unwrap();
    io.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_get_over_http1_is_an_rpc_with_a_record() {
    let server = lines(Settings::default()).await;
    let (head, body) =
        http1(&server, "GET /v1/lines/hello%20you HTTP/1.1\nhost: x\nconnection: close\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
    assert!(body.contains(r#"{"text":"hello you"}"#), "{body}");
    let page = server.telemetry.render();
    assert!(page.contains("grpc_requests_total{method=\"lines.v1.Lines/Say\",code=\"OK\"} 1"), "{page}");
    server.drained().await;
}

#[tokio::test]
async fn json_and_grpc_share_a_connection() {
    let server = lines(Settings::default()).await;
    let client = server.client().await;
    let post = |text: &'static str| {
        let post = Request::post("http://test/v1/lines").header("content-type", "application/json");
        client.raw(post.body(()).unwrap(), Bytes::from_static(text.as_bytes()))
    };
    let reply = post(r#"{"text":"x"}"#).await;
    assert_eq!((reply.http.as_u16(), &reply.rest[..]), (200, &br#"{"text":"x"}"#[..]));
    let reply = post(r#"{"txet":"x"}"#).await;
    let said = String::from_utf8_lossy(&reply.rest).into_owned();
    assert!(reply.http == 400 && said.contains("txet") && said.contains("\"code\":3"), "{said}");
    let follow = Request::get("http://test/v1/lines/x:follow").body(()).unwrap();
    let reply = client.raw(follow, Bytes::new()).await;
    assert_eq!(&reply.rest[..], b"{\"text\":\"x\"}\n{\"text\":\"x\"}\n");
    assert_eq!(client.unary(SAY, b"\x0a\x01x").await.messages, [&b"\x0a\x01x"[..]]);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn limits_and_deadlines_are_those_of_the_method() {
    let server = lines(Settings { message_size_bytes_max: 100, ..Settings::default() }).await;
    let client = server.client().await;
    let late = Request::get("http://test/v1/lines/wait").header("grpc-timeout", "50m").body(()).unwrap();
    let reply = client.raw(late, Bytes::new()).await;
    let said = String::from_utf8_lossy(&reply.rest).into_owned();
    assert!(reply.http == 504 && said.contains("\"code\":4"), "{said}");
    let post = Request::post("http://test/v1/lines").header("content-type", "application/json");
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(200));
    let reply = client.raw(post.body(()).unwrap(), Bytes::from(large)).await;
    let said = String::from_utf8_lossy(&reply.rest).into_owned();
    assert!(reply.http == 429 && said.contains("message_size_bytes_max"), "{said}");
    let page = server.telemetry.render();
    for code in ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"] {
        let line = format!("grpc_requests_total{{method=\"lines.v1.Lines/Say\",code=\"{code}\"}} 1");
        assert!(page.contains(&line), "{line}\n{page}");
    }
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn without_a_gateway_json_is_no_rpc() {
    let server = TestServer::start(Server::new(stub::service(|_| async { stub::messages(&[b""]) }))).await;
    let client = server.client().await;
    let post = Request::post("http://test/v1/lines").header("content-type", "application/json");
    assert_eq!(client.raw(post.body(()).unwrap(), Bytes::from_static(b"{}")).await.http, 415);
    drop(client);
    server.drained().await;
}
