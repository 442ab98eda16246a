//! Fetching from a real web server over both protocols, and from servers that misbehave.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests all through; clippy sees only the functions marked as such"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highball_net::fetch::{Fetcher, Plaintext, Settings};
use highball_net::tls::client::Settings as TlsSettings;
use highball_net::{ClientTls, Os, Platform as _};
use highball_testkit::Web;
use highball_testkit::pki::Authority;
use http::{Request, Response, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct World {
    ca: Authority,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (ca, dir) = (Authority::new("ca"), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self { ca, dir }
    }

    fn fetcher(&self, settings: Settings) -> Fetcher {
        let tls = TlsSettings::new().with_roots(self.dir.path().join("ca.pem"));
        let tls = ClientTls::load(tls, Os::shared()).unwrap();
        Fetcher::new(Os::shared(), Arc::new(tls), settings)
    }
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn text(text: impl Into<Bytes>) -> Response<Bytes> {
    Response::new(text.into())
}

#[tokio::test]
async fn both_protocols_carry_method_path_headers_and_body() {
    let world = World::new();
    let echo = |request: Request<Bytes>| async move {
        let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| Some(request.headers().get("host")?.to_str().ok()?.to_owned()));
        let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
        assert!(agent.starts_with("highball/"), "{agent}");
        let line = format!("{} {} {host:?} ", request.method(), request.uri().path_and_query().unwrap());
        text([line.as_bytes(), request.body()].concat())
    };
    for (alpn, version) in
        [(&["h2"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let web = Web::https_speaking(&world.ca.server(), alpn, echo).await;
        let url = web.url("/a/b?c=d");
        let request = Request::post(&url).body(Bytes::from("payload")).unwrap();
        let response = world.fetcher(Settings::default()).fetch(request).await.unwrap();
        assert_eq!(response.version(), version);
        let authority = url.parse::<http::Uri>().unwrap().authority().unwrap().to_string();
        assert_eq!(*response.body(), format!("POST /a/b?c=d {:?} payload", Some(authority)));
    }
}

#[tokio::test]
async fn a_status_is_a_response_and_a_redirect_is_not_followed() {
    let world = World::new();
    let web = Web::https(&world.ca.server(), |request| async move {
        let moved = Response::builder().status(302).header("location", "/elsewhere");
        assert_eq!(request.uri().path(), "/");
        moved.body(Bytes::new()).unwrap()
    })
    .await;
    let response = world.fetcher(Settings::default()).fetch(get(&web.url("/"))).await.unwrap();
    assert_eq!((response.status().as_u16(), web.asked()), (302, 1));
}

#[tokio::test]
async fn too_much_too_slow_and_too_little_are_errors() {
    let world = World::new();
    let settings =
        Settings { body_size_bytes_max: 8, timeout: Duration::from_millis(300), ..Settings::default() };
    for alpn in ["h2", "http/1.1"] {
        let web = Web::https_speaking(&world.ca.server(), &[alpn], |request| async move {
            match request.uri().path() {
                "/full" => text("12345678"),
                "/large" => text("123456789"),
                _ => std::future::pending().await,
            }
        })
        .await;
        let fetcher = world.fetcher(settings.clone());
        assert_eq!(fetcher.fetch(get(&web.url("/full"))).await.unwrap().body(), "12345678");
        let large = fetcher.fetch(get(&web.url("/large?key=hunter2"))).await.unwrap_err().to_string();
        assert!(large.ends_with("/large: the answer is larger than 8 bytes"), "{large}");
        let slow = fetcher.fetch(get(&web.url("/slow"))).await.unwrap_err();
        assert!(slow.timed_out() && slow.to_string().contains("no whole answer within 300ms"), "{slow}");
    }
    let free = Os.bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap().local_addr();
    let gone = world.fetcher(settings).fetch(get(&format!("https://{free}/"))).await.unwrap_err();
    assert!(gone.to_string().contains("nobody listens there"), "{gone}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_and_half_a_body_is_none() {
    let settings = Settings { body_size_bytes_max: 8, plaintext: Plaintext::Loopback, ..Settings::default() };
    let fetcher = Fetcher::plaintext(Os::shared(), settings);
    for (answer, outcome) in [
        ("transfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n", "12345678"),
        ("transfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n1\r\n9\r\n0\r\n\r\n", "larger than 8 bytes"),
        ("transfer-encoding: chunked\r\n\r\n8\r\n1234", "broke off"),
        ("content-length: 8\r\n\r\n1234", "broke off"),
    ] {
        let mut listener = Os.bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/", listener.local_addr());
        let serve = async {
            let (mut io, _) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            assert!(io.read(&mut [0; 1024]).await.unwrap() > 0);
            io.write_all(format!("HTTP/1.1 200 OK\r\n{answer}").as_bytes()).await.unwrap();
            io.shutdown().await.unwrap();
            io
        };
        let (fetched, _io) = tokio::join!(fetcher.fetch(get(&url)), serve);
        let told = match fetched {
            Ok(response) => String::from_utf8_lossy(response.body()).into_owned(),
            Err(error) => error.to_string(),
        };
        assert!(told.contains(outcome), "{answer:?}: {told}");
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_believed() {
    let world = World::new();
    let web = Web::https(&Authority::new("other").server(), |_| async { text("lies") }).await;
    let error = world.fetcher(Settings::default()).fetch(get(&web.url("/"))).await.unwrap_err();
    assert!(error.to_string().contains("a CA that is not in"), "{error}");
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn plaintext_is_for_this_machine_and_only_when_asked_for() {
    let web = Web::http(|_| async { text("hello") }).await;
    let fetcher = |plaintext| Fetcher::plaintext(Os::shared(), Settings { plaintext, ..Settings::default() });
    let loopback = fetcher(Plaintext::Loopback);
    assert_eq!(loopback.fetch(get(&web.url("/"))).await.unwrap().body(), "hello");
    let elsewhere = loopback.fetch(get("http://login.example/")).await.unwrap_err();
    assert!(elsewhere.to_string().contains("not an https URL"), "{elsewhere}");
    let refused = fetcher(Plaintext::Refuse).fetch(get(&web.url("/"))).await.unwrap_err();
    assert!(refused.to_string().contains("not an https URL"), "{refused}");
    let nobody = loopback.fetch(get("https://localhost/")).await.unwrap_err();
    assert!(nobody.to_string().contains("which CAs to trust"), "{nobody}");
    assert_eq!(web.asked(), 1);
}
