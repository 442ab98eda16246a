//! Several certificates on one listener: who is shown which, and how they change.

use std::fs;

use highball_net::tls::{Changed, PAIRS_MAX, ServerTls, Settings};
use rcgen::{SanType, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::files::refused;
use crate::reload::shown;
use crate::world::{Client, DAY, Pair, World};

/// A leaf with these DNS names.
fn named(world: &World, names: &[&str]) -> Pair {
    world.ca.leaf(|params| params.subject_alt_names = dns(names))
}

fn dns(names: &[&str]) -> Vec<SanType> {
    names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()
}

/// What a client that is accepted was shown.
async fn got(client: Client, server: &ServerTls) -> CertificateDer<'static> {
    let (_accepted, stream) = client.accepted(server).await;
    shown(&stream)
}

/// `server.pem` for `localhost`, `wide.pem` for `*.example.com` and `shop.pem` for `shop.example.com`. The first is good for
/// `unknown.example` as well, and not stated for it.
struct Three {
    world: World,
    first: Pair,
    wide: Pair,
    shop: Pair,
    settings: Settings,
}

impl Three {
    fn new() -> Self {
        let world = World::new();
        let first = named(&world, &["localhost", "unknown.example"]);
        let (wide, shop) = (named(&world, &["*.example.com"]), named(&world, &["shop.example.com"]));
        let settings = Settings::of(vec![
            world.put_pair("server", &first).with_names(["localhost"]),
            world.put_pair("wide", &wide),
            world.put_pair("shop", &shop),
        ]);
        Self { world, first, wide, shop, settings }
    }

    fn load(&self) -> ServerTls {
        self.world.load(self.settings.clone())
    }

    fn client(&self, name: &'static str) -> Client {
        self.world.client().dialling(name)
    }
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let three = Three::new();
    let server = three.load();
    for version in [&TLS12, &TLS13] {
        for (name, pair) in [
            ("localhost", &three.first),
            ("shop.example.com", &three.shop),
            ("SHOP.example.com", &three.shop),
            ("cart.example.com", &three.wide),
            ("unknown.example", &three.first),
        ] {
            assert_eq!(got(three.client(name).speaking(version), &server).await, der(pair), "{name}");
        }
        let nameless = three.client("localhost").asking_for_no_name().speaking(version);
        assert_eq!(got(nameless, &server).await, der(&three.first));
    }
}

#[tokio::test]
async fn a_wildcard_covers_one_label_and_the_refusal_names_what_was_shown() {
    let three = Three::new();
    let server = three.load();
    for name in ["a.cart.example.com", "example.com"] {
        let (label, sentence) = three.client(name).refused(&server).await;
        assert_eq!(label, "CERTIFICATE_REFUSED_BY_CLIENT");
        for part in ["server.pem", name] {
            assert!(sentence.contains(part), "{part} is not in: {sentence}");
        }
    }
}

#[tokio::test]
async fn strict_names_refuse_a_client_that_asks_for_none_or_for_an_unknown_one() {
    let three = Three::new();
    let server = three.world.load(three.settings.clone().with_strict_names());
    for version in [&TLS12, &TLS13] {
        let nameless = three.client("localhost").asking_for_no_name();
        for (client, part) in
            [(three.client("unknown.example"), "unknown.example"), (nameless, "no server name")]
        {
            let (accepted, connected) = client.speaking(version).connect(&server).await;
            let error = accepted.unwrap_err();
            assert_eq!(error.reason().label(), "SERVER_NAME_UNRECOGNIZED");
            assert!(error.to_string().contains(part), "{error}");
            let told = connected.unwrap_err();
            assert!(told.to_string().contains("UnrecognisedName"), "{told}");
        }
        let shop = three.client("shop.example.com").speaking(version);
        assert_eq!(got(shop, &server).await, der(&three.shop));
    }
}

#[tokio::test]
async fn names_in_the_settings_count_instead_of_those_in_the_certificate() {
    let world = World::new();
    let both = || named(&world, &["a.example", "b.example"]);
    let (a, b) = (both(), both());
    let (pair_a, pair_b) = (world.put_pair("a", &a), world.put_pair("b", &b));
    let settings = Settings::of(vec![
        pair_a.with_names(["a.example"]),
        pair_b.with_names(["B.example", "*.b.example."]),
    ]);
    let server = world.load(settings.with_strict_names());
    assert_eq!(got(world.client().dialling("a.example"), &server).await, der(&a));
    assert_eq!(got(world.client().dialling("b.example"), &server).await, der(&b));
    let facts = server.facts();
    let names: Vec<_> = facts.certificates.iter().map(|certificate| &certificate.server_names[..]).collect();
    assert_eq!(names, [&["a.example"][..], &["B.example", "*.b.example."]]);
}

#[tokio::test]
async fn a_session_is_resumed_with_several_certificates_as_with_one() {
    let three = Three::new();
    let server = three.load();
    let client = three.client("cart.example.com");
    for resumed in [false, true] {
        let (mut accepted, mut stream) = client.accepted(&server).await;
        assert_eq!(accepted.resumed, resumed);
        accepted.io.write_all(b"x").await.unwrap();
        accepted.io.flush().await.unwrap();
        stream.read_u8().await.unwrap();
    }
}

#[tokio::test]
async fn one_of_three_is_renewed_and_the_others_stay() {
    let three = Three::new();
    let server = three.load();
    let renewed = named(&three.world, &["shop.example.com", "new.example"]);
    three.world.put_pair("shop", &renewed);
    assert_eq!(server.reload().unwrap().to_string(), "certificate");
    for (name, pair) in
        [("shop.example.com", &renewed), ("new.example", &renewed), ("cart.example.com", &three.wide)]
    {
        assert_eq!(got(three.client(name), &server).await, der(pair), "{name}");
    }
    assert_eq!(server.reload().unwrap(), Changed::default());
}

