//! Each exit code of `highball probe`, with the line that goes with it.

use highball::net::tls::ClientAuth;
use highball_testkit::TestServer;

use crate::servers::{SETTINGS, Secure, healthy, nobody, server, silent};
use crate::{Ran, highball};

/// Probes; there must be one line, on the stream that its kind belongs to.
async fn probe(flags: &[&str]) -> (Option<i32>, String) {
    let Ran { code, stdout, stderr } = highball(&[&["probe"], flags].concat()).await;
    let line = if matches!(code, Some(0 | 4)) { (stdout, stderr) } else { (stderr, stdout) };
    assert_eq!((line.0.lines().count(), line.1.as_str()), (1, ""), "{line:?}");
    (code, line.0.trim_end().to_owned())
}

#[tokio::test]
async fn zero_is_serving() {
    let server = healthy().await;
    server.health.set_serving("shop.v1.Shop", true);
    let addr = server.addr().to_string();
    let port = format!(":{}", server.addr().port());
    let target = format!("static:///{addr}");
    for flags in [&[&*addr][..], &[&port], &[&target], &[&addr, "--service", "shop.v1.Shop"]] {
        assert_eq!(probe(flags).await, (Some(0), "status: SERVING".to_owned()), "{flags:?}");
    }
    server.forced().await;
}

#[tokio::test]
async fn zero_is_serving_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let addr = format!("unix:{}", dir.path().join("a.sock").display());
    let server = TestServer::start(server().listen(addr.parse().unwrap())).await;
    assert_eq!(probe(&[&addr]).await, (Some(0), "status: SERVING".to_owned()));
    server.forced().await;
}

#[tokio::test]
async fn one_is_a_command_line_that_cannot_be_used() {
    let usage = |flags: &[&str]| {
        let flags = [&["probe"], flags].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        async move { highball(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    // Clap's own.
    for flags in [
        &[][..],
        &["a:1", "--bogus"],
        &["a:1", "--rpc-timeout", "0s"],
        &["a:1", "--connect-timeout", "soon"],
        &["a:1", "--tls-cert", "cert.pem"],
    ] {
        let ran = usage(flags).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{flags:?}: {ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
    // What is named on it.
    for (flags, says) in [
        (&["a:b"][..], "is not a port"),
        (&["a:1", "--tls-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        (&["a:1", "--token-file", "/nowhere/token"], "/nowhere/token"),
        (&["shop.example:1", "--token", "secret"], "a token without TLS may only go to this machine"),
    ] {
        let (code, line) = probe(flags).await;
        assert_eq!(code, Some(1), "{line}");
        assert!(line.starts_with("error: ") && line.contains(says) && !line.contains("secret"), "{line}");
    }
    // Asking for help is no mistake, and other commands keep their code.
    assert_eq!(usage(&["--help"]).await.code, Some(0));
    assert_eq!(highball(&["up", "--bogus"]).await.code, Some(2));
}

#[tokio::test]
async fn two_is_no_connection() {
    let addr = nobody().await.to_string();
    let (code, line) = probe(&[&addr]).await;
    let begins = format!("error: failed to connect service at \"{addr}\": ");
    assert!(
        code == Some(2) && line.starts_with(&begins) && line.contains("nobody listens"),
        "{code:?} {line}"
    );
}

#[tokio::test]
async fn two_is_a_connection_that_takes_too_long() {
    let (addr, _server) = silent(b"").await;
    let addr = addr.to_string();
    let (code, line) = probe(&[&addr, "--connect-timeout", "200ms"]).await;
    let line_wanted = format!("timeout: failed to connect service \"{addr}\" within 200ms");
    assert_eq!((code, line), (Some(2), line_wanted));
}

#[tokio::test]
async fn two_is_a_server_that_is_not_trusted() {
    let secure = Secure::start(None).await;
    let (addr, other) = (secure.addr.to_string(), secure.file("other.pem"));
    for flags in [&[&*addr, "--tls-ca", &other, "--tls-server-name", "localhost"][..], &[&addr]] {
        let (code, line) = probe(flags).await;
        assert!(
            code == Some(2) && line.starts_with("error: failed to connect service at"),
            "{code:?} {line}"
        );
    }
    secure.server.forced().await;
}

#[tokio::test]
async fn tls_and_mtls_reach_a_server() {
    let secure = Secure::start(None).await;
    let (addr, ca) = (format!("localhost:{}", secure.addr.port()), secure.file("ca.pem"));
    assert_eq!(probe(&[&addr, "--tls-ca", &ca]).await, (Some(0), "status: SERVING".to_owned()));
    // The names of the common tool.
    let flags = [&*addr, "--tls", "--tls-ca-cert", &ca, "--token", "anything"];
    assert_eq!(probe(&flags).await.0, Some(0));
    secure.server.forced().await;

    let secure = Secure::start(Some(ClientAuth::Required)).await;
    let (addr, ca) = (format!("localhost:{}", secure.addr.port()), secure.file("ca.pem"));
    let (cert, key) = (secure.file("client.pem"), secure.file("client-key.pem"));
    assert_eq!(probe(&[&addr, "--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key]).await.0, Some(0));
    assert_eq!(probe(&[&addr, "--tls-ca", &ca]).await.0, Some(2));
    secure.server.forced().await;
}

#[tokio::test]
async fn three_is_a_call_that_fails() {
    let server = healthy().await;
    let addr = server.addr().to_string();
    let (code, line) = probe(&[&addr, "--service", "no.Such"]).await;
    assert_eq!((code, line.as_str()), (Some(3), "error: health rpc failed: NOT_FOUND: unknown service"));
    server.forced().await;
}

#[tokio::test]
async fn three_is_a_call_that_takes_too_long() {
    let (addr, _server) = silent(SETTINGS).await;
    let addr = addr.to_string();
    let (code, line) = probe(&[&addr, "--connect-timeout", "20s", "--rpc-timeout", "200ms"]).await;
    assert_eq!((code, line.as_str()), (Some(3), "timeout: health rpc did not complete within 200ms"));
}

#[tokio::test]
async fn four_is_any_answer_but_serving() {
    let server = healthy().await;
    server.health.set_serving("shop.v1.Shop", false);
    let addr = server.addr().to_string();
    let unhealthy = (Some(4), "service unhealthy (responded with \"NOT_SERVING\")".to_owned());
    assert_eq!(probe(&[&addr, "--service", "shop.v1.Shop"]).await, unhealthy);
    server.health.set_serving("", false);
    assert_eq!(probe(&[&addr]).await, unhealthy);
    assert_eq!(probe(&[&addr, "--service", "livez"]).await.0, Some(0));
    server.forced().await;
}

#[tokio::test]
async fn a_talkative_probe_tells_how_long_it_took() {
    let server = healthy().await;
    let ran = highball(&["probe", &server.addr().to_string(), "-v"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "status: SERVING\n"));
    assert!(ran.stderr.contains("time elapsed: connect=") && ran.stderr.contains(" rpc="), "{ran:?}");
    server.forced().await;
}
