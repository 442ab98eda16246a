//! Every bad file is one sentence: which, what, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use highball_net::tls::{ClientAuth, ServerTls, Settings};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use crate::mtls::settings;
use crate::world::{Authority, World};

#[track_caller]
pub(crate) fn refused(world: &World, settings: Settings, file: &str, parts: &[&str]) {
    let error = ServerTls::load(settings, world.clock.clone()).expect_err("it must not load");
    let sentence = error.to_string();
    let named = error.file().map(|path| path.file_name().unwrap().to_str().unwrap());
    assert_eq!(named.unwrap_or_default(), file, "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
    assert!(!sentence.contains('\n'), "{sentence}");
}

#[test]
fn a_bad_certificate_says_what_is_wrong() {
    let world = World::new();
    let check = |content: &str, parts: &[&str]| {
        world.put("server.pem", content);
        refused(&world, world.settings(), "server.pem", parts);
    };
    check("", &["no PEM certificate", "-inform der"]);
    check(&world.ca.server().key, &["private key and no certificate", "swapped"]);
    check("-----BEGIN CERTIFICATE-----\nAAAA\n", &["broken PEM"]);
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &["not valid X.509"]);
    let old = world.ca.leaf(|params| {
        params.not_after = date_time_ymd(2027, 1, 15);
    });
    check(&old.cert, &["expired on 2027-01-15 00:00:00 UTC", "renew"]);
    let early = world.ca.leaf(|params| {
        params.not_before = date_time_ymd(2027, 1, 16);
    });
    check(&early.cert, &["valid from 2027-01-16", "clock"]);
    let client = world.ca.leaf(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    check(&client.cert, &["not for servers"]);
    fs::remove_file(world.path("server.pem")).unwrap();
    refused(&world, world.settings(), "server.pem", &["does not exist"]);
    fs::create_dir(world.path("server.pem")).unwrap();
    refused(&world, world.settings(), "server.pem", &["is not a file"]);
}

#[test]
fn a_bad_key_says_what_is_wrong() {
    let world = World::new();
    let check = |content: &str, parts: &[&str]| {
        world.put("server-key.pem", content);
        refused(&world, world.settings(), "server-key.pem", parts);
    };
    check("", &["no PEM private key"]);
    check(&world.ca.pem(), &["no PEM private key", "right file"]);
    check(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        &["encrypted", "openssl pkey"],
    );
    check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &["not supported"]);
    check(&world.ca.server().key, &["not the key of the first certificate in", "server.pem"]);
    check(&"#".repeat((16 << 20) + 1), &["larger than 16 MiB"]);
    assert!(
        !format!("{:?}", ServerTls::load(world.settings(), world.clock.clone())).contains("####"),
        "no content in errors"
    );
}

#[test]
fn a_bad_client_ca_or_list_says_what_is_wrong() {
    let (world, ca) = (World::new(), Authority::new("clients"));
    let with_ca = settings(&world, &[&ca], ClientAuth::Required);
    let with_crl = with_ca.clone().with_crl(world.path("crl.pem"));
    refused(&world, with_crl.clone(), "crl.pem", &["does not exist"]);
    world.put("crl.pem", &ca.pem());
    refused(&world, with_crl.clone(), "crl.pem", &["no PEM revocation list"]);
    world.put("crl.pem", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    refused(&world, with_crl, "crl.pem", &["not valid X.509"]);
    world.put("clients.pem", "\n");
    refused(&world, with_ca, "clients.pem", &["no PEM certificate"]);
}

#[test]
fn settings_that_contradict_themselves_are_refused() {
    let world = World::new();
    let mut settings = world.settings();
    settings.client_auth = ClientAuth::Required;
    refused(&world, settings.clone(), "", &["client_ca is not set"]);
    settings = world.settings();
    settings.client_ca = Some(world.path("clients.pem"));
    refused(&world, settings, "", &["client_auth is none", "required or optional"]);
    refused(&world, world.settings().with_crl("crl.pem"), "", &["nothing to revoke"]);
}

#[test]
fn a_key_that_everybody_may_read_is_reported() {
    let world = World::new();
    let mode = |mode| {
        fs::set_permissions(world.path("server-key.pem"), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let server = world.load(world.settings());
    let readable = || server.facts().certificates.iter().any(|certificate| certificate.key_readable_by_all);
    assert!(readable());
    mode(0o600);
    server.reload().unwrap();
    assert!(!readable());
}

#[test]
fn the_facts_name_what_is_in_force() {
    let world = World::new();
    let server = world.load(world.settings());
    let facts = server.facts();
    let [certificate] = &facts.certificates[..] else { panic!("{facts:?}") };
    assert_eq!(certificate.file, world.path("server.pem"));
    assert_eq!(
        (&certificate.certificate.dns_names, certificate.not_after),
        (&certificate.server_names, server.not_after())
    );
    assert_eq!(certificate.server_names, ["localhost"]);
    assert_eq!((facts.client_auth, facts.client_cas, facts.crl_next_update), (ClientAuth::None, 0, None));
    assert!(!format!("{server:?}").contains("PRIVATE"));
}
