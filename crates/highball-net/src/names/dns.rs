//! The system's resolver: `/etc/hosts`, then DNS.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, net, system_conf};

use super::{LOOKUP_TIMEOUT, Lookup, LookupError};

/// What the files of the system say, read for one look-up.
pub(crate) struct System {
    hosts: Hosts,
    servers: Result<(ResolverConfig, ResolverOpts), String>,
}

impl System {
    /// Reads the files. Two small ones: a worker waits for them no longer than for a page fault.
    pub(crate) fn read() -> Self {
        // Without the file there are no such names; that is no fault.
        let hosts = Hosts::from_system().unwrap_or_default();
        let servers = system_conf::read_system_conf()
            .map_err(|error| format!("/etc/resolv.conf cannot be used ({error}); name a server in it"));
        Self { hosts, servers }
    }

    /// The addresses of `name`.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Lookup, LookupError> {
        if let Some(literal) = literal(name) {
            return Ok(Lookup { records: vec![literal], ttl: None });
        }
        let parsed = parse(name)?;
        let fixed = self.fixed(&parsed);
        if !fixed.is_empty() {
            return Ok(Lookup { records: fixed, ttl: None });
        }
        let dns = self.dns(name)?;
        let ask = |name: Name| {
            let dns = &dns;
            async move {
                let (v4, v6) =
                    join(dns.ask(&name, RecordType::A, address), dns.ask(&name, RecordType::AAAA, address))
                        .await;
                v4.and(v6)
            }
        };
        dns.first(name, parsed, ask).await
    }

    /// The texts of `name`, each with the parts of its record put together.
    pub(crate) async fn texts(&self, name: &str) -> Result<Lookup<Bytes>, LookupError> {
        let parsed = parse(name)?;
        let dns = self.dns(name)?;
        let ask = |name: Name| {
            let dns = &dns;
            async move { dns.ask(&name, RecordType::TXT, text).await }
        };
        dns.first(name, parsed, ask).await
    }

    /// What is known without a server. RFC 6761, section 6.3: `localhost` and what is below it never goes to DNS.
    fn fixed(&self, name: &Name) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let known = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            addresses.extend(known.iter().flat_map(|known| known.answers().iter().filter_map(address)));
        }
        let is_localhost =
            name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"localhost"));
        if addresses.is_empty() && is_localhost {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        addresses
    }

    fn dns(&self, name: &str) -> Result<Dns, LookupError> {
        let unusable = |cause: String| LookupError::unavailable(name, cause);
        let (config, mut options) = self.servers.clone().map_err(unusable)?;
        // The file was asked already, and the order of the servers is the operator's: the first one first.
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        // Answers of one look-up only.
        options.cache_size = 8;
        let (search, ndots) = (search(&config), options.ndots);
        let mut builder = Resolver::builder_with_config(config, net::runtime::TokioRuntimeProvider::new());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Dns { resolver, search, ndots })
    }
}

/// The servers, for one look-up.
struct Dns {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl Dns {
    /// The first of the names that `name` may stand for that has records.
    async fn first<T, F>(
        &self,
        name: &str,
        parsed: Name,
        ask: impl Fn(Name) -> F,
    ) -> Result<Lookup<T>, LookupError>
    where
        F: Future<Output = Answer<T>>,
    {
        let walk = async {
            let (mut failed, mut ttl) = (None, None);
            for candidate in self.candidates(&parsed) {
                match ask(candidate).await {
                    Answer::Found(lookup) => return Ok(lookup),
                    Answer::Nothing(valid) => ttl = shorter(ttl, valid),
                    // As the system's resolver does: another domain may know it, but then nobody said that it is not.
                    Answer::Failed(cause) => failed = Some(cause),
                }
            }
            let name = name.to_owned();
            Err(match failed {
                Some(cause) => LookupError::Unavailable { name, cause },
                None => LookupError::NotFound { name, ttl },
            })
        };
        let late = || LookupError::unavailable(name, format_args!("no answer within {LOOKUP_TIMEOUT:?}"));
        tokio::time::timeout(LOOKUP_TIMEOUT, walk).await.unwrap_or_else(|_| Err(late()))
    }

    /// resolv.conf(5), `ndots`: a name with fewer dots is tried below the search domains first, one with as many by itself.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return vec![absolute];
        }
        // A name that would become too long is none.
        let below = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = below.collect();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let place = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(place, absolute);
        candidates
    }

    async fn ask<T>(&self, name: &Name, kind: RecordType, read: fn(&Record) -> Option<T>) -> Answer<T> {
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => {
                let records: Vec<T> = lookup.answers().iter().filter_map(read).collect();
                let ttl = lookup.answers().iter().map(|record| record.ttl).min();
                let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
                if records.is_empty() { Answer::Nothing(ttl) } else { Answer::Found(Lookup { records, ttl }) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Answer::Nothing(none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into())))
            }
            Err(error) => Answer::Failed(explain(&error)),
        }
    }
}

/// What the servers said about one name and one kind of record.
enum Answer<T> {
    Found(Lookup<T>),
    Nothing(Option<Duration>),
    Failed(String),
}

impl<T> Answer<T> {
    /// Two kinds of records of one name. Half an answer is an answer; half a denial is not.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Found(mut one), Self::Found(other)) => {
                one.records.extend(other.records);
                one.ttl = shorter(one.ttl, other.ttl);
                Self::Found(one)
            }
            (Self::Found(found), _) | (_, Self::Found(found)) => Self::Found(found),
            (Self::Nothing(one), Self::Nothing(other)) => Self::Nothing(shorter(one, other)),
            (Self::Failed(cause), _) | (_, Self::Failed(cause)) => Self::Failed(cause),
        }
    }
}

fn explain(error: &NetError) -> String {
    match error {
        NetError::Timeout | NetError::NoConnections => "no server in /etc/resolv.conf answered".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the server answered {code}"),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            format!("the server answered {}", none.response_code)
        }
        error => error.to_string(),
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    [one, other].into_iter().flatten().min()
}

/// The domains to try, or the machine's own if the file names none.
fn search(config: &ResolverConfig) -> Vec<Name> {
    if config.search().is_empty() {
        config.domain().cloned().into_iter().collect()
    } else {
        config.search().to_vec()
    }
}

/// An address instead of a name, IPv6 also in the brackets that it wears before a port.
fn literal(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse().ok(),
    }
}

fn parse(name: &str) -> Result<Name, LookupError> {
    let invalid = LookupError::NotFound { name: name.to_owned(), ttl: None };
    // Relaxed: underscores are in the names of service configs, and in many others.
    match Name::from_str_relaxed(name) {
        Ok(parsed) if parsed.num_labels() > 0 => Ok(parsed),
        _ => Err(invalid),
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    record.data.ip_addr()
}

fn text(record: &Record) -> Option<Bytes> {
    match &record.data {
        RData::TXT(text) => Some(text.txt_data.concat().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
