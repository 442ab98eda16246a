//! `highball certs`: the files it makes are good for a server and its clients, before, during and after a rotation.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests all through; clippy sees only the functions marked as such"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use highball::net::tls::{Accepted, ClientAuth, HandshakeError, ServerTls, Settings};
use highball::net::{Os, tls};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

/// A directory that the command fills.
struct Certs(tempfile::TempDir);

impl Certs {
    /// With a CA in it.
    fn new() -> Self {
        let certs = Self(tempfile::tempdir().unwrap());
        certs.make(&["init"]);
        certs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_highball"))
            .arg("certs")
            .args(args)
            .arg("--dir")
            .arg(self.0.path())
            .output()
            .unwrap()
    }

    /// What it told the person; it must succeed.
    #[track_caller]
    fn make(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        told
    }

    /// The one sentence about what is wrong.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        told
    }

    /// A server with these files that asks every client for a certificate.
    fn server(&self) -> ServerTls {
        let settings = Settings::new(self.path("server.pem"), self.path("server-key.pem"))
            .with_client_ca(self.path("ca.pem"), ClientAuth::Required);
        ServerTls::load(settings, Os::shared()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a client trusts and shows at the moment.
    fn client(&self, name: &str) -> Client {
        Client {
            roots: self.read("ca.pem"),
            cert: self.read(&format!("client-{name}.pem")),
            key: self.read(&format!("client-{name}-key.pem")),
        }
    }
}

struct Client {
    roots: String,
    cert: String,
    key: String,
}

impl Client {
    async fn dial(&self, server: &ServerTls, name: &str) -> Result<Accepted, HandshakeError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.roots) {
            roots.add(root).unwrap();
        }
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.cert), key)
            .unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (accepted, connected) = tokio::join!(server.accept(Box::new(far)), connector.connect(name, near));
        let accepted = accepted?;
        connected.unwrap();
        Ok(accepted)
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_are_good_for_mutual_tls() {
    let certs = Certs::new();
    let told = certs.make(&["server"]);
    assert!(told.contains("wrote") && told.contains("openssl verify"), "{told}");
    certs.make(&["client", "billing", "--spiffe", "spiffe://example.org/billing"]);
    certs.make(&["client", "shop", "--name", "shop.example"]);
    let server = certs.server();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let accepted = certs.client("billing").dial(&server, name).await.unwrap();
        let caller = accepted.certificate.unwrap();
        assert_eq!(caller.common_name.as_deref(), Some("billing"));
        assert_eq!(caller.spiffe_id(), Some("spiffe://example.org/billing"));
    }
    let accepted = certs.client("shop").dial(&server, "localhost").await.unwrap();
    assert_eq!(accepted.certificate.unwrap().dns_names, ["shop.example"]);
    for key in ["ca-key.pem", "server-key.pem", "client-billing-key.pem"] {
        assert_eq!(mode(&certs.path(key)), 0o600, "{key}");
    }
    assert_eq!(certs.read(".gitignore"), "*-key.pem\n");
    let left: Vec<_> = fs::read_dir(certs.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".draft"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_server_is_known_by_the_names_it_was_given() {
    let certs = Certs::new();
    certs.make(&["server", "--name", "a.example", "--name", "10.0.0.7", "--days", "1"]);
    certs.make(&["client", "billing"]);
    let server = certs.server();
    let facts = server.facts();
    let names = facts.certificates.iter().flat_map(|certificate| &certificate.certificate.dns_names);
    assert_eq!(names.collect::<Vec<_>>(), ["a.example"]);
    for name in ["a.example", "10.0.0.7"] {
        assert!(certs.client("billing").dial(&server, name).await.is_ok());
    }
    let lifetime = server
        .not_after()
        .duration_since(fs::metadata(certs.path("server.pem")).unwrap().modified().unwrap());
    let hours = lifetime.unwrap().as_secs().div_ceil(3600);
    assert_eq!(hours, 24);
}

#[tokio::test]
async fn a_rotation_locks_nobody_out_until_it_is_finished() {
    let certs = Certs::new();
    certs.make(&["server"]);
    certs.make(&["client", "billing"]);
    let (server, old) = (certs.server(), certs.client("billing"));

    let told = certs.make(&["rotate"]);
    for step in ["1. distribute", "2. then issue", "3. when all", "--finish"] {
        assert!(told.contains(step), "{told}");
    }
    assert_eq!(certificates(&certs.read("ca.pem")).len(), 2);
    assert_eq!(server.reload().unwrap().to_string(), "client CA");
    old.dial(&server, "localhost").await.unwrap();
    let told = certs.refused(&["rotate"]);
    assert!(told.contains("under way"), "{told}");
    let told = certs.refused(&["rotate", "--finish"]);
    assert!(told.contains("server.pem") && told.contains("client-billing.pem"), "{told}");

    certs.make(&["server"]);
    certs.make(&["client", "billing"]);
    server.reload().unwrap();
    let new = certs.client("billing");
    new.dial(&server, "localhost").await.unwrap();
    let late = Client { roots: certs.read("ca.pem"), ..old };
    late.dial(&server, "localhost").await.unwrap();

    certs.make(&["rotate", "--finish"]);
    assert_eq!(certificates(&certs.read("ca.pem")).len(), 1);
    server.reload().unwrap();
    new.dial(&server, "localhost").await.unwrap();
    let error = late.dial(&server, "localhost").await.unwrap_err();
    assert_eq!(error.reason(), tls::Reason::CertificateAuthorityInvalid);
}

#[test]
fn a_rotation_that_stops_between_its_files_can_still_issue() {
    let certs = Certs::new();
    let key = certs.read("ca-key.pem");
    certs.make(&["rotate"]);
    // As if it had stopped after the bundle.
    fs::write(certs.path("ca-key.pem"), key).unwrap();
    certs.make(&["server"]);
    certs.server();
}

#[test]
fn a_ca_is_not_overwritten_by_accident() {
    let certs = Certs::new();
    let before = (certs.read("ca.pem"), certs.read("ca-key.pem"));
    let told = certs.refused(&["init"]);
    assert!(told.contains("rotate") && told.contains("--force"), "{told}");
    assert_eq!((certs.read("ca.pem"), certs.read("ca-key.pem")), before);
    fs::remove_file(certs.path("ca.pem")).unwrap();
    certs.refused(&["init"]);
    assert_eq!(certs.read("ca-key.pem"), before.1, "half a CA is one too");
    certs.make(&["init", "--force"]);
    assert_ne!(certs.read("ca-key.pem"), before.1);
}

#[test]
fn every_mistake_is_one_sentence_and_exit_code_2() {
    let empty = Certs(tempfile::tempdir().unwrap());
    let certs = Certs::new();
    let cases: [(&Certs, &[&str], &str); 8] = [
        (&empty, &["server"], "highball certs init"),
        (&empty, &["rotate"], "cannot read"),
        (&certs, &["rotate", "--finish"], "no rotation to finish"),
        (&certs, &["server", "--name", "https://a"], "neither a DNS name"),
        (&certs, &["server", "--name", "a.example:443"], "neither a DNS name"),
        (&certs, &["client", "../evil"], "file name"),
        (&certs, &["client", "a b"], "file name"),
        (&certs, &["client", "a_b", "--name", ""], "neither a DNS name"),
    ];
    for (certs, args, part) in cases {
        let told = certs.refused(args);
        assert!(told.contains(part), "{args:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for uri in [
        "https://a",
        "spiffe://",
        "spiffe://Example.org/a",
        "spiffe://a/",
        "spiffe://a//b",
        "spiffe://a/../b",
        "spiffe://a/b?c",
    ] {
        let told = certs.refused(&["client", "a", "--spiffe", uri]);
        assert!(told.contains("spiffe://example.org/billing"), "{told}");
    }
    certs.refused(&["server", "--days", "0"]);
}
