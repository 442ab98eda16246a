//! Names, looked up in DNS again and again.
//!
//! Every address of a name is an endpoint of its own, as in every gRPC client. Names are looked up when their records expire,
//! also while all is well, because that is how a deployment announces new servers. What was known stays while DNS does not
//! answer, and also for the first few answers of "no such name": a name server that restarts with half of its zone must not
//! take a healthy service away.

mod answers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join, join_all};
use highball_core::backoff::{fraction, scaled};
use highball_net::Platform;
use highball_net::names::{Lookup, LookupError};
use tokio::time::{Instant, sleep_until};

use super::{ResolveError, Resolver, Update};
use crate::service_config::choice::{Client, NAME_PREFIX};
use crate::target::HostPort;
use answers::{Hosts, Texts};

/// How names are looked up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The least time from one look-up to the next, whatever a TTL says and however often connections fail. Default 5 s.
    pub interval_min: Duration,
    /// The most time from one look-up to the next; jitter of up to a tenth comes on top. Default 30 s: a TTL of an hour would
    /// keep calls on servers that are long gone. At least [`interval_min`](Self::interval_min), at most 300 s.
    pub interval_max: Duration,
    /// How many answers of "no such name" in a row make the endpoints disappear. Default 3, at least 1.
    pub not_found_max: u32,
    /// Whether to look for a service config in TXT records (gRFC A2), for targets that name one host. Default no: it lets
    /// whoever writes the zone change how calls are made, and costs a look-up.
    pub service_config: bool,
    /// What this machine is called, for `clientHostname` in those records. Default empty.
    pub hostname: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_min: Duration::from_secs(5),
            interval_max: Duration::from_secs(30),
            not_found_max: 3,
            service_config: false,
            hostname: String::new(),
        }
    }
}

/// The longest an answer is believed, whatever the settings say.
const INTERVAL_MAX: Duration = Duration::from_secs(300);

/// One name, or a list of hosts.
pub struct Dns {
    platform: Arc<dyn Platform>,
    settings: Settings,
    hosts: Hosts,
    /// For the TXT records, where they are asked for.
    texts: Option<Texts>,
    /// Kept here and not in the future of `next`, which may be dropped at any time.
    asking: Option<BoxFuture<'static, Answers>>,
    /// When the last look-up started; never, at first.
    asked: Option<Instant>,
    /// When the next one is due if nobody hints.
    due: Instant,
    hinted: bool,
    /// What was told last was an error, so that the next success is news.
    failed: bool,
    /// The channel has forgotten what it was told.
    again: bool,
}

/// The answers to all questions of one look-up.
struct Answers {
    addresses: Vec<Result<Lookup, LookupError>>,
    texts: Option<Result<Lookup<Bytes>, LookupError>>,
}

impl Dns {
    /// The addresses of hosts that all answer for the same name, usually one.
    pub(super) fn new(hosts: &[HostPort], platform: &Arc<dyn Platform>, settings: &Settings) -> Self {
        let texts = match hosts {
            [host] if settings.service_config => {
                let client = Client { hostname: settings.hostname.clone(), random: platform.random() };
                Some(Texts::new(format!("{NAME_PREFIX}{}", host.host()), client))
            }
            _ => None,
        };
        Self::with(Hosts::new(hosts, false), texts, platform, settings)
    }

    /// The addresses of several hosts, each called by its own name.
    pub(super) fn list(hosts: &[HostPort], platform: &Arc<dyn Platform>, settings: &Settings) -> Self {
        Self::with(Hosts::new(hosts, true), None, platform, settings)
    }

    fn with(hosts: Hosts, texts: Option<Texts>, platform: &Arc<dyn Platform>, settings: &Settings) -> Self {
        let mut settings = settings.clone();
        settings.interval_max = settings.interval_max.min(INTERVAL_MAX).max(settings.interval_min);
        Self {
            platform: platform.clone(),
            settings,
            hosts,
            texts,
            asking: None,
            asked: None,
            due: Instant::now(),
            hinted: false,
            failed: false,
            again: false,
        }
    }

