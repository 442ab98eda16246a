//! Keys at a URL: an issuer that rotates, breaks, and comes back.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use highball::Code;
use highball::auth::token::{
    Claims, GeneratedKey, JwksSettings, JwksUrl, KeySource, KeysEvent, Settings as TokenSettings, Signer,
    generate,
};
use highball::auth::{Guard, Settings, Verifier, World, policy, token::Algorithm};
use highball::net::{Os, Platform as _, Tasks};
use highball_testkit::pki::Authority;
use highball_testkit::{TestServer, Web};
use http::{Request, Response};

use crate::{GET, server};

/// Longest wait for what takes a refresh or two.
const PATIENCE: Duration = Duration::from_secs(20);

type Answer = Result<Response<Bytes>, Duration>;

/// An issuer whose answer a test changes; a duration is silence.
struct Issuer {
    web: Web,
    answer: Arc<Mutex<Answer>>,
    ca: Authority,
    dir: tempfile::TempDir,
    tasks: Tasks,
}

impl Issuer {
    async fn new(first: Answer) -> Self {
        let (ca, dir) = (Authority::new("issuer ca"), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let answer = Arc::new(Mutex::new(first));
        let scripted = answer.clone();
        let web = Web::https(&ca.server(), move |request: Request<Bytes>| {
            assert!(request.headers()["accept"].to_str().unwrap().contains("application/json"));
            let answer = scripted.lock().unwrap().clone();
            async move {
                match answer {
                    Ok(response) => response,
                    Err(silence) => {
                        tokio::time::sleep(silence).await;
                        json("")
                    }
                }
            }
        })
        .await;
        Self { web, answer, ca, dir, tasks: Tasks::new() }
    }

    fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Refreshes every second.
    fn settings(&self) -> TokenSettings {
        let ca = Some(self.dir.path().join("ca.pem"));
        let from = JwksUrl { ca, ..JwksUrl::new(self.web.url("/jwks.json")) };
        let second = Duration::from_secs(1);
        let jwks = JwksSettings {
            refresh_interval: second,
            refresh_interval_min: second,
            fetch_timeout: second,
            document_size_bytes_max: 4096,
            ..JwksSettings::default()
        };
        TokenSettings { keys: Some(KeySource::JwksUrl(from)), jwks, ..TokenSettings::default() }
    }

    async fn verifier(&self) -> Verifier {
        Verifier::start(&self.settings(), World::new(self.tasks.spawner())).await.unwrap()
    }
}

fn json(text: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().header("content-type", "application/json").body(text.into()).unwrap()
}

fn key() -> GeneratedKey {
    generate(Algorithm::EdDsa).unwrap()
}

/// A token like no other: nobody remembers it.
fn token(key: &GeneratedKey, subject: &str) -> String {
    let signer = Signer::from_pem(key.private_pem.as_bytes()).unwrap();
    signer.sign(&Claims { roles: vec!["reader".into()], ..Claims::new(subject, Os.wall_clock()) }).unwrap()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_new_key_is_taken_and_a_removed_one_is_not_honoured_any_more() {
    let (old, new) = (key(), key());
    let issuer = Issuer::new(Ok(json(old.jwks.clone()))).await;
    let verifier = issuer.verifier().await;
    let (ann, bob) = (token(&old, "ann"), token(&new, "bob"));
    assert!(verifier.verify(ann.as_bytes()).await.is_ok());
    assert!(verifier.verify(bob.as_bytes()).await.is_err());
    issuer.say(Ok(json(new.jwks.clone())));
    until("the new key is known", async || verifier.verify(bob.as_bytes()).await.is_ok()).await;
    assert!(verifier.verify(ann.as_bytes()).await.is_err(), "although it was remembered");
}

#[tokio::test]
async fn whatever_the_issuer_does_wrong_is_one_sentence_and_the_old_keys_stay() {
    let redirect = Response::builder().status(302).header("location", "/x").body(Bytes::new()).unwrap();
    let broken = Response::builder().status(503).body(Bytes::new()).unwrap();
    let page = Response::builder().header("content-type", "text/html").body(Bytes::from("<html>")).unwrap();
    let cases: Vec<(Answer, &str)> = vec![
        (Ok(broken), "answered 503 Service Unavailable"),
        (Ok(redirect), "redirects are not followed"),
        (Ok(page), "a page for people"),
        (Ok(json("{\"keys\":")), "is not a JWKS"),
        (Ok(json(vec![b' '; 5000])), "larger than 4096 bytes"),
        (Err(PATIENCE), "no whole answer within 900ms"),
    ];
    let check = async |(answer, part): (Answer, &str)| {
        let key = key();
        let issuer = Issuer::new(Ok(json(key.jwks.clone()))).await;
        let verifier = issuer.verifier().await;
        issuer.say(answer);
        until(part, async || verifier.keys().failures > 0).await;
        let report = verifier.keys();
        let error = report.error.clone().unwrap_or_default();
        assert!(error.contains(part) && error.contains("/jwks.json"), "{part}: {error}");
        assert!(report.usable);
        assert!(verifier.verify(token(&key, "ann").as_bytes()).await.is_ok(), "{part}");
        issuer.say(Ok(json(key.jwks.clone())));
        until("it is read again", async || verifier.keys().error.is_none()).await;
    };
    join_all(cases.into_iter().map(check)).await;
}

#[tokio::test]
async fn an_issuer_with_a_certificate_of_another_ca_is_not_believed() {
    let issuer = Issuer::new(Ok(json(key().jwks))).await;
    fs::write(issuer.dir.path().join("ca.pem"), Authority::new("other").pem()).unwrap();
    let verifier = issuer.verifier().await;
    let report = verifier.keys();
    assert!(!report.usable);
    let error = report.error.unwrap();
    assert!(error.contains("a CA that is not in") && error.contains("ca.pem"), "{error}");
    assert_eq!(issuer.web.asked(), 0);
    // The next attempt reads the file again.
    fs::write(issuer.dir.path().join("ca.pem"), issuer.ca.pem()).unwrap();
    until("the CA counts", async || verifier.keys().usable).await;
}

#[tokio::test]
async fn a_ca_file_that_breaks_is_told_and_the_old_one_serves() {
    let issuer = Issuer::new(Ok(json(key().jwks))).await;
    let verifier = issuer.verifier().await;
    fs::write(issuer.dir.path().join("ca.pem"), "half a fi").unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let report = move |event: &KeysEvent<'_>| {
        if let KeysEvent::Refreshed { keys: 1, warning: Some(warning), .. } = event {
            tell.take().map(|tell| tell.send((*warning).to_owned()));
        }
    };
    let warning = async {
        tokio::select! {
            () = verifier.watch_keys(report) => panic!("it is followed"),
            warning = told => warning.unwrap(),
        }
    };
    let warning = tokio::time::timeout(PATIENCE, warning).await.unwrap();
    assert!(warning.contains("ca.pem holds no PEM certificate"), "{warning}");
}

#[tokio::test]
async fn plain_http_serves_on_this_machine_only() {
    let key = key();
    let document = key.jwks.clone();
    let web = Web::http(move |_| std::future::ready(json(document.clone()))).await;
    let tasks = Tasks::new();
    let settings = |url: &str| TokenSettings {
        keys: Some(KeySource::JwksUrl(JwksUrl::new(url))),
        ..TokenSettings::default()
    };
    let world = World::new(tasks.spawner());
    let verifier = Verifier::start(&settings(&web.url("/")), world.clone()).await.unwrap();
    assert!(verifier.verify(token(&key, "ann").as_bytes()).await.is_ok());
    let error = Verifier::start(&settings("http://login.example/"), world).await.unwrap_err();
    assert!(error.to_string().contains("token.keys.url cannot be used"), "{error}");
}

#[tokio::test]
async fn the_metrics_tell_how_keys_and_tokens_do() {
    let key = key();
    let issuer = Issuer::new(Ok(json(key.jwks.clone()))).await;
    let policy: policy::Settings = toml::from_str(
        "allow = [{ name = \"all\", methods = [\"shop.v1.Shop/*\"], callers = { roles = [\"reader\"] } }]",
    )
    .unwrap();
    let settings = Settings { token: Some(issuer.settings()), policy };
    let guard = Guard::start(&settings, World::new(issuer.tasks.spawner())).await.unwrap();
    let server = TestServer::start(server().with_guard(guard)).await;
    let authorization = format!("Bearer {}", token(&key, "ann"));
    for _ in 0..2 {
        // A connection of its own: what one showed before is not looked up again.
        let client = server.client().await;
        let reply = client.call(GET, &[("authorization", &authorization)], &[b""]).await;
        assert_eq!(reply.code(), Code::Ok);
    }
    let has = async |lines: &[&str]| {
        let page = server.telemetry.render();
        lines.iter().all(|line| page.contains(line))
    };
    let counts = ["token_cache_hits_total 1", "token_cache_misses_total 1", "token_cache_entries 1"];
    until("the memory is counted", async || has(&counts).await).await;
    until("reads", async || has(&["jwks_refreshes_total{result=\"read\"}", "jwks_age_seconds"]).await).await;
    issuer.say(Ok(json("[]")));
    until("failures", async || has(&["jwks_refreshes_total{result=\"failed\"}"]).await).await;
    server.drained().await;
}
