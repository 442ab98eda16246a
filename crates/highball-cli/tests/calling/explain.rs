//! The screen of `highball explain`, above all its last line.

use crate::servers::{Secure, healthy, nobody, silent};
use crate::{Ran, highball};

/// The screen; it must fit the terminal.
async fn explain(flags: &[&str]) -> (Option<i32>, String) {
    let Ran { code, stdout, stderr } = highball(&[&["explain"], flags].concat()).await;
    assert_eq!(stderr, "");
    // A word that has no place to break, such as a target, stays whole.
    let wide = stdout.lines().find(|line| line.chars().count() > 80 && line.split_whitespace().count() > 2);
    assert_eq!(wide, None, "{stdout}");
    (code, stdout)
}

/// The last sentence, on however many lines, as one.
fn verdict(screen: &str) -> String {
    let (_, last) = screen.trim_end().rsplit_once("\n\n").unwrap();
    last.replace('\n', " ")
}

/// What the screen says behind `name`.
fn value<'a>(screen: &'a str, name: &str) -> &'a str {
    let found = screen.lines().find_map(|line| line.trim_start().strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{screen}")).trim()
}

#[tokio::test]
async fn a_ready_target_is_shown_with_its_endpoints_calls_and_picks() {
    let (a, b, down) = (healthy().await, healthy().await, nobody().await);
    let target = format!("static:///{},{},{down}", a.addr(), b.addr());
    let (code, screen) = explain(&[&target, "--calls", "4"]).await;
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!((value(&screen, "target"), value(&screen, "state")), (&*target, "READY"));
    assert_eq!(value(&screen, "policy"), "round_robin");
    assert_eq!(value(&screen, "calls"), "4 of grpc.health.v1.Health/Check");
    assert!(value(&screen, "4 x OK: ").starts_with("SERVING ("), "{screen}");
    for server in [&a, &b] {
        let row = value(&screen, &server.addr().to_string());
        assert!(row.starts_with("READY "), "{row}");
    }
    assert!(value(&screen, &down.to_string()).starts_with("TRANSIENT_FAILURE "), "{screen}");
    assert!(value(&screen, "why").contains("nobody listens there"), "{screen}");
    let picks: Vec<&str> = screen.lines().filter(|line| line.contains(" by round_robin ")).collect();
    assert!(screen.contains("last 4 picks") && picks.len() == 2, "{screen}");
    assert_eq!(verdict(&screen), "a call would succeed: 2 of 3 endpoints ready");
    a.forced().await;
    b.forced().await;
}

#[tokio::test]
async fn without_calls_it_only_connects() {
    let server = healthy().await;
    let (code, screen) = explain(&[&server.addr().to_string(), "--calls", "0"]).await;
    assert!(code == Some(0) && !screen.contains("picks") && !screen.contains("Health/Check"), "{screen}");
    server.forced().await;
}

#[tokio::test]
async fn where_nobody_listens_a_call_would_fail() {
    let addr = nobody().await.to_string();
    let (code, screen) = explain(&[&addr]).await;
    assert_eq!((code, value(&screen, "state")), (Some(1), "TRANSIENT_FAILURE"), "{screen}");
    assert_eq!(verdict(&screen), "a call would fail, UNAVAILABLE: 1 of 1 endpoints: connection refused");
}

