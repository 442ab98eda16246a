//! The question to a token endpoint.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_net::Platform;
use highball_net::fetch::{self, Fetcher, Plaintext, check_url};
use highball_net::tls::client::{ClientTls, Roots, Settings as TlsSettings};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};

use super::answer::{self, BODY_SIZE_BYTES_MAX};
use super::{ClientAuth, Secret, Settings};
use crate::credentials::renewal::{Granted, Source};
use crate::credentials::{CredentialsError, TOKEN_SIZE_BYTES_MAX};
use crate::token::read_bounded;

/// A token endpoint, and who asks it.
pub(super) struct Endpoint {
    uri: Uri,
    settings: Settings,
    fetcher: Fetcher,
    /// `None` for `http`.
    tls: Option<Arc<ClientTls>>,
}

impl Endpoint {
    pub(super) fn new(settings: Settings, platform: Arc<dyn Platform>) -> Result<Self, CredentialsError> {
        let plaintext = if settings.http_on_loopback { Plaintext::Loopback } else { Plaintext::Refuse };
        let uri = check_url(&settings.token_url, plaintext);
        let uri =
            uri.map_err(|error| CredentialsError::new(format!("the token URL cannot be used: {error}")))?;
        if settings.client_id.is_empty() {
            return Err(CredentialsError::new("the client has no id"));
        }
        let limits = fetch::Settings {
            timeout: settings.timeout,
            body_size_bytes_max: BODY_SIZE_BYTES_MAX,
            plaintext,
        };
        let (fetcher, tls) = if uri.scheme_str() == Some("https") {
            let roots = settings.ca.clone().map_or(Roots::System, Roots::File);
            let tls = ClientTls::load(TlsSettings { roots, ..TlsSettings::default() }, platform.clone());
            let tls = Arc::new(tls.map_err(|error| CredentialsError::new(error.to_string()))?);
            (Fetcher::new(platform, tls.clone(), limits), Some(tls))
        } else {
            (Fetcher::plaintext(platform, limits), None)
        };
        Ok(Self { uri, settings, fetcher, tls })
    }

    async fn fetch(&self) -> Result<Granted, CredentialsError> {
        // A CA file that was replaced counts for the question that follows; one that cannot be used matters if that fails.
        let reloaded = self.tls.as_ref().map_or(Ok(()), |tls| tls.reload().map(drop));
        let response = self.fetcher.fetch(self.request()?).await.map_err(|error| match &reloaded {
            Ok(()) => CredentialsError::new(error.to_string()),
            Err(besides) => CredentialsError::new(format!("{error}; besides, {besides}")),
        })?;
        let granted = answer::read(&response, self.settings.lifetime);
        granted.map_err(|problem| CredentialsError::new(format!("{self} {problem}")))
    }

    fn request(&self) -> Result<Request<Bytes>, CredentialsError> {
        let Settings { client_id, client_auth, scope, audience, .. } = &self.settings;
        let secret = self.settings.client_secret.read()?;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(audience.as_deref().map(|audience| ("audience", audience)));
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        match client_auth {
            ClientAuth::Basic => {
                headers.insert(AUTHORIZATION, basic(client_id, &secret)?);
            }
            ClientAuth::Post => {
                form.extend([("client_id", client_id.as_str()), ("client_secret", secret.as_str())]);
            }
        }
        let form: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        *request.body_mut() = form.join("&").into();
        Ok(request)
    }
}

impl Source for Endpoint {
    fn ask(&self) -> BoxFuture<'_, Result<Granted, CredentialsError>> {
        Box::pin(self.fetch())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, which may be secret.
        let (scheme, host) = (self.uri.scheme_str().unwrap_or_default(), self.uri.authority());
        write!(f, "{scheme}://{}{}", host.map_or("", |host| host.as_str()), self.uri.path())
    }
}

