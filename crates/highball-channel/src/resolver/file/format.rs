//! What a file of endpoints says. Ours, so what is not known is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::resolver::ENDPOINTS_MAX;
use crate::service_config::ServiceConfig;
use crate::{Address, Attributes, Endpoint};

/// Addresses one endpoint may have.
const ADDRESSES_PER_ENDPOINT_MAX: usize = 16;

/// A file, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) service_config: Option<Arc<ServiceConfig>>,
}

/// Reads a file. `Err` says what is wrong, and where.
pub(super) fn parse(text: &str) -> Result<Content, String> {
    let content = if text.trim_start().starts_with(['{', '[']) { json(text)? } else { lines(text)? };
    if content.endpoints.len() > ENDPOINTS_MAX {
        return Err(format!("{} endpoints are more than {ENDPOINTS_MAX}", content.endpoints.len()));
    }
    Ok(content)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Whole {
    endpoints: Vec<Entry>,
    service_config: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Entry {
    address: Option<String>,
    addresses: Vec<String>,
    weight: Option<u32>,
    locality: Option<String>,
    priority: u32,
    hash_key: Option<String>,
    hostname: Option<String>,
}

fn json(text: &str) -> Result<Content, String> {
    let is_list = text.trim_start().starts_with('[');
    let whole = if is_list {
        serde_json::from_str(text).map(|endpoints| Whole { endpoints, service_config: None })
    } else {
        serde_json::from_str(text)
    };
    let whole: Whole = whole.map_err(|error| error.to_string())?;
    let service_config = match whole.service_config {
        None => None,
        Some(config) => {
            let config = ServiceConfig::parse(&config.to_string());
            Some(Arc::new(config.map_err(|error| format!("serviceConfig: {error}"))?))
        }
    };
    // An empty list is written down, so it is meant.
    let endpoints =
        whole.endpoints.into_iter().enumerate().map(|(index, entry)| {
            entry.endpoint().map_err(|problem| format!("endpoints[{index}]: {problem}"))
        });
    Ok(Content { endpoints: unique(endpoints)?, service_config })
}

fn lines(text: &str) -> Result<Content, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let endpoints = unique(lines.map(|(index, line)| {
        entry(line).and_then(Entry::endpoint).map_err(|problem| format!("line {}: {problem}", index + 1))
    }))?;
    if endpoints.is_empty() {
        // More often a file that was cut than a service that shall disappear.
        return Err("lists no endpoints; write [] to mean none".to_owned());
    }
    Ok(Content { endpoints, service_config: None })
}

fn unique(endpoints: impl Iterator<Item = Result<Endpoint, String>>) -> Result<Vec<Endpoint>, String> {
    let mut unique = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for endpoint in endpoints {
        let endpoint = endpoint?;
        for address in &endpoint.addresses {
            if !seen.insert(address.clone()) {
                return Err(format!("{address} is listed twice"));
            }
        }
        unique.push(endpoint);
    }
    Ok(unique)
}

fn entry(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let mut entry = Entry { address: words.next().map(str::to_owned), ..Entry::default() };
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(format!("{word:?} is not a key with a value, such as weight=2"));
        };
        let number = || value.parse().map_err(|_| format!("{key} is a whole number, not {value:?}"));
        match key {
            "weight" => entry.weight = Some(number()?),
            "priority" => entry.priority = number()?,
            "locality" => entry.locality = Some(value.to_owned()),
            "hash_key" => entry.hash_key = Some(value.to_owned()),
            "hostname" => entry.hostname = Some(value.to_owned()),
            _ => return Err(format!("{key:?} is none of weight, locality, priority, hash_key, hostname")),
        }
    }
    Ok(entry)
}

impl Entry {
    fn endpoint(self) -> Result<Endpoint, String> {
        let written: Vec<String> = self.address.into_iter().chain(self.addresses).collect();
        if written.is_empty() || written.len() > ADDRESSES_PER_ENDPOINT_MAX {
            return Err(format!(
                "has {} addresses; 1 to {ADDRESSES_PER_ENDPOINT_MAX} are right",
                written.len()
            ));
        }
        if self.weight == Some(0) {
            return Err("weight is at least 1; leave the endpoint out to not use it".to_owned());
        }
        let addresses = written.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        let attributes = Attributes {
            weight: self.weight,
            locality: self.locality,
            priority: self.priority,
            hash_key: self.hash_key,
            hostname: self.hostname,
        };
        Ok(Endpoint { addresses, attributes })
    }
}

fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let problem = || {
        format!("{text:?} is not a literal address with a port, such as 192.0.2.1:443, and not unix:/path")
    };
    address.map(Address::Tcp).ok_or_else(problem)
}
