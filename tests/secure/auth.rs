//! Who may call what.

use std::fs;

use highball::auth::token::{Claims, Signer, generate};
use highball::auth::{Guard, Settings, World, token::Algorithm};
use highball::net::{Os, Platform as _, Tasks};
use highball::{Code, Status};
use highball_testkit::TestServer;

use crate::{CHECK, GET, server};

const RULES: &str = r#"
    [token]
    keys = { type = "jwks_file", path = "JWKS" }
    issuer = "https://login.example"
    audiences = ["shop"]

    [[policy.allow]]
    name = "readers"
    methods = ["shop.v1.Shop/Get"]
    callers = { roles = ["reader"] }
"#;

/// A server with these rules, and who signs for it.
struct Guarded {
    server: TestServer,
    signer: Signer,
    _dir: tempfile::TempDir,
    _tasks: Tasks,
}

impl Guarded {
    async fn start() -> Self {
        let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let key = generate(Algorithm::EdDsa).unwrap();
        let jwks = dir.path().join("jwks.json");
        fs::write(&jwks, &key.jwks).unwrap();
        let settings: Settings = toml::from_str(&RULES.replace("JWKS", jwks.to_str().unwrap())).unwrap();
        let guard = Guard::start(&settings, World::new(tasks.spawner())).await.unwrap();
        let server = TestServer::start(server().with_guard(guard)).await;
        Self {
            server,
            signer: Signer::from_pem(key.private_pem.as_bytes()).unwrap(),
            _dir: dir,
            _tasks: tasks,
        }
    }

    fn token(&self, subject: &str, role: &str) -> String {
        let claims = Claims {
            issuer: Some("https://login.example".to_owned()),
            audiences: vec!["shop".to_owned()],
            roles: vec![role.to_owned()],
            ..Claims::new(subject, Os.wall_clock())
        };
        self.signer.sign(&claims).unwrap()
    }

    async fn call(&self, path: &str, authorization: Option<&str>) -> Result<String, Status> {
        let client = self.server.client().await;
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let reply = client.call(path, &headers, &[b""]).await;
        match reply.code() {
            Code::Ok => Ok(String::from_utf8_lossy(&reply.messages[0]).into_owned()),
            _ => Err(reply.status()),
        }
    }
}

#[tokio::test]
async fn a_token_names_the_caller_and_its_role_opens_the_method() {
    let guarded = Guarded::start().await;
    let token = format!("Bearer {}", guarded.token("ann", "reader"));
    assert_eq!(guarded.call(GET, Some(&token)).await, Ok("ann".to_owned()));
    guarded.server.drained().await;
}

#[tokio::test]
async fn what_is_missing_invalid_or_not_allowed_is_said_and_nothing_more() {
    let guarded = Guarded::start().await;
    let (forged, writer) = (guarded.token("eve", "reader"), guarded.token("bob", "writer"));
    let forged = format!("Bearer {}x", forged);
    let writer = format!("Bearer {writer}");
    for (authorization, code, text) in [
        (None, Code::Unauthenticated, "missing authorization token"),
        (Some("Bearer nonsense"), Code::Unauthenticated, "invalid token"),
        (Some(&*forged), Code::Unauthenticated, "invalid token"),
        (Some(&*writer), Code::PermissionDenied, "permission denied"),
    ] {
        let status = guarded.call(GET, authorization).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text), "{authorization:?}");
    }
    let page = guarded.server.telemetry.render();
    assert!(page.contains("auth_denials_total{reason=\"missing\"} 1"), "{page}");
    assert!(page.contains("auth_denials_total{reason=\"policy\"} 1"), "{page}");
    guarded.server.drained().await;
}

#[tokio::test]
async fn health_needs_no_token_and_a_method_nobody_allowed_is_closed() {
    let guarded = Guarded::start().await;
    assert!(guarded.call(CHECK, None).await.is_ok());
    let token = format!("Bearer {}", guarded.token("ann", "reader"));
    let closed = guarded.call("/shop.v1.Shop/Watch", Some(&token)).await.unwrap_err();
    assert_eq!(closed.code(), Code::PermissionDenied);
    guarded.server.drained().await;
}
