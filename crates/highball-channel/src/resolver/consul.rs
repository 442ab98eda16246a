//! The instances of a service that a Consul agent knows to be healthy.
//!
//! Asks `/v1/health/service/NAME?passing=1` as a blocking query, so that a change arrives as soon as Consul knows of it. What
//! Consul says is taken for true, also when it says that no instance passes its checks: then there are no endpoints. While it
//! does not answer, the endpoints known before stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_net::{ClientTls, Platform};
use http::header::HeaderValue;
use http::{Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::registry::{self, Found, INTERVAL_MIN, Question, Registry};
use super::{ResolveError, Resolver, Update};
use crate::{Endpoint, Target};

/// How an agent is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// With TLS, and whom to trust. Without, the agent must be on this machine: whoever can alter its answers chooses whom
    /// calls go to. Default without.
    pub tls: Option<Arc<ClientTls>>,
    /// A file with the ACL token; read for each question, so that it can be replaced. Default none.
    pub token_path: Option<PathBuf>,
    /// How long the agent holds a question back while nothing changes. Default 30 s, at most 10 min as Consul has it.
    pub wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls: None, token_path: None, wait: Duration::from_secs(30) }
    }
}

/// One service.
pub struct Consul(Registry<Health>);

impl Consul {
    /// For a `consul:` target.
    ///
    /// # Errors
    /// [`ResolveError`] for any other target.
    pub fn new(
        target: &Target,
        platform: &Arc<dyn Platform>,
        settings: &Settings,
    ) -> Result<Self, ResolveError> {
        let Target::Consul { agent, service, tags, datacenter } = target else {
            return Err(ResolveError::new(format!("{target} is not a consul: target")));
        };
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let wait = settings.wait.clamp(Duration::from_secs(1), Duration::from_secs(600));
        let mut url = format!(
            "{}/v1/health/service/{}?passing=1&wait={}s",
            registry::origin(agent, settings.tls.as_ref()),
            encoded(service),
            wait.as_secs()
        );
        for tag in tags {
            url.push_str(&format!("&tag={}", encoded(tag)));
        }
        if let Some(datacenter) = datacenter {
            url.push_str(&format!("&dc={}", encoded(datacenter)));
        }
        let question = Health { url, token_path: settings.token_path.clone(), index: 0 };
        // Consul adds up to a sixteenth to the wait.
        let timeout = wait + wait / 16 + Duration::from_secs(10);
        Ok(Self(Registry::new(target.to_string(), platform, settings.tls.as_ref(), timeout, question)))
    }
}

impl Resolver for Consul {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        self.0.next()
    }

    /// A blocking query is always open; there is nothing to bring forward.
    fn refresh(&mut self) {}

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl std::fmt::Debug for Consul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Consul")
    }
}

struct Health {
    url: String,
    token_path: Option<PathBuf>,
    /// What the last answer knew; 0 to be answered at once.
    index: u64,
}

impl Question for Health {
    fn request(&mut self) -> Result<Request<Bytes>, String> {
        let url =
            if self.index == 0 { self.url.clone() } else { format!("{}&index={}", self.url, self.index) };
        let mut request = Request::get(url);
        if let Some(path) = &self.token_path {
            let token = std::fs::read_to_string(path)
                .map_err(|error| format!("the token in {} cannot be read: {error}", path.display()))?;
            let mut token = HeaderValue::from_str(token.trim())
                .map_err(|_| format!("the token in {} cannot be sent in a header", path.display()))?;
            token.set_sensitive(true);
            request = request.header("x-consul-token", token);
        }
        request.body(Bytes::new()).map_err(|error| error.to_string())
    }

    fn read(&mut self, answer: &Response<Bytes>) -> Result<Found, String> {
        let entries: Vec<Entry> = serde_json::from_slice(answer.body())
            .map_err(|error| format!("the answer is not a list of health entries: {error}"))?;
        let found = Found::of(entries.into_iter().map(Entry::endpoint))?;
        let index =
            answer.headers().get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
        // An index that went back is from before a restart or a snapshot: start over. 0 would not block; then the interval
        // keeps the pace.
        self.index = index.filter(|index| *index >= self.index).unwrap_or(0);
        Ok(found)
    }

    fn forget(&mut self) {
        self.index = 0;
    }

    fn interval(&self) -> Duration {
        INTERVAL_MIN
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    node: Node,
    service: Service,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

impl Entry {
    fn endpoint(self) -> Result<Endpoint, String> {
        // A service without an address of its own is where its node is.
        let host = if self.service.address.is_empty() { self.node.address } else { self.service.address };
        let mut endpoint = registry::endpoint(&host, self.service.port)?;
        endpoint.attributes.weight =
            self.service.weights.map(|weights| weights.passing).filter(|weight| *weight > 0);
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests;
