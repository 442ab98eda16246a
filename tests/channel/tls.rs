//! TLS to the servers, and what is said when it fails.

use std::path::Path;
use std::sync::Arc;

use highball::channel::{Settings, State};
use highball::core::BackoffSettings;
use highball::net::tls::{self, ClientAuth, ClientTls, ServerTls};
use highball::net::{ListenAddr, Os};
use highball::{Code, Server};
use highball_testkit::pki::{Authority, Pair};

use super::peer::until;
use super::*;

/// Certificate files.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, content: &str) {
        let next = self.path().join("next");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, self.path().join(name)).unwrap();
    }

    fn pair(&self, name: &str, pair: &Pair) {
        self.put(&format!("{name}.pem"), &pair.cert);
        self.put(&format!("{name}.key"), &pair.key);
    }

    /// A server with the certificate `server` and, for mTLS, the CA `clients`. Answers with the caller's name.
    async fn serve(&self, auth: Option<ClientAuth>) -> (TestServer, std::net::SocketAddr) {
        let mut settings = tls::Settings::new(self.path().join("server.pem"), self.path().join("server.key"));
        if let Some(auth) = auth {
            settings = settings.with_client_ca(self.path().join("clients.pem"), auth);
        }
        let tls = Arc::new(ServerTls::load(settings, Os::shared()).unwrap());
        let answer = |request: Request<Body>| async move {
            let caller = highball::Rpc::of(request.extensions()).map(|rpc| format!("{:?}", rpc.caller));
            stub::messages(&[caller.unwrap_or_default().as_bytes()])
        };
        let server = Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS);
        let server = TestServer::start(server.listen_tls("127.0.0.1:0".parse().unwrap(), tls)).await;
        let ListenAddr::Tcp(addr) = server.addrs[0] else { panic!("a TCP address") };
        (server, addr)
    }

    fn client(&self, with_identity: bool) -> Arc<ClientTls> {
        let mut settings = tls::client::Settings::new().with_roots(self.path().join("roots.pem"));
        if with_identity {
            settings = settings.with_identity(self.path().join("client.pem"), self.path().join("client.key"));
        }
        Arc::new(ClientTls::load(settings, Os::shared()).unwrap())
    }
}

fn dial(addr: std::net::SocketAddr, name: &str, tls: Arc<ClientTls>) -> Channel {
    let mut settings = Settings::default();
    settings.backoff =
        BackoffSettings { initial: Duration::from_millis(20), multiplier: 1.0, ..BackoffSettings::default() };
    let builder = Channel::builder(&format!("static:///{addr}")).with_authority(name);
    builder.with_settings(settings).with_tls(tls).build().unwrap()
}

/// A call that fails on the way: what its caller hears, and what the operator reads.
async fn trouble(channel: &Channel) -> (String, String) {
    let outcome = get(channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    let heard = outcome.status.message().to_owned();
    assert!(!heard.contains("127.0.0.1") && !heard.contains("localhost"), "{heard}");
    let read = channel.snapshot().endpoints[0].trouble.clone().expect("a trouble");
    (heard, read)
}

#[tokio::test]
async fn a_server_is_verified_by_the_name_that_is_called() {
    let (ca, files) = (Authority::new("ca"), Files::new());
    files.pair("server", &ca.server());
    files.put("roots.pem", &ca.pem());
    let (server, addr) = files.serve(None).await;
    let channel = dial(addr, "localhost", files.client(false));
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
    drop(channel);

    let channel = dial(addr, "orders.example", files.client(false));
    let (heard, read) = trouble(&channel).await;
    assert!(heard.contains("TLS handshake failed"), "{heard}");
    assert!(read.contains("localhost") && read.contains("orders.example"), "{read}");
    drop(channel);
    server.drained().await;
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (ca, files) = (Authority::new("ca"), Files::new());
    files.pair("server", &Authority::new("another").server());
    files.put("roots.pem", &ca.pem());
    let (_server, addr) = files.serve(None).await;
    let (heard, read) = trouble(&dial(addr, "localhost", files.client(false))).await;
    assert!(heard.contains("TLS handshake failed"), "{heard}");
    assert!(read.contains("roots.pem") || read.contains("CA"), "{read}");
}

#[tokio::test]
async fn a_certificate_is_shown_and_another_one_once_its_files_have_changed() {
    let (ca, clients, files) = (Authority::new("ca"), Authority::new("clients"), Files::new());
    files.pair("server", &ca.server());
    files.put("roots.pem", &ca.pem());
    files.put("clients.pem", &clients.pem());
    files.pair("client", &clients.client("till"));
    let (_server, addr) = files.serve(Some(ClientAuth::Required)).await;
    let tls = files.client(true);
    let channel = dial(addr, "localhost", tls.clone());
    let outcome = get(&channel).await;
    assert!(outcome.text().contains("spiffe://example.org/till"), "{outcome:?}");

    files.pair("client", &clients.client("kiosk"));
    assert!(tls.reload().unwrap().any());
    let outcome = get(&channel).await;
    assert!(outcome.text().contains("till"), "an open connection stays as it is: {outcome:?}");
    let channel = dial(addr, "localhost", tls);
    let outcome = get(&channel).await;
    assert!(outcome.text().contains("kiosk"), "{outcome:?}");
}

#[tokio::test]
async fn without_the_certificate_that_a_server_asks_for_the_operator_is_told() {
    let (ca, files) = (Authority::new("ca"), Files::new());
    files.pair("server", &ca.server());
    files.put("roots.pem", &ca.pem());
    files.put("clients.pem", &Authority::new("clients").pem());
    let (_server, addr) = files.serve(Some(ClientAuth::Required)).await;
    let channel = dial(addr, "localhost", files.client(false));
    // TLS 1.3 tells a client after its handshake.
    let (_, read) = trouble(&channel).await;
    assert!(read.contains("certificate"), "{read}");
}

#[tokio::test]
async fn plaintext_where_tls_is_spoken_and_the_reverse_are_told_apart() {
    let (ca, files) = (Authority::new("ca"), Files::new());
    files.pair("server", &ca.server());
    files.put("roots.pem", &ca.pem());
    let (server, addr) = files.serve(None).await;
    let plain = Channel::new(&format!("static:///{addr}")).unwrap();
    let (heard, read) = trouble(&plain).await;
    assert!(heard.contains("expects TLS"), "{heard}");
    assert!(read.contains("TLS"), "{read}");
    let (heard, read) = trouble(&dial(server.addr(), "localhost", files.client(false))).await;
    assert!(heard.contains("TLS"), "{heard}");
    assert!(read.contains("TLS"), "{read}");
    until("it goes on trying", || plain.snapshot().endpoints[0].connects.1 >= 1).await;
    assert_eq!(plain.state(), State::TransientFailure);
}
