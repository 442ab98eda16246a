//! Dialling over real sockets: every kind of address, and how each stage fails.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests all through; clippy sees only the functions marked as such"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highball_net::dial::Stage;
use highball_net::tls::client::Settings as ClientSettings;
use highball_net::tls::{Reason, Settings as ServerSettings};
use highball_net::{Address, ClientTls, Dialer, ListenAddr, Listener, Os, Platform, ServerTls};
use highball_testkit::Web;
use highball_testkit::pki::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest time for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

async fn listen(addr: &str) -> (Box<dyn Listener>, Address) {
    let listener = Os.bind(&addr.parse().unwrap()).await.unwrap();
    let address = match listener.local_addr() {
        ListenAddr::Tcp(addr) => Address::Tcp(addr),
        ListenAddr::Unix(path) => Address::Unix(path),
    };
    (listener, address)
}

async fn accept(listener: &mut Box<dyn Listener>) -> Box<dyn highball_net::Io> {
    std::future::poll_fn(|cx| listener.poll_accept(cx)).await.unwrap().0
}

#[tokio::test]
async fn every_kind_of_address_is_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let dialer = Dialer::plaintext(Os::shared()).with_user_timeout(Some(Duration::from_secs(20)));
    let unix = format!("unix:{}", dir.path().join("x.sock").display());
    for addr in ["127.0.0.1:0", &unix] {
        let (mut listener, address) = listen(addr).await;
        let (dialled, mut accepted) = tokio::join!(dialer.dial(&address, ""), accept(&mut listener));
        let mut dialled = dialled.unwrap();
        assert_eq!((&dialled.peer, dialled.session.is_none()), (&address, true));
        dialled.io.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn an_abstract_socket_is_dialled() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = Bytes::from(format!("highball-dial-{}", std::process::id()));
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&addr).unwrap();
    let dialer = Dialer::plaintext(Os::shared());
    dialer.dial(&Address::UnixAbstract(name), "").await.unwrap();
    let nobody = Address::UnixAbstract("highball-dial-nobody".into());
    let error = dialer.dial(&nobody, "").await.unwrap_err();
    assert!(error.to_string().contains("unix-abstract:highball-dial-nobody: nobody listens"), "{error}");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let dialer = Dialer::plaintext(Os::shared());
    let (listener, free) = listen("127.0.0.1:0").await;
    drop(listener);
    let gone = Address::Unix(dir.path().join("gone.sock"));
    for (address, part) in [(free, "nobody listens there"), (gone, "the socket does not exist")] {
        let error = dialer.dial(&address, "").await.unwrap_err();
        assert_eq!((error.stage(), error.timed_out()), (Stage::Connect, false));
        let sentence = error.to_string();
        assert!(sentence.contains(part) && sentence.contains(&address.to_string()), "{sentence}");
    }
}

struct Tls {
    server: ServerTls,
    dialer: Dialer,
    ca: Authority,
    _dir: tempfile::TempDir,
}

impl Tls {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::new("ca");
        let pair = ca.server();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("ca.pem"), ca.pem()).unwrap();
        std::fs::write(path("cert.pem"), &pair.cert).unwrap();
        std::fs::write(path("key.pem"), &pair.key).unwrap();
        let settings = ServerSettings::new(path("cert.pem"), path("key.pem"));
        let server = ServerTls::load(settings, Os::shared()).unwrap();
        let settings = ClientSettings::new().with_roots(path("ca.pem"));
        let client = ClientTls::load(settings, Os::shared()).unwrap();
        Self { server, dialer: Dialer::tls(Os::shared(), Arc::new(client)), ca, _dir: dir }
    }
}

#[tokio::test]
async fn tls_is_negotiated_for_the_name_that_is_given() {
    let tls = Tls::new();
    let (mut listener, address) = listen("127.0.0.1:0").await;
    let serve = async {
        for _ in 0..2 {
            // The second one is refused.
            tls.server.accept(accept(&mut listener).await).await.ok();
        }
    };
    let dial = async {
        let dialled = tls.dialer.dial(&address, "localhost").await.unwrap();
        assert!(dialled.session.is_some());
        tls.dialer.dial(&address, "elsewhere.example").await.unwrap_err()
    };
    let both = async { tokio::join!(serve, dial).1 };
    let error = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(error.stage(), Stage::Tls);
    assert_eq!(error.handshake_reason(), Some(Reason::CertificateHostnameMismatch));
    assert!(error.to_string().contains("valid for localhost, you dialled elsewhere.example"), "{error}");
}

#[tokio::test]
async fn a_server_without_http2_is_refused_whatever_else_it_speaks() {
    let tls = Tls::new();
    for alpn in [&["http/1.1"][..], &[]] {
        let web = Web::https_speaking(&tls.ca.server(), alpn, |_| async { http::Response::default() }).await;
        let error = tls.dialer.dial(&Address::Tcp(web.addr()), "localhost").await.unwrap_err();
        assert_eq!(error.stage(), Stage::Alpn, "{error}");
        assert!(error.to_string().contains("does not offer HTTP/2 in ALPN"), "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_the_stage_is_told() {
    let tls = Tls::new();
    let (mut listener, address) = listen("127.0.0.1:0").await;
    let dialer = tls.dialer.clone().with_timeout(Duration::from_millis(50));
    let (dialled, _silent) = tokio::join!(dialer.dial(&address, "localhost"), accept(&mut listener));
    let error = dialled.unwrap_err();
    assert_eq!((error.stage(), error.timed_out()), (Stage::Tls, true));
    assert!(error.to_string().contains("not finished within 50ms"), "{error}");
}

#[tokio::test]
async fn this_machine_is_found_without_a_name_server() {
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let lookup = Os.lookup(name).await.unwrap();
        assert!(lookup.records.iter().all(std::net::IpAddr::is_loopback), "{name}: {lookup:?}");
    }
}
