//! A JWKS at a URL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::BoxError;
use highball_net::Platform;
use highball_net::fetch::{self, Fetcher, check_url};
use highball_net::tls::client::{ClientTls, Roots, Settings as TlsSettings};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};

use super::key::KeyError;
use super::settings::JwksUrl;
use super::source::Document;
use super::{JwksSettings, JwksSource};

/// RFC 7517, section 8.5.2; most issuers say `application/json`.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/jwk-set+json, application/json;q=0.9");

/// A JWKS at a URL, fetched anew each time.
#[derive(Debug)]
pub struct UrlJwks {
    uri: Uri,
    /// `None` for `http:`.
    tls: Option<Arc<ClientTls>>,
    platform: Arc<dyn Platform>,
    plaintext: fetch::Plaintext,
    timeout: Duration,
}

impl UrlJwks {
    /// Reads the CAs, and asks nobody yet.
    ///
    /// # Errors
    /// [`KeyError`] when the URL is not safe or the CAs cannot be read.
    pub fn new(from: &JwksUrl, jwks: &JwksSettings, platform: Arc<dyn Platform>) -> Result<Self, KeyError> {
        let uri = check_url(&from.url, from.plaintext());
        let uri = uri.map_err(|error| KeyError::new(format!("token.keys.url cannot be used: {error}")))?;
        let tls = if uri.scheme_str() == Some("https") {
            let settings = TlsSettings {
                roots: from.ca.clone().map_or(Roots::System, Roots::File),
                ..TlsSettings::default()
            };
            let tls = ClientTls::load(settings, platform.clone());
            Some(Arc::new(tls.map_err(|error| KeyError::new(error.to_string()))?))
        } else {
            None
        };
        // Earlier than the follower's own limit, because here it is known what took so long.
        let timeout = jwks.fetch_timeout * 9 / 10;
        Ok(Self { uri, tls, platform, plaintext: from.plaintext(), timeout })
    }

    async fn get(&self, body_size_bytes_max: usize) -> Result<Document, BoxError> {
        // A CA file that was replaced counts for the fetch that follows; one that cannot be used is told beside its outcome.
        let warning = self.tls.as_ref().and_then(|tls| tls.reload().err()).map(|error| error.to_string());
        let settings =
            fetch::Settings { timeout: self.timeout, body_size_bytes_max, plaintext: self.plaintext };
        let fetcher = match &self.tls {
            Some(tls) => Fetcher::new(self.platform.clone(), tls.clone(), settings),
            None => Fetcher::plaintext(self.platform.clone(), settings),
        };
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(ACCEPT, ACCEPTED);
        let beside = |error: String| match &warning {
            Some(warning) => format!("{error}; besides, {warning}"),
            None => error,
        };
        let response = fetcher.fetch(request).await.map_err(|error| beside(error.to_string()))?;
        self.check(&response).map_err(beside)?;
        let fresh_for = fresh_for(&response);
        Ok(Document { content: response.into_body(), fresh_for, warning })
    }

    /// Whether it can be a document.
    fn check(&self, response: &Response<Bytes>) -> Result<(), String> {
        let status = response.status();
        if status.is_redirection() {
            return Err(format!(
                "{self} answered {status}, and redirects are not followed; name where the keys are"
            ));
        }
        if status != StatusCode::OK {
            return Err(format!("{self} answered {status}"));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.trim_start().starts_with("text/html")) {
            return Err(format!(
                "{self} answered with a page for people; is it the address of the keys (jwks_uri)?"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for UrlJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, which may be secret.
        let (scheme, host) = (self.uri.scheme_str().unwrap_or_default(), self.uri.authority());
        write!(f, "{scheme}://{}{}", host.map_or("", |host| host.as_str()), self.uri.path())
    }
}

impl JwksSource for UrlJwks {
    fn fetch(&self, size_bytes_max: usize) -> BoxFuture<'_, Result<Document, BoxError>> {
        Box::pin(self.get(size_bytes_max))
    }
}

/// RFC 9111, section 5.2.2.1. Whatever else an issuer says, the interval of the settings holds.
fn fresh_for(response: &Response<Bytes>) -> Option<Duration> {
    let values = response.headers().get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(str::trim);
    directives.into_iter().find_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "max-age" => value.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_max_age_says_how_long_a_document_is_fresh() {
        for (value, expected) in [
            ("public, max-age=300, must-revalidate", Some(300)),
            ("Max-Age=\"7\"", Some(7)),
            ("no-store", None),
            ("max-age=soon", None),
            ("s-maxage=9", None),
            ("max-age=99999999999999999999", None),
        ] {
            let response = Response::builder().header(CACHE_CONTROL, value).body(Bytes::new()).unwrap();
            assert_eq!(fresh_for(&response), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(fresh_for(&Response::new(Bytes::new())), None);
    }
}
