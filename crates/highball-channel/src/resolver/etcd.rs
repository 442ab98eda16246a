//! Endpoints that servers write into etcd, as its Go package `naming/endpoints` does.
//!
//! Below `PREFIX/` each key is an endpoint: `{"Op":0,"Addr":"10.0.0.1:50051","Metadata":{"weight":2}}`. The keys are read through
//! etcd's JSON gateway (`/v3/kv/range`, etcd 3.4 and later) at an interval. Keys vanish with the lease of their server; what
//! etcd says is taken for true, also when it lists nothing. While it does not answer, the endpoints known before stay.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_net::{ClientTls, Platform};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use serde::Deserialize;

use super::registry::{self, Found, INTERVAL_MIN, Question, Registry};
use super::{ENDPOINTS_MAX, ResolveError, Resolver, Update};
use crate::target::HostPort;
use crate::{Endpoint, Target};

/// Longest time for one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a server is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// With TLS, and whom to trust. Without, the server must be on this machine: whoever can alter its answers chooses whom
    /// calls go to. Default without.
    pub tls: Option<Arc<ClientTls>>,
    /// From one question to the next. Default 5 s, at least 1 s. Hints that connections fail bring it forward to 1 s.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls: None, interval: Duration::from_secs(5) }
    }
}

/// One prefix.
pub struct Etcd(Registry<Range>);

impl Etcd {
    /// For an `etcd:` target.
    ///
    /// # Errors
    /// [`ResolveError`] for any other target.
    pub fn new(
        target: &Target,
        platform: &Arc<dyn Platform>,
        settings: &Settings,
    ) -> Result<Self, ResolveError> {
        let Target::Etcd { server, prefix } = target else {
            return Err(ResolveError::new(format!("{target} is not an etcd: target")));
        };
        let question = Range {
            url: format!("{}/v3/kv/range", registry::origin(server, settings.tls.as_ref())),
            body: range(prefix),
            interval: settings.interval.max(INTERVAL_MIN),
        };
        Ok(Self(Registry::new(target.to_string(), platform, settings.tls.as_ref(), TIMEOUT, question)))
    }
}

impl Resolver for Etcd {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        self.0.next()
    }

    fn refresh(&mut self) {
        self.0.refresh();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Etcd")
    }
}

struct Range {
    url: String,
    body: Bytes,
    interval: Duration,
}

/// The request for all keys below the prefix. Its slash is part of it: `orders` must not find `orders-old`.
fn range(prefix: &str) -> Bytes {
    let start = format!("{}/", prefix.trim_end_matches('/'));
    // The first key that does not start with it: a slash has a successor that is one byte too.
    let end = format!("{}0", prefix.trim_end_matches('/'));
    let (key, range_end) = (BASE64_STANDARD.encode(start), BASE64_STANDARD.encode(end));
    // Any member may answer from what it has: a moment old is good enough.
    let range = serde_json::json!({"key": key, "range_end": range_end, "limit": ENDPOINTS_MAX + 1, "serializable": true});
    Bytes::from(range.to_string())
}

impl Question for Range {
    fn request(&mut self) -> Result<Request<Bytes>, String> {
        let request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        request.body(self.body.clone()).map_err(|error| error.to_string())
    }

    fn read(&mut self, answer: &Response<Bytes>) -> Result<Found, String> {
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|error| format!("the answer is not a range of keys: {error}"))?;
        Found::of(answer.kvs.into_iter().filter_map(|entry| entry.endpoint().transpose()))
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

#[derive(Deserialize)]
struct Answer {
    /// The gateway always writes a header; an answer without is from somebody else.
    #[serde(rename = "header")]
    _header: serde::de::IgnoredAny,
    #[serde(default)]
    kvs: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    /// 0 adds; anything else is no endpoint.
    #[serde(default)]
    op: u8,
    addr: String,
    #[serde(default)]
    metadata: serde_json::Value,
}

impl Entry {
    fn endpoint(&self) -> Result<Option<Endpoint>, String> {
        let key = || {
            let key = BASE64_STANDARD.decode(&self.key).unwrap_or_default();
            String::from_utf8_lossy(&key).into_owned()
        };
        let written = BASE64_STANDARD.decode(&self.value).ok();
        let written = written.and_then(|value| serde_json::from_slice::<Written>(&value).ok());
        let written = written.ok_or_else(|| format!("{:?}, whose value is not an endpoint", key()))?;
        if written.op != 0 {
            return Ok(None);
        }
        let host = HostPort::parse(&written.addr).map_err(|problem| format!("{:?}: {problem}", key()))?;
        let mut endpoint = registry::endpoint(host.host(), host.port())
            .map_err(|problem| format!("{:?}: {problem}", key()))?;
        let weight = written.metadata.get("weight").and_then(serde_json::Value::as_u64);
        endpoint.attributes.weight =
            weight.and_then(|weight| u32::try_from(weight).ok()).filter(|weight| *weight > 0);
        Ok(Some(endpoint))
    }
}

#[cfg(test)]
mod tests;