#[tokio::test]
async fn a_server_that_says_nothing_leaves_calls_waiting() {
    let (addr, _server) = silent(b"").await;
    let (code, screen) = explain(&[&addr.to_string(), "--timeout", "300ms"]).await;
    assert_eq!((code, value(&screen, "state")), (Some(1), "CONNECTING"), "{screen}");
    assert_eq!(verdict(&screen), "a call would wait: still connecting after 300ms");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    let (code, screen) = explain(&["static:///nowhere.invalid:1", "--method", "a.B/C"]).await;
    assert_eq!(code, Some(1), "{screen}");
    assert!(verdict(&screen).starts_with("a call would "), "{screen}");
    assert!(value(&screen, "resolving").contains("nowhere.invalid"), "{screen}");
    assert!(screen.contains("unknown: the target is not resolved"), "{screen}");
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told() {
    let secure = Secure::start(None).await;
    let localhost = format!("localhost:{}", secure.addr.port());
    let (code, screen) = explain(&[&localhost]).await;
    assert_eq!(code, Some(1), "{screen}");
    assert!(verdict(&screen).contains("TLS"), "plaintext to TLS: {screen}");
    let (code, screen) = explain(&[&localhost, "--tls-ca", &secure.file("other.pem")]).await;
    assert_eq!(code, Some(1), "{screen}");
    assert!(verdict(&screen).ends_with("TLS handshake failed"), "{screen}");
    let (code, screen) = explain(&[&localhost, "--tls-ca", &secure.file("ca.pem")]).await;
    assert_eq!(code, Some(0), "{screen}");
    secure.server.forced().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_without_a_channel() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    std::fs::write(&config, r#"{"methodConfig":[{"name":[{}],"timeout":"5"}]}"#).unwrap();
    let config = config.to_str().unwrap();
    for (flags, says) in [
        (&["localhost:1", "--service-config", config][..], "service config: methodConfig[0].timeout: \"5\""),
        (&["localhost:1", "--service-config", "/nowhere"], "cannot read the service config /nowhere: "),
        (&["dns://a/b/c:x"], "target: target \"dns://a/b/c:x\": "),
        (&["localhost:1", "--tls-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
    ] {
        let (code, screen) = explain(flags).await;
        let verdict = verdict(&screen);
        assert!(code == Some(1) && verdict.contains(says), "{screen}");
        assert!(verdict.starts_with("a call would not be made: "), "{screen}");
    }
}

#[tokio::test]
async fn what_applies_to_a_method_is_shown_and_decides() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let text = r#"{"methodConfig":[{"name":[{"service":"shop.v1.Shop"}],"timeout":"1.5s","waitForReady":true,
        "retryPolicy":{"maxAttempts":3,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,
        "retryableStatusCodes":["UNAVAILABLE","ABORTED"]}}]}"#;
    std::fs::write(&file, text).unwrap();
    let (addr, config) = (nobody().await.to_string(), file.to_str().unwrap());
    let ask = |method: &'static str| {
        let flags = [
            addr.clone(),
            "--service-config".into(),
            config.to_owned(),
            "--method".into(),
            method.to_owned(),
        ];
        async move { explain(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await.1 }
    };
    let screen = ask("/shop.v1.Shop/Get").await;
    assert_eq!(value(&screen, "timeout"), "1.5s");
    assert!(value(&screen, "wait for ready").starts_with("yes"), "{screen}");
    assert_eq!(value(&screen, "retries"), "up to 3 attempts on ABORTED, UNAVAILABLE");
    assert_eq!(value(&screen, "request"), "at most 4 MiB");
    assert!(
        verdict(&screen).starts_with("a call would wait until its deadline, DEADLINE_EXCEEDED: "),
        "{screen}"
    );

    let screen = ask("other.Service/Get").await;
    assert!(value(&screen, "timeout").starts_with("none"), "{screen}");
    assert!(verdict(&screen).starts_with("a call would fail, UNAVAILABLE: "), "{screen}");
}

#[tokio::test]
async fn programs_get_the_same_as_json() {
    let server = healthy().await;
    let addr = server.addr().to_string();
    let ran = highball(&["explain", &addr, "--calls", "2", "--method", "a.B/C", "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["target"], addr);
    assert_eq!(report["channel"]["state"], "READY");
    assert_eq!(report["channel"]["endpoints"][0]["addresses"][0], addr);
    assert_eq!(report["calls"]["outcomes"][0]["count"], 2);
    assert_eq!(report["method"]["config"]["waitForReady"], false);
    assert_eq!(report["verdict"]["succeeds"], true);
    server.forced().await;

    let ran = highball(&["explain", "dns://a/b/c:x", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, &report["verdict"]["succeeds"], &report["channel"]),
        (Some(1), &false.into(), &serde_json::Value::Null)
    );
}