#[tokio::test]
async fn one_bad_file_keeps_the_whole_old_set() {
    let three = Three::new();
    let server = three.load();
    let world = &three.world;
    let before = fs::read_to_string(world.path("shop.pem")).unwrap();
    world.put_pair("wide", &named(world, &["*.example.com"]));
    for (content, problem) in [
        (named(world, &["shop.example.com"]).cert, "shop-key.pem is not the key of the first certificate in"),
        (String::new(), "shop.pem holds no PEM certificate"),
    ] {
        world.put("shop.pem", &content);
        let sentence = server.reload().unwrap_err().to_string();
        assert!(sentence.contains(problem), "{sentence}");
        assert_eq!(got(three.client("cart.example.com"), &server).await, der(&three.wide));
    }
    world.put_pair("shop", &named(world, &["shop.example.com", "*.example.com"]));
    let sentence = server.reload().unwrap_err().to_string();
    assert!(sentence.contains("shop.pem is for \"*.example.com\", and so is"), "{sentence}");
    world.put_pair("shop", &three.shop);
    assert_eq!(before, three.shop.cert);
    assert!(server.reload().unwrap().certificate);
    assert_ne!(got(three.client("cart.example.com"), &server).await, der(&three.wide));
}

#[tokio::test]
async fn a_certificate_that_expired_in_service_does_not_keep_another_from_being_renewed() {
    let three = Three::new();
    let world = &three.world;
    let soon = |name: &'static str| {
        world.ca.leaf(|params| {
            params.subject_alt_names = dns(&[name]);
            params.not_after = date_time_ymd(2027, 1, 16);
        })
    };
    world.put_pair("wide", &soon("*.example.com"));
    world.put_pair("shop", &soon("shop.example.com"));
    let server = three.load();
    world.clock.advance(2 * DAY);
    world.put_pair("shop", &three.shop);
    server.reload().unwrap();
    assert_eq!(got(three.client("shop.example.com"), &server).await, der(&three.shop));
    // One that is new to this server must be valid.
    world.put_pair("wide", &soon("*.example.com"));
    let sentence = server.reload().unwrap_err().to_string();
    assert!(sentence.contains("wide.pem expired on"), "{sentence}");
}

#[test]
fn a_name_that_two_claim_is_named_with_both_files() {
    let world = World::new();
    let (first, second) = (world.put_pair("a", &named(&world, &["a.example"])), world.ca.server());
    let second = world.put_pair("b", &second).with_names(["b.example", "A.example."]);
    let settings = Settings::of(vec![first, second]);
    refused(&world, settings, "b.pem", &["\"A.example.\"", "a.pem", "state in names"]);
}

#[test]
fn a_bad_pair_is_named_by_its_file() {
    let three = Three::new();
    let world = &three.world;
    world.put("wide-key.pem", &three.shop.key);
    refused(
        world,
        three.settings.clone(),
        "wide-key.pem",
        &["not the key of the first certificate in", "wide.pem"],
    );
    world.put_pair("wide", &world.ca.leaf(|params| params.subject_alt_names = Vec::new()));
    refused(world, three.settings.clone(), "wide.pem", &["no DNS name", "names"]);
    world.put_pair("wide", &three.wide);
    world.put("shop.pem", &" ".repeat(16 << 20));
    world.put("shop-key.pem", &" ".repeat(16 << 20));
    refused(world, three.settings.clone(), "shop.pem", &["32 MiB"]);
}

#[test]
fn settings_without_a_pair_or_with_too_many_or_with_what_is_no_name_are_refused() {
    let world = World::new();
    let pair = || world.settings().pairs.remove(0);
    refused(&world, Settings::of(Vec::new()), "", &["no certificate"]);
    refused(&world, Settings::of(vec![pair(); PAIRS_MAX + 1]), "", &["257", "256"]);
    for name in ["10.0.0.1", "*", "a*.example", ""] {
        let settings = Settings::of(vec![pair().with_names([name])]);
        refused(&world, settings, "", &["server.pem", &format!("\"{name}\""), "no DNS name"]);
    }
    // Nobody could ever be shown it.
    world.put_server(&world.ca.leaf(|params| params.subject_alt_names = Vec::new()));
    world.load(world.settings());
    refused(&world, world.settings().with_strict_names(), "server.pem", &["no DNS name"]);
}

#[test]
fn the_facts_cover_every_certificate() {
    let three = Three::new();
    let soon = three.world.ca.leaf(|params| {
        params.subject_alt_names = dns(&["shop.example.com"]);
        params.not_after = date_time_ymd(2027, 6, 1);
    });
    three.world.put_pair("shop", &soon);
    let server = three.load();
    let facts = server.facts();
    let files: Vec<_> = facts.certificates.iter().map(|certificate| certificate.file.clone()).collect();
    assert_eq!(files, ["server.pem", "wide.pem", "shop.pem"].map(|name| three.world.path(name)));
    assert_eq!(facts.certificates[2].not_after, server.not_after(), "the first that expires");
}

#[tokio::test]
async fn as_many_pairs_as_allowed_are_served() {
    let world = World::new();
    let pair = world.ca.server();
    let mut settings = Settings::of(Vec::new());
    for number in 0..PAIRS_MAX {
        settings = settings.with_pair(world.put_pair("one", &pair).with_names([format!("{number}.example")]));
    }
    let server = world.load(settings);
    assert_eq!(server.facts().certificates.len(), PAIRS_MAX);
    assert_eq!(got(world.client(), &server).await, der(&pair));
}
