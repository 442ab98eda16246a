//! What dials: verification, the sentences of what fails, and files that change. The server's side is ours.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highball_net::tls::client::{Changed, ClientTls, Connected, Settings};
use highball_net::tls::{Alpn, ClientAuth, Event, HandshakeError, Reason, ServerTls};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::world::{Authority, DAY, Pair, World};

/// A client that trusts `ca.pem`, which is the CA of the world's servers.
fn settings(world: &World) -> Settings {
    world.put("ca.pem", &world.ca.pem());
    Settings::new().with_roots(world.path("ca.pem"))
}

fn load(world: &World, settings: Settings) -> ClientTls {
    ClientTls::load(settings, world.clock.clone()).unwrap_or_else(|error| panic!("{error}"))
}

fn put_client(world: &World, pair: &Pair) -> (PathBuf, PathBuf) {
    world.put("client.pem", &pair.cert);
    world.put("client-key.pem", &pair.key);
    (world.path("client.pem"), world.path("client-key.pem"))
}

async fn dial(
    client: &ClientTls,
    server: &ServerTls,
    name: &str,
) -> (Result<Connected, HandshakeError>, Option<highball_net::tls::Accepted>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connected, accepted) =
        tokio::join!(client.connect(Box::new(near), name, &[Alpn::Http2]), server.accept(Box::new(far)));
    (connected, accepted.ok())
}

async fn refused(client: &ClientTls, server: &ServerTls, name: &str) -> (Reason, String) {
    let (connected, _) = dial(client, server, name).await;
    let error = connected.expect_err("it must be refused");
    (error.reason(), error.to_string())
}

