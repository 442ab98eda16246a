//! TLS on both sides, and certificates that change while calls go on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use highball::net::tls::{self, Alpn, ClientAuth, ClientTls, ServerTls};
use highball::net::{ListenAddr, Os};
use highball::{Body, Code};
use highball_testkit::pki::{self, Authority, Pair};
use highball_testkit::{Client, TestServer, stub};
use http::Request;
use rustls::version::TLS13;
use tokio::net::TcpStream;

use super::backend::server;
use super::made::{Recorder, says};
use super::peer::until;
use super::world::{File, World};
use super::{GET, PATIENCE};

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

    /// An edge whose listener has these keys of `tls`, before these backends.
    async fn edge(&self, listener: &str, file: &File) -> World {
        World::start_in(&self.text(listener, file), self.path()).await
    }

    fn text(&self, listener: &str, file: &File) -> String {
        let text = file.text();
        if listener.is_empty() {
            return text;
        }
        // `admin` has the same address before it.
        let address = "[[listeners]]\naddress = '127.0.0.1:0'\n";
        text.replacen(address, &format!("{address}tls = {{ {listener} }}\n"), 1)
    }

    /// A backend with the certificate `upstream` and, for mTLS, the CA `edges`. Answers with who called.
    async fn backend(&self, auth: Option<ClientAuth>) -> (TestServer, SocketAddr) {
        let mut settings =
            tls::Settings::new(self.path().join("upstream.pem"), self.path().join("upstream.key"));
        if let Some(auth) = auth {
            settings = settings.with_client_ca(self.path().join("edges.pem"), auth);
        }
        let tls = Arc::new(ServerTls::load(settings, Os::shared()).unwrap());
        let answer = |request: Request<Body>| async move {
            let caller = highball::Rpc::of(request.extensions()).map(|rpc| format!("{:?}", rpc.caller));
            stub::messages(&[caller.unwrap_or_default().as_bytes()])
        };
        let backend = TestServer::start(server(answer).listen_tls("127.0.0.1:0".parse().unwrap(), tls)).await;
        let ListenAddr::Tcp(addr) = backend.addrs[0] else { panic!("a TCP address") };
        (backend, addr)
    }
}

/// The DNS names of the certificate that a client is shown which asks for this name; an address asks for none.
async fn shown(files: &Files, edge: &World, name: &str) -> Result<Vec<String>, String> {
    let settings = tls::client::Settings::new().with_roots(files.path().join("ca.pem"));
    let client = ClientTls::load(settings, Os::shared()).unwrap();
    let io = TcpStream::connect(edge.addr()).await.unwrap();
    let connected = client.connect(Box::new(io), name, &[Alpn::Http2]).await;
    let connected = connected.map_err(|error| error.to_string())?;
    let (certificate, _) = connected.session.certificate.unwrap();
    Ok(certificate.dns_names.clone())
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let (files, ca, backend) = (Files::new(), Authority::new("ca"), Recorder::start("shop").await);
    files.put("ca.pem", &ca.pem());
    files.pair("one", &ca.server());
    let two = ca.leaf(|params| {
        pki::client_params(params, "two");
        params.extended_key_usages.clear();
    });
    files.pair("two", &two);
    let pairs = "pairs = [{ certificate = 'one.pem', key = 'one.key' }, { certificate = 'two.pem', key = 'two.key' }]";
    let file = File::to(&[backend.addr()]);
    for strict in [false, true] {
        let edge = files.edge(&format!("{pairs}, strict_names = {strict}"), &file).await;
        edge.all_ready().await;
        assert_eq!(shown(&files, &edge, "localhost").await.unwrap(), ["localhost"]);
        assert_eq!(shown(&files, &edge, "two.example").await.unwrap(), ["two.example"]);
        // An address, and a name that nothing is for: shown the first, which is not for them, or nothing.
        for name in ["127.0.0.1", "three.example"] {
            let refused = shown(&files, &edge, name).await.unwrap_err();
            assert_eq!(refused.contains("localhost"), !strict, "{refused}");
        }
        let config = pki::client_config(&ca.roots(), None, &[&TLS13]);
        let client = Client::tls(edge.addr(), config).await.unwrap();
        says(&client, GET, &[]).await;
        drop(client);
        edge.drained().await;
    }
}

#[tokio::test]
async fn callers_are_told_by_their_certificates() {
    let (files, ca, clients) = (Files::new(), Authority::new("ca"), Authority::new("clients"));
    let backend = Recorder::start("shop").await;
    files.pair("one", &ca.server());
    files.put("clients.pem", &clients.pem());
    let file = File::to(&[backend.addr()]).route("rate = { per_second = 0.01, burst = 2 }");
    let edge = files.edge("certificate = 'one.pem', key = 'one.key', client_ca = 'clients.pem'", &file).await;
    edge.all_ready().await;
    let client =
        |pair: Option<&Pair>| Client::tls(edge.addr(), pki::client_config(&ca.roots(), pair, &[&TLS13]));
    let alice = clients.client("alice");
    for _ in 0..2 {
        says(&client(Some(&alice)).await.unwrap(), GET, &[]).await;
    }
    // Over another connection, too.
    let third = client(Some(&alice)).await.unwrap().unary(GET, b"").await;
    assert_eq!(third.code(), Code::ResourceExhausted);
    says(&client(Some(&clients.client("bob"))).await.unwrap(), GET, &[]).await;
    // TLS 1.3 lets a client finish before the server has looked: the refusal comes with the first bytes that are read.
    for refused in [None, Some(Authority::new("others").client("eve"))] {
        let tried = client(refused.as_ref()).await;
        if let Ok(connection) = tried {
            let end = tokio::time::timeout(PATIENCE, connection.closed()).await.expect("it is closed");
            assert!(end.is_err());
        }
    }
    assert_eq!(backend.seen().len(), 3);
    edge.drained().await;
}

