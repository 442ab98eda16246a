//! New files for new connections, and nothing for those that are open.

use std::fs;
use std::time::Duration;

use highball_net::tls::{Changed, ClientAuth};
use rcgen::date_time_ymd;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::client::TlsStream;

use crate::mtls::{asking, numbered, put_cas, settings};
use crate::world::{Authority, DAY, World};

/// What the client was shown.
pub(crate) fn shown(stream: &TlsStream<DuplexStream>) -> CertificateDer<'static> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap();
    chain.first().unwrap().clone().into_owned()
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_an_open_one_continues() {
    let world = World::new();
    let server = world.load(world.settings());
    let (mut open, mut stream) = world.client().accepted(&server).await;
    let before = server.not_after();
    let renewed = world.ca.leaf(|params| params.not_after = date_time_ymd(2029, 1, 1));
    world.put_server(&renewed);
    let changed = server.reload().unwrap();
    assert_eq!(changed.to_string(), "certificate");
    assert!(server.not_after() < before, "the gauge follows");
    let (_new, new_stream) = world.client().accepted(&server).await;
    let expected = CertificateDer::from_pem_slice(renewed.cert.as_bytes()).unwrap();
    assert_eq!(shown(&new_stream), expected);
    assert_ne!(shown(&stream), expected);
    stream.write_all(b"still here").await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = [0; 10];
    open.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"still here");
}

#[tokio::test]
async fn a_handshake_ends_with_the_files_it_began_with() {
    let world = World::new();
    let server = world.load(world.settings());
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut accept = std::pin::pin!(server.accept(Box::new(far)));
    // It has begun once it was polled.
    let begun = tokio::time::timeout(Duration::ZERO, accept.as_mut()).await;
    assert!(begun.is_err());
    let before = fs::read(world.path("server.pem")).unwrap();
    world.put_server(&world.ca.server());
    assert!(server.reload().unwrap().any());
    let client = world.client();
    let (accepted, stream) = tokio::join!(accept, client.over(near));
    assert!(accepted.is_ok());
    let expected = CertificateDer::from_pem_slice(&before).unwrap();
    assert_eq!(shown(&stream.unwrap()), expected);
}

#[tokio::test]
async fn unchanged_files_are_not_put_in_force_again() {
    let world = World::new();
    let server = world.load(world.settings());
    world.put_server(&world.ca.server());
    assert!(server.reload().unwrap().any());
    let changed = server.reload().unwrap();
    assert_eq!(changed, Changed::default());
    assert_eq!(changed.to_string(), "nothing");
}

#[tokio::test]
async fn a_bad_new_file_is_rejected_and_the_old_set_serves() {
    let world = World::new();
    let server = world.load(world.settings());
    let (_first, before) = world.client().accepted(&server).await;
    let bad = [
        ("server-key.pem", world.ca.server().key, "is not the key of"),
        ("server-key.pem", String::new(), "holds no PEM private key"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA".to_owned(), "broken PEM"),
    ];
    for (name, content, problem) in bad {
        let good = fs::read_to_string(world.path(name)).unwrap();
        world.put(name, &content);
        let sentence = server.reload().unwrap_err().to_string();
        assert!(sentence.contains(problem), "{sentence}");
        let (_accepted, stream) = world.client().accepted(&server).await;
        assert_eq!(shown(&stream), shown(&before));
        world.put(name, &good);
    }
    assert_eq!(server.reload().unwrap(), Changed::default());
}

#[tokio::test]
async fn old_and_new_ca_are_both_good_while_both_are_in_the_bundle() {
    let (world, old, new) = (World::new(), Authority::new("old"), Authority::new("new"));
    let server = asking(&world, &old, ClientAuth::Required);
    let old_client = world.client().showing(&old.client("billing"));
    let new_client = world.client().showing(&new.client("billing"));
    old_client.accepted(&server).await;
    assert_eq!(new_client.refused(&server).await.0, "CERTIFICATE_AUTHORITY_INVALID");
    put_cas(&world, &[&old, &new]);
    assert_eq!(server.reload().unwrap().to_string(), "client CA");
    assert_eq!(server.facts().client_cas, 2);
    let (mut open, mut stream) = old_client.accepted(&server).await;
    new_client.accepted(&server).await;
    put_cas(&world, &[&new]);
    server.reload().unwrap();
    assert_eq!(old_client.refused(&server).await.0, "CERTIFICATE_AUTHORITY_INVALID");
    new_client.accepted(&server).await;
    // The connection of the old CA's client was verified once, and stays.
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(open.io.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_new_revocation_list_refuses_the_next_connection() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    world.put("crl.pem", &ca.crl(&[]));
    let settings = settings(&world, &[&ca], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let server = world.load(settings);
    let client = world.client().showing(&numbered(&ca, 9));
    client.accepted(&server).await;
    world.put("crl.pem", &ca.crl(&[9]));
    assert_eq!(server.reload().unwrap().to_string(), "revocation list");
    assert_eq!(client.refused(&server).await.0, "CERTIFICATE_REVOKED");
}

#[tokio::test]
async fn a_ca_without_its_list_is_not_put_in_force() {
    let (world, old, new) = (World::new(), Authority::new("old"), Authority::new("new"));
    world.put("crl.pem", &old.crl(&[]));
    let settings = settings(&world, &[&old], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let server = world.load(settings);
    put_cas(&world, &[&old, &new]);
    let sentence = server.reload().unwrap_err().to_string();
    assert!(sentence.contains("crl.pem holds no list of the CA \"CN=new\""), "{sentence}");
    assert_eq!(server.facts().client_cas, 1);
    world.put("crl.pem", &(old.crl(&[]) + &new.crl(&[])));
    assert_eq!(server.reload().unwrap().to_string(), "client CA, revocation list");
}

#[tokio::test]
async fn a_revocation_takes_effect_although_the_servers_own_certificate_has_expired() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    world.put_server(&world.ca.leaf(|params| params.not_after = date_time_ymd(2027, 1, 16)));
    world.put("crl.pem", &ca.crl(&[]));
    let settings = settings(&world, &[&ca], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let server = world.load(settings);
    world.clock.advance(2 * DAY);
    world.put("crl.pem", &ca.crl(&[9]));
    assert_eq!(server.reload().unwrap().to_string(), "revocation list");
    // The stolen key's owner does not mind an expired server; this client's own clock says that it is not.
    let client = world.client().showing(&numbered(&ca, 9));
    assert_eq!(client.refused(&server).await.0, "CERTIFICATE_REVOKED");
}
