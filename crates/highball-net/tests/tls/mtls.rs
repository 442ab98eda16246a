//! Clients with certificates, and without.

use std::time::Duration;

use highball_net::tls::{ClientAuth, ServerTls, Settings};
use rcgen::{CustomExtension, SerialNumber, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use crate::world::{Authority, DAY, Pair, World, client_params};

/// A server that asks clients for a certificate of `ca`.
pub(crate) fn asking(world: &World, ca: &Authority, client_auth: ClientAuth) -> ServerTls {
    world.load(settings(world, &[ca], client_auth))
}

/// Its settings, with the files in place.
pub(crate) fn settings(world: &World, cas: &[&Authority], client_auth: ClientAuth) -> Settings {
    put_cas(world, cas);
    world.settings().with_client_ca(world.path("clients.pem"), client_auth)
}

pub(crate) fn put_cas(world: &World, cas: &[&Authority]) {
    let bundle: String = cas.iter().map(|ca| ca.pem()).collect();
    world.put("clients.pem", &bundle);
}

#[tokio::test]
async fn the_names_of_a_verified_certificate_are_the_callers_identity() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = asking(&world, &ca, client_auth);
        for version in [&TLS12, &TLS13] {
            let client = world.client().showing(&ca.client("billing")).speaking(version);
            let (accepted, _stream) = client.accepted(&server).await;
            let caller = accepted.certificate.expect("it showed a certificate");
            assert_eq!(caller.common_name.as_deref(), Some("billing"));
            assert_eq!(caller.dns_names, ["billing.example"]);
            assert_eq!(caller.spiffe_id(), Some("spiffe://example.org/billing"));
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_only_where_one_is_required() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let required = asking(&world, &ca, ClientAuth::Required);
    for version in [&TLS12, &TLS13] {
        let (label, _) = world.client().speaking(version).refused(&required).await;
        assert_eq!(label, "CERTIFICATE_REQUIRED");
    }
    let optional = asking(&world, &ca, ClientAuth::Optional);
    let (accepted, _stream) = world.client().accepted(&optional).await;
    assert_eq!(accepted.certificate, None);
}

#[tokio::test]
async fn a_server_that_does_not_ask_learns_nothing() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let server = world.load(world.settings());
    let client = world.client().showing(&ca.client("billing"));
    let (accepted, _stream) = client.accepted(&server).await;
    assert_eq!(accepted.certificate, None);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_even_where_none_is_needed() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let stranger = Authority::new("strangers").client("billing");
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = asking(&world, &ca, client_auth);
        let (label, _) = world.client().showing(&stranger).refused(&server).await;
        assert_eq!(label, "CERTIFICATE_AUTHORITY_INVALID");
    }
}

#[tokio::test]
async fn a_ca_with_a_new_key_under_the_old_name_is_another_ca() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let server = asking(&world, &ca, ClientAuth::Required);
    let namesake = Authority::new("clients").client("billing");
    let (label, sentence) = world.client().showing(&namesake).refused(&server).await;
    assert_eq!(label, "SIGNATURE_VERIFICATION_FAILED", "{sentence}");
}

#[tokio::test]
async fn dates_are_judged_by_the_platforms_clock() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let server = asking(&world, &ca, ClientAuth::Required);
    let pair = ca.leaf(|params| {
        client_params(params, "billing");
        params.not_before = date_time_ymd(2027, 1, 16);
        params.not_after = date_time_ymd(2027, 1, 18);
    });
    let client = world.client().showing(&pair);
    let (label, sentence) = client.refused(&server).await;
    assert_eq!(label, "CERTIFICATE_NOT_YET_VALID");
    assert!(sentence.contains("2027-01-16 00:00:00 UTC"), "{sentence}");
    world.clock.advance(DAY);
    let (accepted, _stream) = client.accepted(&server).await;
    assert!(accepted.certificate.is_some());
    world.clock.advance(2 * DAY);
    let (label, sentence) = client.refused(&server).await;
    assert_eq!(label, "CERTIFICATE_EXPIRED");
    assert!(sentence.contains("2027-01-18 00:00:00 UTC"), "{sentence}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let numbered = |serial| numbered(&ca, serial);
    world.put("crl.pem", &ca.crl(&[7]));
    let settings = settings(&world, &[&ca], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let server = world.load(settings);
    let (label, _) = world.client().showing(&numbered(7)).refused(&server).await;
    assert_eq!(label, "CERTIFICATE_REVOKED");
    let (accepted, _stream) = world.client().showing(&numbered(8)).accepted(&server).await;
    assert!(accepted.certificate.is_some());
    assert!(server.facts().crl_next_update.unwrap() > server.not_after() - 900_000 * DAY);
}

/// A client certificate with a serial number of the test's choice.
pub(crate) fn numbered(ca: &Authority, serial: u8) -> Pair {
    ca.leaf(|params| {
        client_params(params, "billing");
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    })
}

#[tokio::test]
async fn a_list_past_its_next_update_still_revokes_and_locks_nobody_out() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    world.put("crl.pem", &ca.crl(&[7]));
    let settings = settings(&world, &[&ca], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let server = world.load(settings);
    world.clock.advance(10 * 366 * DAY);
    let due = server.facts().crl_next_update.unwrap();
    assert_eq!(due.duration_since(std::time::UNIX_EPOCH).unwrap(), Duration::from_secs(1_893_456_000));
    let (label, _) = world.client().showing(&numbered(&ca, 7)).refused(&server).await;
    assert_eq!(label, "CERTIFICATE_REVOKED");
    world.client().showing(&numbered(&ca, 8)).accepted(&server).await;
}

#[tokio::test]
async fn a_chain_over_an_intermediate_needs_its_list_too() {
    let (world, root) = (World::new(), Authority::new("root"));
    let below = root.intermediate("below");
    let mut pair = below.client("billing");
    pair.cert += &below.pem();
    let client = world.client().showing(&pair);
    let plain = asking(&world, &root, ClientAuth::Required);
    client.accepted(&plain).await;
    world.put("crl.pem", &root.crl(&[]));
    let with_crl = || settings(&world, &[&root], ClientAuth::Required).with_crl(world.path("crl.pem"));
    let (label, sentence) = client.refused(&world.load(with_crl())).await;
    assert_eq!(label, "CERTIFICATE_VERIFICATION_FAILED");
    assert!(sentence.contains("no list in crl"), "{sentence}");
    world.put("crl.pem", &(root.crl(&[]) + &below.crl(&[])));
    client.accepted(&world.load(with_crl())).await;
}

#[tokio::test]
async fn a_servers_certificate_does_not_pass_for_a_clients() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let server = asking(&world, &ca, ClientAuth::Required);
    let (label, sentence) = world.client().showing(&ca.server()).refused(&server).await;
    assert_eq!(label, "CERTIFICATE_VERIFICATION_FAILED");
    assert!(sentence.contains("clientAuth"), "{sentence}");
}

#[tokio::test]
async fn a_certificate_whose_names_cannot_be_read_is_refused_and_not_anonymous() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    // A subject alternative name with one DNS name (tag 2) of one byte that is no character.
    let content = vec![0x30, 3, 0x82, 1, 0xff];
    let pair = ca.leaf(|params| {
        client_params(params, "billing");
        params.subject_alt_names.clear();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
    });
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = asking(&world, &ca, client_auth);
        let (label, _) = world.client().showing(&pair).refused(&server).await;
        assert_eq!(label, "CERTIFICATE_MALFORMED");
    }
}
