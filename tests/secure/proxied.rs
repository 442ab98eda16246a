//! Behind a proxy that says for whom it connects.

use std::sync::Arc;

use highball::net::proxy_protocol::{Network, Proxies};
use highball::{ListenAddr, Settings};
use highball_testkit::TestServer;
use highball_testkit::raw::{PREFACE, Raw, frame, grpc_request, kind};

use crate::{GET, server};

/// A server behind `proxies`, first among its addresses.
async fn behind(proxies: &[&str], settings: Settings) -> (TestServer, std::net::SocketAddr) {
    let networks = proxies.iter().map(|network| network.parse::<Network>().unwrap());
    let any: ListenAddr = "127.0.0.1:0".parse().unwrap();
    let server = server().with_settings(settings).listen_proxied(any, Arc::new(Proxies::new(networks)), None);
    let server = TestServer::start(server).await;
    let ListenAddr::Tcp(addr) = server.addrs[0] else { panic!("a TCP address") };
    (server, addr)
}

/// A connection that begins with `header` and then speaks HTTP/2.
async fn through(addr: std::net::SocketAddr, header: &str) -> Raw {
    let mut raw = Raw::silent(addr).await;
    raw.send(header.as_bytes()).await;
    raw.send(PREFACE).await;
    raw.send(&frame(kind::SETTINGS, 0, 0, &[])).await;
    raw.send(&grpc_request(1, GET, b"")).await;
    raw
}

#[tokio::test]
async fn connections_are_counted_for_the_client_in_the_header_and_not_for_the_proxy() {
    let settings = Settings { connections_per_peer_max: 1, ..Settings::default() };
    let (server, addr) = behind(&["127.0.0.0/8"], settings).await;
    let ann = "PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";
    let bob = "PROXY TCP4 203.0.113.8 192.0.2.1 40000 443\r\n";
    let mut first = through(addr, ann).await;
    first.find(|frame| frame.kind == kind::DATA).await.expect("an answer");
    let mut second = through(addr, bob).await;
    second.find(|frame| frame.kind == kind::DATA).await.expect("another client has its own count");
    let mut third = through(addr, ann).await;
    assert!(third.find(|frame| frame.kind == kind::DATA).await.is_none(), "one too many of the same client");
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"connections_per_peer\"} 1"));
    drop((first, second));
    server.forced().await;
}

#[tokio::test]
async fn a_connection_without_a_header_or_from_elsewhere_is_closed_with_a_counted_reason() {
    let (server, addr) = behind(&["127.0.0.1"], Settings::default()).await;
    let mut bare = through(addr, "").await;
    assert!(bare.find(|frame| frame.kind == kind::DATA).await.is_none());
    assert!(server.telemetry.render().contains("proxy_headers_refused_total{reason=\"no_header\"} 1"));
    server.drained().await;

    let (server, addr) = behind(&["192.0.2.0/24"], Settings::default()).await;
    let mut stranger = through(addr, "PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n").await;
    assert!(stranger.find(|frame| frame.kind == kind::DATA).await.is_none());
    assert!(server.telemetry.render().contains("proxy_headers_refused_total{reason=\"untrusted\"} 1"));
    server.drained().await;
}
