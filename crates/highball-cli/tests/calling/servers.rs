//! Whom to call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use highball::net::Os;
use highball::net::tls::{ClientAuth, ServerTls, Settings};
use highball::{ListenAddr, Server, Status};
use highball_testkit::pki::{Authority, Pair};
use highball_testkit::{TestServer, stub};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A server that only has its health to tell.
pub(crate) fn server() -> Server {
    Server::new(stub::service(|_| async {
        Status::new(highball::Code::Unimplemented, "nothing here").into_response()
    }))
}

pub(crate) async fn healthy() -> TestServer {
    TestServer::start(server()).await
}

/// A port where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Takes connections, says `first` on each, and then nothing more. Lives as long as the set.
pub(crate) async fn silent(first: &'static [u8]) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(first).await.unwrap();
            open.push(socket);
        }
    });
    (addr, tasks)
}

/// An HTTP/2 SETTINGS frame without settings: the server's half of the preface.
pub(crate) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A TLS server, and the files of its clients.
pub(crate) struct Secure {
    pub(crate) server: TestServer,
    pub(crate) addr: SocketAddr,
    dir: TempDir,
}

impl Secure {
    /// A server for `localhost` from a CA of its own.
    pub(crate) async fn start(auth: Option<ClientAuth>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let put_pair = |name: &str, pair: &Pair| {
            put(&format!("{name}.pem"), &pair.cert);
            put(&format!("{name}-key.pem"), &pair.key);
        };
        put("ca.pem", &ca.pem());
        put("clients.pem", &clients.pem());
        put("other.pem", &Authority::new("other").pem());
        put_pair("server", &ca.server());
        put_pair("client", &clients.client("ann"));
        let settings = Settings::new(dir.path().join("server.pem"), dir.path().join("server-key.pem"));
        let settings = auth
            .into_iter()
            .fold(settings, |settings, auth| settings.with_client_ca(dir.path().join("clients.pem"), auth));
        let tls = Arc::new(ServerTls::load(settings, Os::shared()).unwrap());
        let server =
            TestServer::start(super::servers::server().listen_tls("127.0.0.1:0".parse().unwrap(), tls)).await;
        let ListenAddr::Tcp(addr) = server.addrs[0] else { panic!("a TCP address") };
        Self { server, addr, dir }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}
