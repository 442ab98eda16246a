//! What a handshake agrees on, and how it fails.

use std::collections::HashSet;
use std::time::Duration;

use highball_net::tls::{Alpn, HandshakeError, Reason, SUCCESS, ServerTls};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Authority, Client, World};

#[tokio::test]
async fn a_client_that_trusts_the_ca_exchanges_bytes_over_both_versions() {
    let world = World::new();
    let server = world.load(world.settings());
    for version in [&TLS12, &TLS13] {
        let client = world.client().speaking(version);
        let (mut accepted, mut stream) = client.accepted(&server).await;
        assert_eq!(accepted.alpn, Some(Alpn::Http2));
        assert_eq!((accepted.certificate, accepted.resumed), (None, false));
        stream.write_all(b"ping").await.unwrap();
        stream.flush().await.unwrap();
        let mut bytes = [0; 4];
        accepted.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
    }
}

#[tokio::test]
async fn alpn_prefers_h2_and_tolerates_a_client_without_it() {
    let world = World::new();
    let server = world.load(world.settings());
    let cases: [(&[&'static str], _); 4] = [
        (&["http/1.1", "h2"], Some(Alpn::Http2)),
        (&["http/1.1"], Some(Alpn::Http1)),
        (&["h3", "h2"], Some(Alpn::Http2)),
        (&[], None),
    ];
    for (offer, expected) in cases {
        let (accepted, stream) = world.client().offering(offer).accepted(&server).await;
        assert_eq!(accepted.alpn, expected, "{offer:?}");
        let (_, session) = stream.get_ref();
        let seen = session.alpn_protocol();
        assert_eq!(seen, expected.map(|alpn| alpn.name().as_bytes()));
    }
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_refused() {
    let world = World::new();
    let server = world.load(world.settings());
    let (label, _) = world.client().offering(&["h3", "grpc-exp"]).refused(&server).await;
    assert_eq!(label, "NO_APPLICATION_PROTOCOL");
}

#[tokio::test]
async fn tls_1_1_is_refused_and_told_so() {
    let world = World::new();
    let server = world.load(world.settings());
    // As a client of that time says it, and as a newer one does that was held down to it: with signature_algorithms (13).
    let (handshake_failure, protocol_version) = (40, 70);
    let newer = [0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    for (extensions, alert) in [(&[][..], handshake_failure), (&newer, protocol_version)] {
        let (error, answer) = raw(&server, &client_hello_1_1(extensions)).await;
        assert_eq!(error.reason().label(), "PROTOCOL_VERSION_UNSUPPORTED", "{error}");
        assert!(answer.ends_with(&[2, alert]), "a fatal alert, but {answer:?}");
    }
}

/// A ClientHello of version 3.2 with one cipher suite (RFC 4346 §7.4.1.2).
fn client_hello_1_1(extensions: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    hello.extend(extensions);
    let size = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, size + 4, 1, 0, 0, size];
    record.extend(hello);
    record
}

#[tokio::test]
async fn plaintext_on_a_tls_port_is_called_that() {
    let world = World::new();
    let server = world.load(world.settings());
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
    for bytes in [preface, request, b"SSH-2.0-OpenSSH_9.9\r\n", &[0; 64]] {
        let (error, _) = raw(&server, bytes).await;
        assert_eq!(error.reason(), Reason::NotTls, "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_not_an_unknown_failure() {
    let world = World::new();
    let server = world.load(world.settings());
    for bytes in [b"".as_slice(), &[22, 3, 1, 2, 0, 1]] {
        let (near, far) = tokio::io::duplex(64);
        let leave = async move {
            let mut near = near;
            near.write_all(bytes).await.unwrap();
        };
        let (accepted, ()) = tokio::join!(server.accept(Box::new(far)), leave);
        assert_eq!(accepted.unwrap_err().reason(), Reason::PeerConnectionClosed);
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_server_is_told_apart() {
    let world = World::new();
    let server = world.load(world.settings());
    for version in [&TLS12, &TLS13] {
        let stranger = Client::new(&Authority::new("another ca")).speaking(version);
        let (label, sentence) = stranger.refused(&server).await;
        assert_eq!(label, "CERTIFICATE_REFUSED_BY_CLIENT");
        assert!(sentence.contains("UnknownCA"), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_by_the_caller() {
    let world = World::new();
    let server = world.load(world.settings());
    let (_silent, far) = tokio::io::duplex(64);
    let limit = Duration::from_secs(10);
    let accepted = tokio::time::timeout(limit, server.accept(Box::new(far))).await;
    let error = accepted.map_err(|_| HandshakeError::timed_out(limit)).flatten().unwrap_err();
    assert_eq!(error.reason().label(), "HANDSHAKE_TIMEOUT");
    assert!(error.to_string().contains("10s"), "{error}");
}

#[test]
fn every_reason_has_a_label_of_its_own() {
    let labels: HashSet<_> = Reason::ALL.map(Reason::label).into_iter().collect();
    assert_eq!(labels.len(), Reason::ALL.len());
    assert!(!labels.contains(SUCCESS));
}

/// Sends `bytes` and nothing more: why the server refused, and what it answered.
async fn raw(server: &ServerTls, bytes: &[u8]) -> (HandshakeError, Vec<u8>) {
    let (mut near, far) = tokio::io::duplex(1 << 12);
    near.write_all(bytes).await.unwrap();
    let error = server.accept(Box::new(far)).await.expect_err("it must be refused");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (error, answer)
}
