//! Tokens that are refused cost an attacker more than us.

use std::fs;

use highball::auth::token::{Claims, GeneratedKey, Signer, generate};
use highball::auth::{Guard, Settings, World, token::Algorithm};
use highball::net::{Os, Platform as _, Tasks};
use highball::server::{FailedTokens, Settings as ServerSettings};
use highball::{Code, Status};
use highball_testkit::{Client, TestServer};

use crate::{CHECK, GET, server};

const RULES: &str = r#"
    [token]
    keys = { type = "jwks_file", path = "JWKS" }
    [[policy.allow]]
    name = "all"
    methods = ["shop.v1.Shop/*"]
    callers = { roles = ["reader"] }
"#;

fn token(key: &GeneratedKey, subject: &str) -> String {
    let signer = Signer::from_pem(key.private_pem.as_bytes()).unwrap();
    let claims = Claims { roles: vec!["reader".into()], ..Claims::new(subject, Os.wall_clock()) };
    format!("Bearer {}", signer.sign(&claims).unwrap())
}

/// Signed by our key, for other claims.
fn forged(key: &GeneratedKey, subject: &str) -> String {
    let (claims, other) = (token(key, subject), token(key, "somebody else"));
    let ((claims, _), (_, signature)) = (claims.rsplit_once('.').unwrap(), other.rsplit_once('.').unwrap());
    format!("{claims}.{signature}")
}

async fn call(client: &Client, authorization: &str) -> Status {
    client.call(GET, &[("authorization", authorization)], &[b""]).await.status()
}

#[tokio::test]
async fn beyond_the_rate_unknown_tokens_are_not_looked_at_and_known_ones_go_on() {
    let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let key = generate(Algorithm::EdDsa).unwrap();
    let jwks = dir.path().join("jwks.json");
    fs::write(&jwks, &key.jwks).unwrap();
    let rules: Settings = toml::from_str(&RULES.replace("JWKS", jwks.to_str().unwrap())).unwrap();
    let guard = Guard::start(&rules, World::new(tasks.spawner())).await.unwrap();
    let failed_tokens = Some(FailedTokens { per_second: 0.01, burst: 3 });
    let settings = ServerSettings { failed_tokens, ..ServerSettings::default() };
    let server = TestServer::start(server().with_guard(guard).with_settings(settings)).await;
    let (known, other) = (server.client().await, server.client().await);
    let ann = token(&key, "ann");
    assert_eq!(call(&known, &ann).await.code(), Code::Ok);
    for n in 0..3 {
        let status = call(&other, &forged(&key, &format!("eve {n}"))).await;
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "invalid token"));
    }
    // Another connection of the same address, and a good token that nobody has seen: it is told when to come back.
    for token in [forged(&key, "eve again"), token(&key, "bob")] {
        let status = call(&server.client().await, &token).await;
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("failed_tokens") && status.retry_after().is_some(), "{status:?}");
    }
    assert_eq!(call(&known, &ann).await.code(), Code::Ok);
    assert_eq!(call(&other, &ann).await.code(), Code::Ok, "also over a connection that never showed it");
    assert_eq!(other.unary(CHECK, b"").await.code(), Code::Ok, "no token, nothing to look at");
    let page = server.telemetry.render();
    assert!(page.contains("limit_hits_total{limit=\"failed_tokens\"} 2"), "{page}");
    assert!(page.contains("auth_denials_total{reason=\"bad_signature\"} 3"), "{page}");
    drop((known, other));
    server.drained().await;
}