    async fn wait_for_news(&mut self) -> Result<Update, ResolveError> {
        if std::mem::take(&mut self.again) {
            // Whatever comes is news.
            self.failed = true;
            self.due = self.asked.map_or_else(Instant::now, |asked| asked + self.settings.interval_min);
            if self.due > Instant::now() && !self.hosts.is_unknown() {
                return Ok(self.known());
            }
        }
        loop {
            if self.asking.is_none() {
                sleep_until(self.start()).await;
                self.hinted = false;
                self.asked = Some(Instant::now());
                self.asking = Some(self.ask());
            }
            let Some(asking) = &mut self.asking else { continue };
            let answers = asking.await;
            self.asking = None;
            if let Some(news) = self.learn(answers) {
                self.failed = news.is_err();
                return news;
            }
        }
    }

    /// When to ask next.
    fn start(&self) -> Instant {
        match self.asked {
            Some(asked) if self.hinted => self.due.min(asked + self.settings.interval_min),
            _ => self.due,
        }
    }

    fn ask(&self) -> BoxFuture<'static, Answers> {
        let question = |name: &str| {
            let (platform, name) = (self.platform.clone(), name.to_owned());
            async move { platform.lookup(&name).await }
        };
        let addresses = join_all(self.hosts.names().map(question));
        let texts = self.texts.as_ref().map(|texts| texts.name().to_owned());
        let platform = self.platform.clone();
        let texts = async move {
            match texts {
                Some(name) => Some(platform.lookup_txt(&name).await),
                None => None,
            }
        };
        async move {
            let (addresses, texts) = join(addresses, texts).await;
            Answers { addresses, texts }
        }
        .boxed()
    }

    /// Takes the answers in; news or nothing.
    fn learn(&mut self, answers: Answers) -> Option<Result<Update, ResolveError>> {
        let learnt = self.hosts.learn(answers.addresses, self.settings.not_found_max.max(1));
        let texts = self.texts.as_mut().zip(answers.texts).map(|(texts, answer)| texts.learn(answer));
        let is_new = learnt.is_new || texts.is_some_and(|texts| texts.is_new);
        let ttl = [learnt.ttl, texts.and_then(|texts| texts.ttl)].into_iter().flatten().min();
        self.schedule(ttl, learnt.error.is_some());
        match learnt.error {
            // Something is known that was not, so the error waits for the next look-up, which has it too.
            Some(error) if !is_new => Some(Err(error)),
            _ if is_new || self.failed => Some(Ok(self.known())),
            _ => None,
        }
    }

    fn known(&self) -> Update {
        let service_config = self.texts.as_ref().and_then(Texts::service_config);
        Update { endpoints: self.hosts.endpoints(), service_config, config_selector: None }
    }

    fn schedule(&mut self, ttl: Option<Duration>, is_failure: bool) {
        let Settings { interval_min, interval_max, .. } = self.settings;
        let wait = match ttl {
            // The manager's backoff sets the pace as long as nothing is known.
            _ if is_failure && self.hosts.is_unknown() => Duration::ZERO,
            _ if is_failure => interval_min,
            // Up to a tenth later, so that the clients of a deployment do not ask in step.
            ttl => {
                let wait = ttl.unwrap_or(interval_max).clamp(interval_min, interval_max);
                scaled(wait, 1.0 + 0.1 * fraction(self.platform.random()))
            }
        };
        self.due = self.asked.unwrap_or_else(Instant::now) + wait;
    }
}

impl Resolver for Dns {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        self.wait_for_news().boxed()
    }

    fn refresh(&mut self) {
        self.hinted = true;
    }

    fn restart(&mut self) {
        // An answer that nobody waited for is old by now.
        self.asking = None;
        self.again = true;
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").field("hosts", &self.hosts).field("due", &self.due).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
