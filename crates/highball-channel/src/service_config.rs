//! What a service's owner wants of its callers (grpc `doc/service_config.md`, gRFC A2, A21).
//!
//! The JSON is the specification's, so fields that are not known are ignored; that is its contract with older clients. A
//! known field that is invalid makes the whole config invalid, and then a channel keeps the config it had.
//!
//! Ours, beside the specification's fields: the policy `peak_ewma` with `decay` and `defaultRtt`; `slowStartConfig` (as in
//! gRFC A100) in `round_robin`, `least_request_experimental` and `peak_ewma` as well; `consecutiveFailures` in
//! `outlier_detection_experimental`. `perAttemptRecvTimeout` in `retryPolicy` and `hedgingPolicy` is what C-core and
//! grpc-java call it.

pub mod balancing;
pub mod choice;
mod json;
pub mod method;
mod policy;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use highball_core::Method;
use serde_json::Value;

pub use balancing::Balancing;
pub use json::ServiceConfigError;
pub use method::{ATTEMPTS_MAX, Codes, HedgingPolicy, MethodConfig, Repeat, RetryPolicy};

pub use crate::throttle::ThrottleSettings;
use json::{Object, Read};
use json::{each, number, object, optional, required, string, whole_u32};

/// The longest JSON that is read, in bytes. A DNS answer holds 64 KiB at most.
pub const JSON_SIZE_BYTES_MAX: usize = 1 << 20;

/// Connections a subchannel may have, whatever the config says; more counts as this (gRFC A105).
pub const CONNECTIONS_PER_SUBCHANNEL_MAX: u32 = 10;

/// A service config, read. The default asks for nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// `loadBalancingConfig`, or `loadBalancingPolicy` without one. Without either, a channel uses `round_robin` when there
    /// is more than one endpoint and `pick_first` otherwise.
    pub balancing: Option<Balancing>,
    /// `retryThrottling`.
    pub throttling: Option<ThrottleSettings>,
    /// `healthCheckConfig.serviceName`: watch the health of this service (gRFC A17); empty means the server as a whole.
    pub health_check_service: Option<String>,
    /// `connectionScaling.maxConnectionsPerSubchannel`, 1 to [`CONNECTIONS_PER_SUBCHANNEL_MAX`], default 1 (gRFC A105).
    pub connections_per_subchannel_max: u32,
    /// By `package.Service/Method`, and by `package.Service/` for the rest of a service.
    methods: HashMap<Box<str>, Arc<MethodConfig>>,
    /// For methods without any.
    fallback: Arc<MethodConfig>,
}

impl ServiceConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`ServiceConfigError`] with the path of the first field that is invalid: then nothing of the config counts (gRFC A21).
    pub fn parse(json: &str) -> Result<Self, ServiceConfigError> {
        if json.len() > JSON_SIZE_BYTES_MAX {
            let problem = format!("{} bytes are more than {JSON_SIZE_BYTES_MAX}", json.len());
            return Err(ServiceConfigError::new(problem));
        }
        let value = serde_json::from_str(json)
            .map_err(|error| ServiceConfigError::new(format!("is not JSON: {error}")))?;
        Self::read(&value)
    }

    /// What is asked of a method: what the config says of it by its full name, else of its service, else of all.
    ///
    /// Up to two lookups, nothing is allocated.
    #[must_use]
    pub fn method(&self, method: &Method) -> &Arc<MethodConfig> {
        if self.methods.is_empty() {
            return &self.fallback;
        }
        let full = method.full_name();
        let service = || full.get(..=method.service().len()).and_then(|service| self.methods.get(service));
        self.methods.get(full).or_else(service).unwrap_or(&self.fallback)
    }

    /// Reads a config that is JSON already.
    fn read(value: &Value) -> Read<Self> {
        let config = object(value)?;
        let balancing = optional(config, "loadBalancingConfig", policy::balancing)?;
        let by_name = optional(config, "loadBalancingPolicy", policy::by_name)?.flatten();
        let health = optional(config, "healthCheckConfig", |value| {
            optional(object(value)?, "serviceName", |name| string(name).map(str::to_owned))
        })?;
        let connections = optional(config, "connectionScaling", |value| {
            optional(object(value)?, "maxConnectionsPerSubchannel", connections)
        })?;
        let mut read = Self {
            balancing: balancing.or(by_name),
            throttling: optional(config, "retryThrottling", throttling)?,
            health_check_service: health.flatten(),
            connections_per_subchannel_max: connections.flatten().unwrap_or(1),
            ..Self::default()
        };
        optional(config, "methodConfig", |entries| each(entries, |entry| read.add_methods(object(entry)?)))?;
        // It stood with the others so that a second one is found; its place is not among the lookups.
        if let Some(config) = read.methods.remove("") {
            read.fallback = config;
        }
        Ok(read)
    }

    /// Reads an entry of `methodConfig` and files it under its names. Without names it says nothing, but must be valid.
    fn add_methods(&mut self, entry: &Object) -> Read<()> {
        let names = optional(entry, "name", |names| each(names, name))?.unwrap_or_default();
        let config = Arc::new(method::method_config(entry)?);
        for (index, name) in names.into_iter().enumerate() {
            match self.methods.entry(name) {
                Entry::Occupied(taken) => {
                    let problem = format!("{} has an entry already", shown(taken.key()));
                    return Err(ServiceConfigError::new(problem).at_index(index).in_field("name"));
                }
                Entry::Vacant(free) => drop(free.insert(config.clone())),
            }
        }
        Ok(())
    }
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            balancing: None,
            throttling: None,
            health_check_service: None,
            connections_per_subchannel_max: 1,
            methods: HashMap::new(),
            fallback: Arc::default(),
        }
    }
}

/// Reads a name into the key of the map.
fn name(value: &Value) -> Read<Box<str>> {
    let name = object(value)?;
    let service = optional(name, "service", string)?.unwrap_or_default();
    let method = optional(name, "method", string)?.unwrap_or_default();
    match (service, method) {
        ("", "") => Ok(Box::default()),
        ("", _) => Err(ServiceConfigError::new(format!("method {method:?} has no service"))),
        // A service alone ends in a slash too, so that no service can be taken for a method.
        _ => Ok(format!("{service}/{method}").into()),
    }
}

fn shown(key: &str) -> &str {
    if key.is_empty() { "the default of all methods" } else { key.trim_end_matches('/') }
}

fn connections(value: &Value) -> Read<u32> {
    match whole_u32(value)? {
        0 => Err(ServiceConfigError::new("must be at least 1")),
        connections => Ok(connections.min(CONNECTIONS_PER_SUBCHANNEL_MAX)),
    }
}

fn throttling(value: &Value) -> Read<ThrottleSettings> {
    let config = object(value)?;
    let max_tokens = required(config, "maxTokens", |value| match whole_u32(value)? {
        tokens @ 1..=1000 => Ok(tokens),
        tokens => Err(ServiceConfigError::new(format!("{tokens} is not one of 1 to 1000"))),
    })?;
    let token_ratio = required(config, "tokenRatio", number)?;
    ThrottleSettings::new(max_tokens, token_ratio)
        .ok_or_else(|| ServiceConfigError::new("must be at least 0.001").in_field("tokenRatio"))
}

#[cfg(test)]
mod tests;
