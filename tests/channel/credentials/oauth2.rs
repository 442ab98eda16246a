//! Tokens of a token endpoint that is slow, breaks, and comes back.

use std::sync::Mutex;

use futures_util::future::join_all;
use highball::auth::credentials::ClientCredentials;
use highball::auth::credentials::oauth2::{Secret, Settings};
use highball::core::BackoffSettings;
use highball_testkit::Web;

use super::*;

const SECRET: &str = "s3cret-of-the-shop";

/// A token endpoint whose answer a test changes.
struct Issuer {
    web: Web,
    answer: Arc<Mutex<Response<Bytes>>>,
}

impl Issuer {
    /// With a certificate of the shop's CA.
    async fn start(shop: &Guarded, first: Response<Bytes>) -> Self {
        let answer = Arc::new(Mutex::new(first));
        let scripted = answer.clone();
        let web = Web::https(&shop.ca.server(), move |request: Request<Bytes>| {
            assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/oauth2/token"));
            // `shop:s3cret-of-the-shop`
            assert_eq!(request.headers()["authorization"], "Basic c2hvcDpzM2NyZXQtb2YtdGhlLXNob3A=");
            assert_eq!(request.body(), "grant_type=client_credentials&scope=orders");
            let answer = scripted.clone();
            async move {
                // So that calls meet while one of them asks.
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer.lock().unwrap().clone()
            }
        })
        .await;
        Self { web, answer }
    }

    fn say(&self, answer: Response<Bytes>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn credentials(&self, shop: &Guarded) -> Arc<ClientCredentials> {
        let url = self.web.url("/oauth2/token");
        let settings = Settings {
            scope: Some("orders".to_owned()),
            ca: Some(shop.path("ca.pem")),
            backoff: BackoffSettings { initial: Duration::from_millis(50), ..BackoffSettings::default() },
            ..Settings::new(url, "shop", Secret::Text(SECRET.to_owned()))
        };
        Arc::new(ClientCredentials::new(settings, Os::shared()).unwrap())
    }
}

fn json(status: u16, body: impl Into<String>) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Bytes::from(body.into())).unwrap()
}

fn grant(token: &str, seconds: u32) -> Response<Bytes> {
    json(200, format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#))
}

#[tokio::test]
async fn a_hundred_calls_ask_for_one_token() {
    let shop = Guarded::start().await;
    let issuer = Issuer::start(&shop, grant(&shop.token("ann"), 3600)).await;
    let channel = shop.channel(issuer.credentials(&shop), &Telemetry::new());
    let outcomes = join_all((0..100).map(|_| get(&channel))).await;
    for outcome in outcomes {
        assert!(outcome.text().contains("ann"), "{outcome:?}");
    }
    assert_eq!(issuer.web.asked(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let shop = Guarded::start().await;
    let issuer = Issuer::start(&shop, grant(&shop.token("ann"), 3)).await;
    let telemetry = Telemetry::new();
    let channel = shop.channel(issuer.credentials(&shop), &telemetry);
    assert!(get(&channel).await.text().contains("ann"));
    issuer.say(grant(&shop.token("bob"), 3600));
    let renewed = async {
        while !get(&channel).await.text().contains("bob") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert_eq!(issuer.web.asked(), 2);
    let page = telemetry.render();
    let renewals = page.lines().find(|line| line.starts_with("channel_credentials_renewals_total{"));
    assert!(renewals.unwrap().contains("result=\"success\"}"), "{renewals:?}");
    assert!(!page.contains("channel_credentials_failed_total{"), "no call noticed");
}

#[tokio::test]
async fn calls_fail_while_there_is_no_token_and_recover() {
    let shop = Guarded::start().await;
    let issuer = Issuer::start(&shop, json(401, r#"{"error":"invalid_client"}"#)).await;
    let telemetry = Telemetry::new();
    let channel = shop.channel(issuer.credentials(&shop), &telemetry);
    for answer in
        [None, Some(json(200, "<html>")), Some(json(200, "{\"a\":\"".to_owned() + &"b".repeat(70_000)))]
    {
        if let Some(answer) = answer {
            issuer.say(answer);
        }
        let outcome = get(&channel).await;
        assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
        // Why is for the log: the caller of this caller may see the status.
        assert_eq!(outcome.status.message(), "the credentials of the call are not to be had");
    }
    issuer.say(grant(&shop.token("ann"), 3600));
    let recovered = async {
        while !get(&channel).await.text().contains("ann") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recovered).await.unwrap();
    assert!(telemetry.render().contains("channel_credentials_failed_total{"));
}

#[tokio::test]
async fn errors_name_the_endpoint_and_no_secret() {
    let shop = Guarded::start().await;
    let echo = format!(r#"{{"error":"{SECRET}","error_description":"{SECRET}"}}"#);
    let issuer = Issuer::start(&shop, json(400, echo)).await;
    let credentials = issuer.credentials(&shop);
    let error = credentials.headers("https://shop.example").await.unwrap_err().to_string();
    assert!(error.contains("/oauth2/token answered 400"), "{error}");
    drop(issuer);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let gone = credentials.headers("https://shop.example").await.unwrap_err().to_string();
    for shown in [error, gone, format!("{credentials:?}")] {
        assert!(shown.contains("localhost") && !shown.contains(SECRET), "{shown}");
    }
}
