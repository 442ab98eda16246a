//! What resolvers have in common that ask a registry over HTTP, again and again.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_net::fetch::{FetchError, Fetcher, Plaintext, Settings};
use highball_net::{ClientTls, Platform};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{ENDPOINTS_MAX, ResolveError, Resolver, Update};
use crate::target::HostPort;
use crate::{Address, Endpoint};

/// The largest answer, in bytes.
const ANSWER_SIZE_BYTES_MAX: usize = 8 << 20;

/// From the start of one question to the start of the next, however often a registry or a hint asks for it.
pub(super) const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A question to a registry.
pub(super) trait Question: Send + 'static {
    /// What to ask now. `Err` when it cannot be asked.
    fn request(&mut self) -> Result<Request<Bytes>, String>;

    /// Reads an answer with status 200. `Err` when all of it is unusable.
    fn read(&mut self, answer: &Response<Bytes>) -> Result<Found, String>;

    /// There was no usable answer: the next question starts over.
    fn forget(&mut self) {}

    /// From the start of a question that was answered to the start of the next.
    fn interval(&self) -> Duration;
}

/// What a registry lists.
pub(super) struct Found {
    pub(super) endpoints: Vec<Endpoint>,
    /// An entry that is left out, and why. It must not take the others with it.
    pub(super) unusable: Option<String>,
}

impl Found {
    /// Collects entries; the first unusable one is kept for the message.
    pub(super) fn of(entries: impl Iterator<Item = Result<Endpoint, String>>) -> Result<Self, String> {
        let (mut endpoints, mut unusable) = (Vec::new(), None);
        let mut seen = std::collections::HashSet::new();
        for entry in entries {
            match entry {
                Ok(endpoint) if endpoints.len() == ENDPOINTS_MAX => {
                    return Err(format!("lists more than {ENDPOINTS_MAX} endpoints, such as {endpoint}"));
                }
                Ok(endpoint) if seen.insert(endpoint.addresses.clone()) => endpoints.push(endpoint),
                Ok(_) => {}
                Err(problem) => drop(unusable.get_or_insert(problem)),
            }
        }
        Ok(Self { endpoints, unusable })
    }
}

/// One registry, asked one question.
pub(super) struct Registry<Q> {
    /// For messages: who is asked for what.
    name: String,
    fetcher: Fetcher,
    question: Q,
    /// Kept here and not in the future of `next`, which may be dropped at any time.
    asking: Option<BoxFuture<'static, Result<Response<Bytes>, FetchError>>>,
    asked: Option<Instant>,
    due: Instant,
    hinted: bool,
    told: Option<Vec<Endpoint>>,
    /// What is left out at present; told once, after the update it is missing from.
    unusable: Option<String>,
    untold: bool,
    /// The present one was told.
    lamented: bool,
    /// There was no answer the last time.
    failed: bool,
}

impl<Q: Question> Registry<Q> {
    /// `timeout` bounds one question.
    pub(super) fn new(
        name: String,
        platform: &Arc<dyn Platform>,
        tls: Option<&Arc<ClientTls>>,
        timeout: Duration,
        question: Q,
    ) -> Self {
        let settings =
            Settings { timeout, body_size_bytes_max: ANSWER_SIZE_BYTES_MAX, plaintext: Plaintext::Loopback };
        let fetcher = match tls {
            Some(tls) => Fetcher::new(platform.clone(), tls.clone(), settings),
            None => Fetcher::plaintext(platform.clone(), settings),
        };
        Self {
            name,
            fetcher,
            question,
            asking: None,
            asked: None,
            due: Instant::now(),
            hinted: false,
            told: None,
            unusable: None,
            untold: false,
            lamented: false,
            failed: false,
        }
    }

    async fn wait_for_news(&mut self) -> Result<Update, ResolveError> {
        loop {
            if std::mem::take(&mut self.untold)
                && let Some(problem) = &self.unusable
            {
                self.lamented = true;
                return Err(ResolveError::new(format!("{}: left out {problem}", self.name)));
            }
            if self.asking.is_none() {
                sleep_until(self.start()).await;
                self.hinted = false;
                self.asked = Some(Instant::now());
                self.asking = Some(self.ask()?);
            }
            let Some(asking) = &mut self.asking else { continue };
            let answer = asking.await;
            self.asking = None;
            let found = self.read(answer);
            let wait = if found.is_ok() { self.question.interval() } else { INTERVAL_MIN };
            self.due = self.asked.unwrap_or_else(Instant::now) + wait;
            match found {
                Ok(found) => {
                    if let Some(update) = self.learn(found) {
                        return Ok(update);
                    }
                }
                Err(error) => {
                    self.question.forget();
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }

    fn start(&self) -> Instant {
        match self.asked {
            Some(asked) if self.hinted => self.due.min(asked + INTERVAL_MIN),
            _ => self.due,
        }
    }

    fn ask(&mut self) -> Result<BoxFuture<'static, Result<Response<Bytes>, FetchError>>, ResolveError> {
        let request = self.question.request().map_err(|problem| {
            self.failed = true;
            ResolveError::new(format!("{}: {problem}", self.name))
        })?;
        let fetcher = self.fetcher.clone();
        Ok(async move { fetcher.fetch(request).await }.boxed())
    }

    fn read(&mut self, answer: Result<Response<Bytes>, FetchError>) -> Result<Found, ResolveError> {
        let of = |problem: &dyn fmt::Display| ResolveError::new(format!("{}: {problem}", self.name));
        let answer = answer.map_err(|error| of(&error).with_cause(error))?;
        if answer.status() != StatusCode::OK {
            return Err(of(&format_args!("answers with HTTP status {}", answer.status())));
        }
        self.question.read(&answer).map_err(|problem| of(&problem))
    }

    fn learn(&mut self, found: Found) -> Option<Update> {
        let is_whole = found.unusable.is_none();
        let is_new = self.told.as_ref() != Some(&found.endpoints);
        if self.unusable != found.unusable {
            self.untold = !is_whole;
            self.unusable = found.unusable;
        }
        // Either is told although nothing changed, so that the error does not stand.
        let is_repaired = self.failed || self.lamented && is_whole;
        self.failed = false;
        self.lamented &= !is_whole;
        if !is_new && !is_repaired {
            return None;
        }
        self.told = Some(found.endpoints.clone());
        Some(Update::new(found.endpoints))
    }
}

impl<Q: Question> Resolver for Registry<Q> {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        self.wait_for_news().boxed()
    }

    fn refresh(&mut self) {
        self.hinted = true;
    }

    fn restart(&mut self) {
        // An answer that nobody waited for is old by now.
        self.asking = None;
        self.question.forget();
        self.told = None;
        self.untold = false;
        self.unusable = None;
        self.due = self.asked.map_or_else(Instant::now, |asked| asked + INTERVAL_MIN);
    }
}

/// An endpoint at a literal address. `Err` says what it is instead.
pub(super) fn endpoint(host: &str, port: u16) -> Result<Endpoint, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) if port != 0 => Ok(Endpoint::new(Address::Tcp((ip, port).into()))),
        Ok(_) => Err(format!("{host} without a port")),
        Err(_) => Err(format!("{host:?} port {port}, which is not a literal address")),
    }
}

/// `http` or `https`, and whom to ask.
pub(super) fn origin(server: &HostPort, tls: Option<&Arc<ClientTls>>) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{server}")
}
