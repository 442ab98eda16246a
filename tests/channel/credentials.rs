//! Credentials with each call: who is called knows who calls, and nobody on the way does.

mod oauth2;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use highball::auth::credentials::{Credentials, DangerOverPlaintext, StaticToken, TokenFile};
use highball::auth::token::{Algorithm, Claims, GeneratedKey, Signer, generate};
use highball::auth::{Guard, Settings, World};
use highball::net::tls::client::{ClientTls, Roots, Settings as ClientSettings};
use highball::net::tls::{ServerTls, Settings as ServerSettings};
use highball::net::{Os, Platform as _, Tasks};
use highball::{ChannelError, Code, ListenAddr, Rpc, Telemetry};
use highball_testkit::pki::Authority;

use super::*;

const RULES: &str = r#"
    [token]
    keys = { type = "jwks_file", path = "JWKS" }
    issuer = "https://login.example"
    audiences = ["shop"]

    [[policy.allow]]
    name = "callers with a token"
    methods = ["shop.v1.Shop/Get"]
    callers = { roles = ["reader"] }
"#;

/// A server on TLS that lets readers in and answers with the caller's name.
pub(crate) struct Guarded {
    server: TestServer,
    ca: Authority,
    key: GeneratedKey,
    dir: tempfile::TempDir,
    _tasks: Tasks,
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        let (dir, tasks, ca) = (tempfile::tempdir().unwrap(), Tasks::new(), Authority::new("shop ca"));
        let (key, pair) = (generate(Algorithm::EdDsa).unwrap(), ca.server());
        for (name, content) in [
            ("jwks.json", &key.jwks),
            ("cert.pem", &pair.cert),
            ("key.pem", &pair.key),
            ("ca.pem", &ca.pem()),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let path = |name: &str| dir.path().join(name);
        let rules = RULES.replace("JWKS", path("jwks.json").to_str().unwrap());
        let settings: Settings = toml::from_str(&rules).unwrap();
        let guard = Guard::start(&settings, World::new(tasks.spawner())).await.unwrap();
        let tls =
            ServerTls::load(ServerSettings::new(path("cert.pem"), path("key.pem")), Os::shared()).unwrap();
        let server = Server::new(stub::service(name_the_caller)).with_descriptors(SHOP_DESCRIPTORS);
        let server = server.with_guard(guard).listen_tls("127.0.0.1:0".parse().unwrap(), Arc::new(tls));
        Self { server: TestServer::start(server).await, ca, key, dir, _tasks: tasks }
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        let claims = Claims {
            issuer: Some("https://login.example".to_owned()),
            audiences: vec!["shop".to_owned()],
            roles: vec!["reader".to_owned()],
            ..Claims::new(subject, Os.wall_clock())
        };
        Signer::from_pem(self.key.private_pem.as_bytes()).unwrap().sign(&claims).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Over TLS, with `credentials`.
    pub(crate) fn channel(&self, credentials: Arc<dyn Credentials>, telemetry: &Telemetry) -> Channel {
        let ListenAddr::Tcp(addr) = &self.server.addrs[0] else { panic!("a TCP address") };
        let roots = Roots::File(self.path("ca.pem"));
        let tls =
            ClientTls::load(ClientSettings { roots, ..ClientSettings::default() }, Os::shared()).unwrap();
        Channel::builder(&format!("static:///localhost:{}", addr.port()))
            .with_tls(Arc::new(tls))
            .with_credentials(credentials)
            .with_telemetry(telemetry.clone())
            .build()
            .unwrap()
    }
}

async fn name_the_caller(request: Request<Body>) -> Response<Body> {
    let rpc = Rpc::of(request.extensions()).expect("the walk wrote a record");
    stub::messages(&[rpc.caller.to_string().as_bytes()])
}

fn fixed(token: &str) -> Arc<dyn Credentials> {
    Arc::new(StaticToken::new(token).unwrap())
}

#[tokio::test]
async fn a_token_is_presented_over_tls_and_handshakes_are_counted() {
    let shop = Guarded::start().await;
    let telemetry = Telemetry::new();
    let channel = shop.channel(fixed(&shop.token("ann")), &telemetry);
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
    assert!(outcome.text().contains("ann"), "{outcome:?}");
    let stranger = shop.channel(fixed("somebody.elses.token"), &telemetry);
    assert_eq!(get(&stranger).await.status.code(), Code::Unauthenticated);
    let page = telemetry.render();
    let handshakes = page.lines().find(|line| line.starts_with("grpc_client_tls_handshakes_total{"));
    let handshakes = handshakes.unwrap();
    assert!(handshakes.contains("target=\"static:///localhost:"), "{handshakes}");
    assert!(handshakes.contains("result=\"SUCCESS\"}"), "{handshakes}");
}

#[tokio::test]
async fn a_handshake_that_fails_is_counted_by_reason() {
    let shop = Guarded::start().await;
    fs::write(shop.path("ca.pem"), Authority::new("another ca").pem()).unwrap();
    let telemetry = Telemetry::new();
    let channel = shop.channel(fixed(&shop.token("ann")), &telemetry);
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    let page = telemetry.render();
    assert!(page.contains("result=\"CERTIFICATE_AUTHORITY_INVALID\"}"), "{page}");
}

#[tokio::test]
async fn a_token_file_that_is_replaced_counts_for_the_calls_that_follow() {
    let shop = Guarded::start().await;
    let path = shop.path("token");
    fs::write(&path, shop.token("ann")).unwrap();
    let telemetry = Telemetry::new();
    let channel = shop.channel(Arc::new(TokenFile::open(&path, Os::shared()).unwrap()), &telemetry);
    assert!(get(&channel).await.text().contains("ann"));
    fs::write(shop.path("next"), shop.token("bob")).unwrap();
    fs::rename(shop.path("next"), &path).unwrap();
    let replaced = async {
        while !get(&channel).await.text().contains("bob") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while !telemetry.render().contains("channel_credentials_renewals_total") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.unwrap();
}

#[tokio::test]
async fn credentials_without_tls_are_refused_wherever_the_target_is() {
    let (shop, token) = (named("shop").await, fixed("abc"));
    for target in [&*target(&[&shop]), "dns:///localhost:1", "unix:///run/shop.sock", "dns:///shop.example"] {
        let refused = Channel::builder(target).with_credentials(token.clone()).build();
        assert!(matches!(refused, Err(ChannelError::Plaintext)), "{target}");
    }
    let plain = Arc::new(DangerOverPlaintext::new(token));
    let channel = Channel::builder(&target(&[&shop])).with_credentials(plain).build().unwrap();
    assert_eq!(get(&channel).await.text(), "shop");
}