impl Secret {
    fn read(&self) -> Result<String, CredentialsError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let bytes = read_bounded(path, TOKEN_SIZE_BYTES_MAX);
                let bytes = bytes.map_err(|error| CredentialsError::new(error.to_string()))?;
                let text = String::from_utf8(bytes);
                let text = text.map_err(|_| {
                    CredentialsError::new(format!("the secret in {} is no text", path.display()))
                })?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

/// RFC 6749, section 2.3.1: both are form-encoded before they are put together.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, CredentialsError> {
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {pair}"));
    let mut value = value.map_err(|_| CredentialsError::new("the client cannot be put into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded` (RFC 6749, appendix B).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Clock;

    fn endpoint(settings: Settings) -> Result<Endpoint, String> {
        Endpoint::new(settings, Clock::new()).map_err(|error| error.to_string())
    }

    fn settings(url: &str) -> Settings {
        let secret = Secret::Text("p&ss wörd".to_owned());
        Settings { http_on_loopback: true, ..Settings::new(url, "my:shop", secret) }
    }

    #[test]
    fn a_client_proves_itself_in_the_header_or_in_the_form() {
        let mut settings = settings("http://127.0.0.1/token?tenant=a");
        let request = endpoint(settings.clone()).unwrap().request().unwrap();
        assert_eq!((request.method(), request.uri().query()), (&Method::POST, Some("tenant=a")));
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        // `my%3Ashop:p%26ss+w%C3%B6rd`
        assert_eq!(request.headers()["authorization"], "Basic bXklM0FzaG9wOnAlMjZzcyt3JUMzJUI2cmQ=");
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(request.body(), "grant_type=client_credentials");
        settings.client_auth = ClientAuth::Post;
        settings.scope = Some("orders.read orders.write".to_owned());
        settings.audience = Some("https://shop.example".to_owned());
        let request = endpoint(settings).unwrap().request().unwrap();
        assert!(!request.headers().contains_key("authorization"));
        assert_eq!(
            request.body(),
            "grant_type=client_credentials&scope=orders.read+orders.write&audience=https%3A%2F%2Fshop.example\
             &client_id=my%3Ashop&client_secret=p%26ss+w%C3%B6rd"
        );
    }

    #[test]
    fn a_secret_in_a_file_is_read_for_each_question() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let secret = Secret::File(path.clone());
        let endpoint =
            endpoint(Settings { client_secret: secret, ..settings("http://[::1]/token") }).unwrap();
        let error = endpoint.request().unwrap_err().to_string();
        assert!(error.contains("secret"), "{error}");
        for (written, header) in
            [("one\n", "Basic bXklM0FzaG9wOm9uZQ=="), ("two", "Basic bXklM0FzaG9wOnR3bw==")]
        {
            fs::write(&path, written).unwrap();
            assert_eq!(endpoint.request().unwrap().headers()["authorization"], header);
        }
    }

    #[test]
    fn a_token_endpoint_is_https_or_on_this_machine_by_choice() {
        let strict = |url: &str| Settings { http_on_loopback: false, ..settings(url) };
        assert!(endpoint(strict("http://localhost/token")).is_err());
        assert!(endpoint(settings("http://localhost/token")).is_ok());
        for url in ["http://login.example/token", "https://ann:hunter2@login.example/token", "token"] {
            let error = endpoint(settings(url)).unwrap_err();
            assert!(error.contains("token URL") && !error.contains("hunter2"), "{error}");
        }
        let nobody = Settings { client_id: String::new(), ..settings("http://localhost/token") };
        assert!(endpoint(nobody).is_err());
    }

    #[test]
    fn neither_secret_nor_query_is_shown() {
        let settings = settings("http://localhost/token?key=hunter2");
        assert!(!format!("{settings:?}").contains("p&ss"));
        let endpoint = endpoint(settings).unwrap();
        for shown in [
            format!("{endpoint:?}"),
            endpoint.to_string(),
            format!("{:?}", endpoint.request().unwrap().headers()),
        ] {
            assert!(!shown.contains("hunter2") && !shown.contains("bXkl"), "{shown}");
        }
    }
}