#[tokio::test]
async fn backends_are_verified_and_shown_who_calls() {
    let (files, ca, edges) = (Files::new(), Authority::new("ca"), Authority::new("edges"));
    files.pair("upstream", &ca.server());
    files.pair("edge", &edges.client("edge"));
    files.put("ca.pem", &ca.pem());
    files.put("other.pem", &Authority::new("other").pem());
    files.put("edges.pem", &edges.pem());
    let (plain, plain_addr) = files.backend(None).await;
    let (mutual, mutual_addr) = files.backend(Some(ClientAuth::Required)).await;
    let own = "certificate = 'edge.pem', key = 'edge.key'";
    for (addr, tls, want) in [
        (plain_addr, "ca = 'ca.pem', server_name = 'localhost'".to_owned(), Ok("")),
        (
            plain_addr,
            "ca = 'other.pem', server_name = 'localhost'".to_owned(),
            Err("comes from a CA that is not in"),
        ),
        (plain_addr, "ca = 'ca.pem', server_name = 'shop.example'".to_owned(), Err("shop.example")),
        (
            mutual_addr,
            format!("ca = 'ca.pem', server_name = 'localhost', {own}"),
            Ok("spiffe://example.org/edge"),
        ),
        (mutual_addr, "ca = 'ca.pem', server_name = 'localhost'".to_owned(), Err("certificate")),
    ] {
        let file = File::to(&[addr]).cluster(&format!("tls = {{ {tls} }}"));
        let edge = files.edge("", &file).await;
        let client = edge.client().await;
        let reply = tokio::time::timeout(PATIENCE, client.unary(GET, b"")).await.unwrap();
        match want {
            Ok(caller) => {
                assert_eq!(reply.code(), Code::Ok, "{tls}: {:?}", reply.status());
                let said = String::from_utf8_lossy(&reply.messages[0]).into_owned();
                assert!(said.contains(caller), "{said}");
            }
            Err(why) => {
                assert_eq!(reply.code(), Code::Unavailable, "{tls}");
                assert!(reply.status().message().contains("shop"), "names the cluster: {:?}", reply.status());
                let page = edge.page("/edge").await.to_string();
                assert!(page.contains(why), "{tls}: {page}");
            }
        }
        drop(client);
        edge.drained().await;
    }
    plain.drained().await;
    mutual.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_both_sides_change_under_load_without_a_failed_call() {
    let (files, edges) = (Files::new(), Authority::new("edges"));
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    files.pair("one", &old.server());
    files.pair("upstream", &old.server());
    files.pair("edge", &edges.client("edge-old"));
    files.put("ca.pem", &(old.pem() + &new.pem()));
    files.put("edges.pem", &edges.pem());
    let (backend, addr) = files.backend(Some(ClientAuth::Required)).await;
    let tls =
        "tls = { ca = 'ca.pem', server_name = 'localhost', certificate = 'edge.pem', key = 'edge.key' }";
    let file = File::to(&[addr]).cluster(tls);
    let listener = "certificate = 'one.pem', key = 'one.key'";
    let edge = files.edge(listener, &file).await;
    edge.all_ready().await;
    let (stop, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut load = tokio::task::JoinSet::new();
    let mut both = old.roots();
    both.roots.extend(new.roots().roots);
    for _ in 0..4 {
        let (stop, made, entrance) = (stop.clone(), made.clone(), edge.addr());
        let config = pki::client_config(&both, None, &[&TLS13]);
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Connections do not last, so that new ones meet the new certificate.
                let client = Client::tls(entrance, config.clone()).await.unwrap();
                for _ in 0..20 {
                    says(&client, GET, &[]).await;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    files.pair("one", &new.server());
    files.pair("upstream", &new.server());
    files.pair("edge", &edges.client("edge-new"));
    until("both sides have read their files again", || {
        let page = edge.telemetry.render();
        let success = |name: &str| {
            page.lines().any(|line| {
                line.starts_with(name)
                    && (line.contains("taken") || line.contains("success"))
                    && !line.ends_with(" 0")
            })
        };
        success("tls_reloads_total{") && success("channel_tls_reloads_total{")
    })
    .await;
    let so_far = made.load(Ordering::Relaxed);
    until("calls go on", || made.load(Ordering::Relaxed) > so_far + 100 || load.is_empty()).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    // New connections show the new certificates, in both directions: a cluster that changed makes some.
    let changed = files.text(listener, &file.clone().cluster("connect_timeout = '6s'"));
    let changed = highball_edge::settings::read::read(&changed, files.path()).unwrap().settings;
    edge.reloader.reload(changed).unwrap();
    let config = pki::client_config(&new.roots(), None, &[&TLS13]);
    let client = Client::tls(edge.addr(), config).await.unwrap();
    let said = says(&client, GET, &[]).await;
    assert!(said.contains("edge-new"), "{said}");
    drop(client);
    edge.drained().await;
    backend.drained().await;
}
