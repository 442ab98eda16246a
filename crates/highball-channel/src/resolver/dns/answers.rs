//! What the answers of DNS have taught so far.

use std::net::SocketAddr;
use std::str;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highball_net::names::{Lookup, LookupError};

use crate::resolver::{ENDPOINTS_MAX, ResolveError};
use crate::service_config::choice::Client;
use crate::service_config::{ServiceConfig, ServiceConfigError};
use crate::target::HostPort;
use crate::{Address, Endpoint};

/// The hosts of a target, with the addresses known of each.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// Each host is called by its own name.
    is_list: bool,
    /// What the last update said.
    told: Option<Vec<Endpoint>>,
}

#[derive(Debug)]
struct Host {
    name: HostPort,
    addresses: Vec<SocketAddr>,
    /// Answers of "no such name" in a row.
    not_found: u32,
}

/// What one look-up changed.
pub(super) struct Learnt {
    pub(super) is_new: bool,
    /// The soonest an answer expires.
    pub(super) ttl: Option<Duration>,
    /// For some host there was no answer, or a bad one.
    pub(super) error: Option<ResolveError>,
}

impl Hosts {
    pub(super) fn new(hosts: &[HostPort], is_list: bool) -> Self {
        let host = |name: &HostPort| Host {
            addresses: name.literal().into_iter().collect(),
            name: name.clone(),
            not_found: 0,
        };
        Self { hosts: hosts.iter().map(host).collect(), is_list, told: None }
    }

    /// The names to look up, in the order in which [`learn`](Self::learn) takes the answers.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter(|host| host.name.literal().is_none()).map(|host| host.name.host())
    }

    /// Nothing was ever told, or only that there is nothing.
    pub(super) fn is_unknown(&self) -> bool {
        self.told.as_ref().is_none_or(Vec::is_empty)
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.told.clone().unwrap_or_default()
    }

    pub(super) fn learn(&mut self, answers: Vec<Result<Lookup, LookupError>>, not_found_max: u32) -> Learnt {
        let (mut ttl, mut errors) = (None, Vec::new());
        let names = self.hosts.iter_mut().filter(|host| host.name.literal().is_none());
        for (host, answer) in names.zip(answers) {
            match host.learn(answer, not_found_max) {
                Ok(own) => ttl = [ttl, own].into_iter().flatten().min(),
                Err(error) => errors.push(error),
            }
        }
        let endpoints = self.gather();
        let mut error = failure(errors);
        if endpoints.len() > ENDPOINTS_MAX {
            let message = format!("{} addresses are more than {ENDPOINTS_MAX}", endpoints.len());
            return Learnt { is_new: false, ttl, error: Some(ResolveError::new(message)) };
        }
        // A first answer of nothing says less than the error it comes with.
        let is_first_nothing = self.told.is_none() && endpoints.is_empty();
        let is_new = !is_first_nothing && self.told.as_ref() != Some(&endpoints);
        if is_new {
            self.told = Some(endpoints);
        } else if is_first_nothing && error.is_none() {
            error = Some(ResolveError::new("the names have no addresses"));
        }
        Learnt { is_new, ttl, error }
    }

    fn gather(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for host in &self.hosts {
            let hostname = (self.is_list && host.name.literal().is_none()).then(|| host.name.to_string());
            for address in host.addresses.iter().filter(|address| seen.insert(**address)) {
                let mut endpoint = Endpoint::new(Address::Tcp(*address));
                endpoint.attributes.hostname.clone_from(&hostname);
                endpoints.push(endpoint);
            }
        }
        endpoints
    }
}

impl Host {
    /// Takes the answer; how long it is valid.
    fn learn(
        &mut self,
        answer: Result<Lookup, LookupError>,
        not_found_max: u32,
    ) -> Result<Option<Duration>, LookupError> {
        match answer {
            Ok(lookup) => {
                self.not_found = 0;
                self.addresses =
                    lookup.records.into_iter().map(|ip| SocketAddr::new(ip, self.name.port())).collect();
                // Servers turn the records round with every answer; that is no news.
                self.addresses.sort_unstable();
                self.addresses.dedup();
                Ok(lookup.ttl)
            }
            Err(error) => {
                if matches!(error, LookupError::NotFound { .. }) {
                    self.not_found = self.not_found.saturating_add(1);
                    if self.not_found >= not_found_max {
                        self.addresses.clear();
                    }
                }
                Err(error)
            }
        }
    }
}

/// The first error, and how many there are.
fn failure(errors: Vec<LookupError>) -> Option<ResolveError> {
    let more = errors.len().saturating_sub(1);
    let first = errors.into_iter().next()?;
    let message = if more == 0 { first.to_string() } else { format!("{first} (and {more} names more)") };
    Some(ResolveError::new(message).with_cause(first))
}

/// The TXT records of a name, and the service config in them.
#[derive(Debug)]
pub(super) struct Texts {
    name: String,
    client: Client,
    /// The records the config was read from, so that reading happens when they change.
    records: Option<Vec<Bytes>>,
    config: Option<Result<Arc<ServiceConfig>, ServiceConfigError>>,
}

/// What one look-up changed.
#[derive(Clone, Copy)]
pub(super) struct LearntTexts {
    pub(super) is_new: bool,
    pub(super) ttl: Option<Duration>,
}

impl Texts {
    pub(super) fn new(name: String, client: Client) -> Self {
        Self { name, client, records: None, config: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn service_config(&self) -> Option<Result<Arc<ServiceConfig>, ServiceConfigError>> {
        self.config.clone()
    }

    pub(super) fn learn(&mut self, answer: Result<Lookup<Bytes>, LookupError>) -> LearntTexts {
        let (records, ttl) = match answer {
            Ok(lookup) => (lookup.records, lookup.ttl),
            Err(LookupError::NotFound { ttl, .. }) => (Vec::new(), ttl),
            // No answer is not the answer that there is no config: what was known stays. Before anything was known, calls
            // wait for it, or for the default the application gave.
            Err(error) if self.records.is_none() => {
                let problem = Some(Err(ServiceConfigError::new(error.to_string())));
                let is_new = self.config != problem;
                self.config = problem;
                return LearntTexts { is_new, ttl: None };
            }
            Err(_) => return LearntTexts { is_new: false, ttl: None },
        };
        if self.records.as_ref() == Some(&records) {
            return LearntTexts { is_new: false, ttl };
        }
        let config = self.read(&records).transpose();
        self.records = Some(records);
        let is_new = self.config != config;
        self.config = config;
        LearntTexts { is_new, ttl }
    }

    fn read(&self, records: &[Bytes]) -> Result<Option<Arc<ServiceConfig>>, ServiceConfigError> {
        // Records of others may hold anything; those that are no text hold no choices.
        let texts: Vec<&str> = records.iter().filter_map(|record| str::from_utf8(record).ok()).collect();
        Ok(self.client.choose(&texts)?.map(Arc::new))
    }
}