#[tokio::test]
async fn a_verified_server_is_spoken_to_and_known() {
    let world = World::new();
    let server = world.load(world.settings());
    let client = load(&world, settings(&world));
    for name in ["localhost", "localhost."] {
        let (connected, accepted) = dial(&client, &server, name).await;
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        connected.io.write_all(b"hello").await.unwrap();
        connected.io.flush().await.unwrap();
        let mut bytes = [0; 5];
        accepted.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
        assert_eq!((connected.session.alpn, connected.session.version), (Alpn::Http2, "TLSv1_3"));
        let (names, not_after) = connected.session.certificate.unwrap();
        assert_eq!((&names.dns_names[..], not_after), (&["localhost".to_owned()][..], server.not_after()));
        assert!(!accepted.resumed, "every handshake verifies");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_says_which() {
    let world = World::new();
    let other = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("a.example".try_into().unwrap())];
    };
    world.put_server(&world.ca.leaf(other));
    let server = world.load(world.settings());
    let client = load(&world, settings(&world));
    let (reason, sentence) = refused(&client, &server, "b.example").await;
    assert_eq!(reason, Reason::CertificateHostnameMismatch);
    assert_eq!(sentence, "the server's certificate is valid for a.example, you dialled b.example");
    let (_, sentence) = refused(&client, &server, "10.0.0.1").await;
    assert!(sentence.ends_with("valid for a.example, you dialled 10.0.0.1"), "{sentence}");
    let (_, sentence) = refused(&client, &server, "no name").await;
    assert!(sentence.contains("no certificate can be for \"no name\""), "{sentence}");
    // The name of the settings takes the place of the one that is dialled.
    let client = load(&world, settings(&world).with_server_name("a.example"));
    let (connected, _) = dial(&client, &server, "b.example").await;
    connected.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_says_why() {
    let world = World::new();
    let client = load(&world, settings(&world));
    let server = |pair: &Pair| {
        world.put_server(pair);
        world.load(world.settings())
    };
    let expired = server(&world.ca.leaf(|params| params.not_after = date_time_ymd(2027, 1, 20)));
    world.clock.advance(DAY * 10);
    let (reason, sentence) = refused(&client, &expired, "localhost").await;
    assert_eq!(reason, Reason::CertificateExpired);
    assert!(sentence.ends_with("expired on 2027-01-20 00:00:00 UTC"), "{sentence}");
    let stranger = server(&Authority::new("stranger").server());
    let (reason, sentence) = refused(&client, &stranger, "localhost").await;
    assert_eq!(reason, Reason::CertificateAuthorityInvalid);
    assert!(sentence.contains(&world.path("ca.pem").display().to_string()), "{sentence}");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so_after_the_handshake() {
    let world = World::new();
    let clients = Authority::new("client ca");
    world.put("client-ca.pem", &clients.pem());
    let server =
        world.load(world.settings().with_client_ca(world.path("client-ca.pem"), ClientAuth::Required));
    // TLS 1.3: the client is through before it is refused, and hears of it when it reads.
    let read = async |client: &ClientTls| {
        let (connected, _) = dial(client, &server, "localhost").await;
        let error = connected.unwrap().io.read(&mut [0; 16]).await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<HandshakeError>()).unwrap();
        (inner.reason(), error.to_string())
    };
    let (reason, sentence) = read(&load(&world, settings(&world))).await;
    assert_eq!(reason, Reason::CertificateRequired);
    assert!(sentence.contains("requires a certificate of the client's"), "{sentence}");
    let (cert, key) = put_client(&world, &Authority::new("stranger").client("alice"));
    let (reason, sentence) = read(&load(&world, settings(&world).with_identity(cert, key))).await;
    assert_eq!(reason, Reason::CertificateRefusedByServer);
    assert!(sentence.contains("refused this client's certificate"), "{sentence}");
    let (cert, key) = put_client(&world, &clients.client("alice"));
    let client = load(&world, settings(&world).with_identity(cert, key));
    let (connected, accepted) = dial(&client, &server, "localhost").await;
    connected.unwrap();
    let names = accepted.unwrap().certificate.unwrap();
    assert_eq!(names.common_name.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_server_without_http2_is_refused_and_one_that_is_asked_for_less_is_not() {
    let world = World::new();
    let client = load(&world, settings(&world));
    let server = rustls_server(&world, &[]);
    for (offered, agreed) in [(&[Alpn::Http2][..], None), (&[Alpn::Http2, Alpn::Http1], Some(Alpn::Http1))] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (connected, _server) =
            tokio::join!(client.connect(Box::new(near), "localhost", offered), server.accept(far));
        match (connected, agreed) {
            (Ok(connected), Some(agreed)) => assert_eq!(connected.session.alpn, agreed),
            (Err(error), None) => assert_eq!(error.reason(), Reason::NoApplicationProtocol, "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
    let http1 = rustls_server(&world, &["http/1.1"]);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connected, _server) =
        tokio::join!(client.connect(Box::new(near), "localhost", &[Alpn::Http2]), http1.accept(far));
    assert_eq!(connected.unwrap_err().reason(), Reason::NoApplicationProtocol);
}

/// A TLS server that offers just these protocols.
fn rustls_server(world: &World, alpn: &[&str]) -> TlsAcceptor {
    use rustls_pki_types::pem::PemObject as _;
    let pair = world.ca.server();
    let chain = rustls_pki_types::CertificateDer::pem_slice_iter(pair.cert.as_bytes());
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_goes_away() {
    let world = World::new();
    let client = load(&world, settings(&world));
    let answering = async |answer: &[u8]| {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let answered = async {
            assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
            far.write_all(answer).await.unwrap();
            drop(far);
        };
        let (connected, ()) =
            tokio::join!(client.connect(Box::new(near), "localhost", &[Alpn::Http2]), answered);
        let error = connected.unwrap_err();
        (error.reason(), error.to_string())
    };
    // The first frame of an HTTP/2 server, and what an HTTP/1.1 server says to a TLS client.
    for plaintext in [&b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let (reason, sentence) = answering(plaintext).await;
        assert_eq!(reason, Reason::NotTls, "{sentence}");
        assert!(sentence.contains("plaintext"), "{sentence}");
    }
    let (reason, sentence) = answering(b"").await;
    assert_eq!(reason, Reason::PeerConnectionClosed, "{sentence}");
}

#[test]
fn a_file_that_cannot_be_used_is_one_sentence() {
    let world = World::new();
    let refused = |settings: Settings, parts: &[&str]| {
        let sentence = ClientTls::load(settings, world.clock.clone()).unwrap_err().to_string();
        for part in parts {
            assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
        }
    };
    refused(Settings::new().with_roots(world.path("gone.pem")), &["gone.pem", "does not exist"]);
    world.put("empty.pem", "");
    refused(Settings::new().with_roots(world.path("empty.pem")), &["empty.pem", "no PEM certificate"]);
    refused(settings(&world).with_server_name("a b"), &["server_name", "\"a b\""]);
    let pair = world.ca.client("alice");
    let (cert, key) = put_client(&world, &pair);
    world.put("client-key.pem", &world.ca.client("bob").key);
    refused(settings(&world).with_identity(&cert, &key), &["is not the key of"]);
    let server =
        world.ca.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let (cert, key) = put_client(&world, &server);
    refused(settings(&world).with_identity(cert, key), &["client.pem", "not for clients"]);
    let old = world.ca.leaf(|params| params.not_after = date_time_ymd(2027, 1, 1));
    let (cert, key) = put_client(&world, &old);
    refused(settings(&world).with_identity(cert, key), &["client.pem", "expired on 2027-01-01"]);
}

#[tokio::test]
async fn a_new_ca_counts_for_the_next_handshake_and_a_bad_file_does_not() {
    let world = World::new();
    let client = load(&world, settings(&world));
    let next = Authority::new("next ca");
    let stranger = {
        world.put_server(&next.server());
        world.load(world.settings())
    };
    let (reason, _) = refused(&client, &stranger, "localhost").await;
    assert_eq!(reason, Reason::CertificateAuthorityInvalid);
    world.put("ca.pem", "half a fi");
    let sentence = client.reload().unwrap_err().to_string();
    assert!(sentence.contains("ca.pem holds no PEM certificate"), "{sentence}");
    assert_eq!(client.facts().roots, 1, "the old one stays");
    world.put("ca.pem", &format!("{}{}", world.ca.pem(), next.pem()));
    assert_eq!(client.reload().unwrap(), Changed { roots: true, identity: false });
    assert_eq!(client.facts().roots, 2);
    let (connected, _) = dial(&client, &stranger, "localhost").await;
    connected.unwrap();
    assert!(!client.reload().unwrap().any(), "nothing new");
}

#[tokio::test(start_paused = true)]
async fn watching_tells_what_it_found_once() {
    let world = World::new();
    let client = load(&world, settings(&world));
    let seen = std::sync::Mutex::new(Vec::new());
    let report = |event: Event<Changed>| {
        let line = match event {
            Event::Reloaded(changed) => format!("reloaded {changed}"),
            Event::Rejected(_) => "rejected".to_owned(),
            Event::Restored => "restored".to_owned(),
        };
        seen.lock().unwrap().push(line);
    };
    let good = world.ca.pem();
    let script = async {
        let looks = Duration::from_secs(25);
        for content in ["", "", &good, &Authority::new("other").pem()] {
            fs::write(world.path("ca.pem"), content).unwrap();
            tokio::time::sleep(looks).await;
        }
    };
    tokio::select! {
        () = client.watch(Duration::from_secs(10), report) => {}
        () = script => {}
    }
    assert_eq!(*seen.lock().unwrap(), ["rejected", "restored", "reloaded CAs"]);
}

#[test]
fn the_systems_roots_are_found_or_missed_in_one_sentence() {
    let world = World::new();
    match ClientTls::load(Settings::new(), world.clock.clone()) {
        Ok(client) => assert!(client.facts().roots > 0),
        Err(error) => assert!(error.to_string().contains("this system has no CAs"), "{error}"),
    }
}
