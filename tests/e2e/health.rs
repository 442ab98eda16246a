//! Health over gRPC and its mirrors on the admin port.

use bytes::Bytes;
use highball::Code;
use highball_testkit::{Client, TestServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::echo;

const SERVING: &[u8] = &[8, 1];
const NOT_SERVING: &[u8] = &[8, 2];
const SERVICE_UNKNOWN: &[u8] = &[8, 3];

/// An encoded `HealthCheckRequest`.
fn ask(service: &str) -> Vec<u8> {
    let mut message = vec![10, u8::try_from(service.len()).unwrap()];
    message.extend_from_slice(service.as_bytes());
    message
}

async fn check(server: &TestServer, service: &str) -> Result<Bytes, Code> {
    let client = server.client().await;
    let reply = client.unary("/grpc.health.v1.Health/Check", &ask(service)).await;
    if reply.code() == Code::Ok { Ok(reply.messages[0].clone()) } else { Err(reply.code()) }
}

async fn http(server: &TestServer, path: &str) -> String {
    let mut socket = TcpStream::connect(server.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn check_answers_for_the_server_its_probes_and_each_described_service() {
    let server = echo().await;
    for service in ["", "livez", "readyz", "shop.v1.Shop"] {
        assert_eq!(check(&server, service).await.as_deref(), Ok(SERVING), "{service}");
    }
    assert_eq!(check(&server, "nobody").await, Err(Code::NotFound));
    server.drained().await;
}

#[tokio::test]
async fn a_dependency_that_is_down_takes_readiness_away_and_liveness_not() {
    let server = echo().await;
    let database = server.health.ready_when("database");
    assert_eq!(check(&server, "readyz").await.as_deref(), Ok(NOT_SERVING));
    database.down("disk is full");
    let answer = http(&server, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("database: disk is full"), "{answer}");
    assert_eq!(check(&server, "shop.v1.Shop").await.as_deref(), Ok(NOT_SERVING));
    assert_eq!(check(&server, "livez").await.as_deref(), Ok(SERVING));
    assert!(http(&server, "/livez").await.starts_with("HTTP/1.1 200 "));
    database.up();
    assert!(http(&server, "/readyz").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(check(&server, "").await.as_deref(), Ok(SERVING));
    server.drained().await;
}

#[tokio::test]
async fn watch_sends_the_status_at_once_then_each_change_and_ends_unavailable_on_drain() {
    let mut server = echo().await;
    let client = server.client().await;
    let mut call = client.open("/grpc.health.v1.Health/Watch", &[]).await;
    call.send(&ask("shop.v1.Shop")).await;
    let mut answer = call.half_closed().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), SERVING);
    server.health.set_serving("shop.v1.Shop", false);
    assert_eq!(answer.message().await.unwrap().unwrap(), NOT_SERVING);
    server.health.set_serving("shop.v1.Shop", true);
    assert_eq!(answer.message().await.unwrap().unwrap(), SERVING);
    server.stop();
    assert_eq!(answer.message().await.unwrap().unwrap(), NOT_SERVING, "lame duck");
    assert_eq!(answer.message().await.unwrap(), None);
    assert_eq!(answer.status().unwrap().code(), Code::Unavailable);
    drop((answer, client));
    server.drained().await;
}

#[tokio::test]
async fn watching_an_unknown_service_waits_for_it() {
    let server = echo().await;
    let client = server.client().await;
    let mut call = client.open("/grpc.health.v1.Health/Watch", &[]).await;
    call.send(&ask("later.v1.Later")).await;
    let mut answer = call.half_closed().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), SERVICE_UNKNOWN);
    server.health.set_serving("later.v1.Later", true);
    assert_eq!(answer.message().await.unwrap().unwrap(), SERVING);
    drop((answer, client));
    server.drained().await;
}

#[tokio::test]
async fn list_names_everything_this_server_knows() {
    let server = echo().await;
    let client = server.client().await;
    let reply = client.unary("/grpc.health.v1.Health/List", b"").await;
    let listed = String::from_utf8_lossy(&reply.messages[0]).into_owned();
    for service in ["livez", "readyz", "shop.v1.Shop"] {
        assert!(listed.contains(service), "{listed:?}");
    }
    for n in 0..100 {
        server.health.set_serving(format!("s{n}"), true);
    }
    let reply = client.unary("/grpc.health.v1.Health/List", b"").await;
    assert_eq!(reply.code(), Code::ResourceExhausted, "gRFC A90: at most 100");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn the_admin_port_serves_metrics_and_names_its_pages() {
    let server = echo().await;
    assert_eq!(check(&server, "").await.as_deref(), Ok(SERVING));
    let metrics = http(&server, "/metrics").await;
    assert!(
        metrics.contains("grpc_requests_total{method=\"grpc.health.v1.Health/Check\",code=\"OK\"} 1"),
        "{metrics}"
    );
    assert!(http(&server, "/nope").await.contains("/readyz"));
    server.drained().await;
}

#[tokio::test]
async fn a_head_request_to_the_admin_port_works_over_http2_too() {
    let server = echo().await;
    let client = Client::tcp(server.admin).await;
    for (path, status) in [("/metrics", 200), ("/readyz", 200), ("/nope", 404)] {
        let head = http::Request::head(format!("http://test{path}")).body(()).unwrap();
        let reply = client.raw(head, Bytes::new()).await;
        assert!(reply.broken.is_none(), "{path}: {reply:?}");
        assert_eq!(reply.http, status, "{path}");
        assert_ne!(reply.headers["content-length"], "0", "{path}: what a GET would get");
    }
    drop(client);
    server.drained().await;
}
