//! TLS on a listener: identity in the record, and files that change while calls run.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use highball::net::tls::{self, ClientAuth, ServerTls, Settings};
use highball::{Code, ListenAddr};
use highball_testkit::pki::{Authority, Pair, client_config, client_params};
use highball_testkit::{Client, TestServer};
use rustls::{ALL_VERSIONS, RootCertStore};

use crate::{GET, server};

/// The files of a server that asks for client certificates.
struct Files(tempfile::TempDir);

impl Files {
    fn new(pair: &Pair, client_ca: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put(pair, client_ca);
        files
    }

    /// Replaces all files, each at once as careful tools do.
    fn put(&self, pair: &Pair, client_ca: &str) {
        for (name, content) in [("cert.pem", &*pair.cert), ("key.pem", &pair.key), ("ca.pem", client_ca)] {
            let next = self.path().join("next");
            fs::write(&next, content).unwrap();
            fs::rename(next, self.path().join(name)).unwrap();
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, auth: ClientAuth) -> Arc<ServerTls> {
        let settings = Settings::new(self.path().join("cert.pem"), self.path().join("key.pem"));
        let settings = settings.with_client_ca(self.path().join("ca.pem"), auth);
        Arc::new(
            ServerTls::load(settings, highball::net::Os::shared()).unwrap_or_else(|error| panic!("{error}")),
        )
    }
}

/// A server that listens on TLS first, and in plaintext on the port that the test harness adds.
async fn start(tls: Arc<ServerTls>) -> (TestServer, std::net::SocketAddr) {
    let server = TestServer::start(server().listen_tls("127.0.0.1:0".parse().unwrap(), tls)).await;
    let ListenAddr::Tcp(addr) = server.addrs[0] else { panic!("a TCP address") };
    (server, addr)
}

#[tokio::test]
async fn a_client_certificate_names_the_caller_and_none_is_refused_with_a_counted_reason() {
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new(&ca.server(), &clients.pem());
    let (server, addr) = start(files.load(ClientAuth::Required)).await;
    let (roots, shop) = (ca.roots(), clients.client("shop"));
    let config = |pair| client_config(&roots, pair, ALL_VERSIONS);

    let client = Client::tls(addr, config(Some(&shop))).await.unwrap();
    assert_eq!(client.unary(GET, b"").await.messages, ["spiffe://example.org/shop"]);

    // TLS 1.3 tells a client without a certificate only after its handshake, on the first read.
    if let Ok(refused) = Client::tls(addr, config(None)).await {
        refused.closed().await.unwrap_err();
    }
    let page = server.telemetry.render();
    for line in [
        "grpc_server_tls_handshakes_total{result=\"SUCCESS\"} 1",
        "grpc_server_tls_handshakes_total{result=\"CERTIFICATE_REQUIRED\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(page.contains("tls_certificate_expiry_timestamp_seconds{listener=\"127.0.0.1:"), "{page}");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_handshake_that_never_begins_is_timed() {
    let ca = Authority::new("ca");
    let files = Files::new(&ca.server(), &ca.pem());
    let tls = files.load(ClientAuth::Optional);
    let mut settings = highball::Settings::default();
    settings.connection.handshake_timeout = std::time::Duration::from_millis(200);
    let server = server().with_settings(settings).listen_tls("127.0.0.1:0".parse().unwrap(), tls);
    let server = TestServer::start(server).await;
    let ListenAddr::Tcp(addr) = server.addrs[0] else { panic!("a TCP address") };
    let mut silent = highball_testkit::raw::Raw::silent(addr).await;
    assert_eq!(silent.next().await, None, "closed");
    let timed = "grpc_server_tls_handshakes_total{result=\"HANDSHAKE_TIMEOUT\"} 1";
    assert!(server.telemetry.render().contains(timed));
    server.drained().await;
}

#[tokio::test]
async fn every_certificate_has_a_gauge_of_its_own_that_goes_with_its_name() {
    let ca = Authority::new("ca");
    let files = Files::new(&ca.server(), &ca.pem());
    let second = |name: &str| {
        let pair = ca.leaf(|params| {
            client_params(params, name);
            params.extended_key_usages.clear();
        });
        fs::write(files.path().join("second.pem"), pair.cert).unwrap();
        fs::write(files.path().join("second.key"), pair.key).unwrap();
    };
    second("shop");
    let path = |name| files.path().join(name);
    let settings = Settings::new(path("cert.pem"), path("key.pem"));
    let settings = settings.with_pair(tls::Pair::new(path("second.pem"), path("second.key")));
    let tls = Arc::new(ServerTls::load(settings, highball::net::Os::shared()).unwrap());
    let (server, addr) = start(tls).await;
    let gauge = |name: &str| {
        let labels = format!("{{listener=\"{addr}\",certificate=\"{name}\"}}");
        server.telemetry.render().contains(&format!("tls_certificate_expiry_timestamp_seconds{labels}"))
    };
    let appears = async |name: &str| {
        while !gauge(name) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    appears("shop.example").await;
    assert!(gauge("localhost"));
    second("cart");
    tokio::time::pause();
    tokio::time::advance(tls::WATCH_INTERVAL * 2).await;
    tokio::time::resume();
    appears("cart.example").await;
    assert_eq!(["localhost", "shop.example"].map(gauge), [true, false]);
    server.drained().await;
}

/// Calls without a pause until told to stop; how many, and that each was answered.
async fn load(client: Arc<Client>, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotated_ten_times_under_load_fail_no_call_and_force_no_reconnect() {
    let mut clients = Authority::new("clients 0");
    let mut ca = Authority::new("servers 0");
    let files = Files::new(&ca.server(), &clients.pem());
    let tls = files.load(ClientAuth::Required);
    let shared = tls.clone();
    let (server, addr) = start(tls).await;

    let config = |roots: &RootCertStore, pair: &Pair| client_config(roots, Some(pair), ALL_VERSIONS);
    let old = Arc::new(Client::tls(addr, config(&ca.roots(), &clients.client("old"))).await.unwrap());
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        running.spawn(load(old.clone(), stop.clone(), answered.clone()));
    }

    for round in 1..=10 {
        let next = Authority::new(&format!("clients {round}"));
        ca = Authority::new(&format!("servers {round}"));
        // While both CAs are in the bundle, clients of either are welcome.
        files.put(&ca.server(), &format!("{}{}", clients.pem(), next.pem()));
        assert!(shared.reload().unwrap().any(), "round {round}");
        for issuer in [&clients, &next] {
            let client = Client::tls(addr, config(&ca.roots(), &issuer.client("new"))).await.unwrap();
            assert_eq!(client.unary(GET, b"").await.code(), Code::Ok, "round {round}");
        }
        // Then the old one goes.
        files.put(&ca.server(), &next.pem());
        assert!(shared.reload().unwrap().any(), "round {round}");
        let retired = clients.client("retired");
        if let Ok(client) = Client::tls(addr, config(&ca.roots(), &retired)).await {
            client.closed().await.unwrap_err();
        }
        clients = next;
        let (seen, enough) = (answered.load(Ordering::Relaxed), 20);
        while answered.load(Ordering::Relaxed) < seen + enough {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    // Each of the four would have panicked at its first failure, and none of them ever reconnected.
    while let Some(outcome) = running.join_next().await {
        outcome.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) >= 200);
    drop(old);
    server.drained().await;
}
