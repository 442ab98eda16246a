//! `highball token`: what it mints, a verifier accepts.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests all through; clippy sees only the functions marked as such"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use highball::net::Tasks;
use highball_auth::Reason;
use highball_auth::token::{KeySource, Settings, Verifier, World};

fn highball(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_highball")).arg("token").args(args).output().unwrap()
}

#[track_caller]
fn make_keys(dir: &Path, alg: &str) {
    let output = highball(&["keys", "--dir", dir.to_str().unwrap(), "--alg", alg]);
    assert!(output.status.success(), "{output:?}");
}

/// The token; nothing else may be on standard output.
#[track_caller]
fn mint(args: &[&str]) -> String {
    let output = highball(&[&["mint", "--subject", "ann"], args].concat());
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(token.lines().count(), 1, "{token}");
    token.trim_end().to_owned()
}

/// The one sentence about what is wrong.
#[track_caller]
fn refusal(args: &[&str]) -> String {
    let output = highball(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

async fn verifier(tasks: &Tasks, keys: KeySource) -> Verifier {
    let settings = Settings {
        keys: Some(keys),
        issuer: Some("https://login.example".to_owned()),
        audiences: vec!["shop".to_owned()],
        leeway: Duration::ZERO,
        ..Settings::default()
    };
    Verifier::start(&settings, World::new(tasks.spawner())).await.unwrap()
}

#[tokio::test]
async fn what_is_minted_is_verified() {
    let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    for alg in ["ES256", "EdDSA", "RS256"] {
        let dir = dir.path().join(alg);
        make_keys(&dir, alg);
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let for_us = ["--issuer", "https://login.example", "--audience", "shop", "--audience", "store"];
        let key = ["--key", &path("token-key.pem"), "--alg", alg];
        let token = mint(&[&key[..], &for_us, &["--role", "reader", "--role", "writer"]].concat());
        for keys in [
            KeySource::JwksFile { path: path("jwks.json").into() },
            KeySource::PemFile { path: path("token.pem").into(), kid: None },
        ] {
            let verifier = verifier(&tasks, keys).await;
            let known = verifier.verify(token.as_bytes()).await.unwrap();
            assert_eq!(
                (known.subject.as_str(), known.roles.as_slice()),
                ("ann", &["reader".to_owned(), "writer".to_owned()][..])
            );
            let refused = |args: &[&str]| mint(&[&key[..], args].concat());
            let elsewhere = refused(&["--issuer", "https://login.example", "--audience", "store"]);
            assert_eq!(verifier.verify(elsewhere.as_bytes()).await, Err(Reason::WrongAudience));
            let over = refused(&[&for_us[..], &["--ttl", "0s"]].concat());
            assert_eq!(verifier.verify(over.as_bytes()).await, Err(Reason::Expired));
        }
        let renamed = mint(&[&key[..], &for_us, &["--kid", "other"]].concat());
        let verifier = verifier(&tasks, KeySource::JwksFile { path: path("jwks.json").into() }).await;
        assert_eq!(verifier.verify(renamed.as_bytes()).await, Err(Reason::UnknownKey));
    }
}

#[tokio::test]
async fn a_shared_secret_signs_and_verifies() {
    let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let path: PathBuf = dir.path().join("secret");
    fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    let token = mint(&[
        "--secret-file",
        path.to_str().unwrap(),
        "--issuer",
        "https://login.example",
        "--audience",
        "shop",
    ]);
    let verifier = verifier(&tasks, KeySource::SecretFile { path, kid: None }).await;
    assert_eq!(verifier.verify(token.as_bytes()).await.unwrap().subject, "ann");
}

#[test]
fn only_the_owner_reads_the_private_key_and_no_key_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path(), "EdDSA");
    let mode = fs::metadata(dir.path().join("token-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(dir.path().join("token-key.pem")).unwrap();
    assert!(refusal(&["keys", "--dir", dir.path().to_str().unwrap()]).contains("is there already"));
    fs::remove_file(dir.path().join("token-key.pem")).unwrap();
    assert!(refusal(&["keys", "--dir", dir.path().to_str().unwrap()]).contains("token.pem is there already"));
    assert!(!before.is_empty() && !dir.path().join("token-key.pem").exists());
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path(), "ES256");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("short"), "short").unwrap();
    let mint = |args: &[&str]| refusal(&[&["mint", "--subject", "ann"], args].concat());
    assert!(mint(&["--key", &path("missing")]).contains("cannot read"));
    assert!(mint(&["--key", &path("token.pem")]).contains("holds no private key"));
    assert!(mint(&["--key", &path("jwks.json")]).contains("holds no private key"));
    assert!(
        mint(&["--key", &path("token-key.pem"), "--alg", "EdDSA"])
            .contains("is a key for ES256, not for EdDSA")
    );
    assert!(mint(&["--secret-file", &path("short")]).contains("less than 32 bytes"));
    assert!(mint(&["--secret-file", &path("token-key.pem")]).contains("which is no secret"));
    assert!(refusal(&["keys", "--dir", &path("hs"), "--alg", "HS256"]).contains("HS256 has no key pair"));
    // Flags that make no sense are clap's to explain, with the same exit code.
    for args in [
        &["mint", "--key", "k"][..],
        &["mint", "--subject", "a"],
        &["keys", "--alg", "none"],
        &["mint", "--subject", "a", "--key", "k", "--ttl", "60"],
    ] {
        assert_eq!(highball(args).status.code(), Some(2), "{args:?}");
    }
}
