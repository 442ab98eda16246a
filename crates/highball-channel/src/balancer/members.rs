//! Which of the resolver's endpoints become backends.

use std::collections::HashSet;

use twox_hash::XxHash64;

use super::random::{mix, unit};
use crate::service_config::balancing::{Balancing, PolicyConfig};
use crate::{Attributes, Endpoint};

/// The endpoints a policy works with: a subset of `endpoints` where one is configured; one endpoint with all addresses for
/// `pick_first`. `seed` is the channel's, so that subsets stay; `random` is fresh, so that orders do not.
pub(crate) fn members(
    balancing: &Balancing,
    endpoints: Vec<Endpoint>,
    seed: u64,
    random: u64,
) -> Vec<Endpoint> {
    let mut endpoints = match balancing.subset {
        Some(size) => subset(endpoints, size as usize, seed),
        None => endpoints,
    };
    let PolicyConfig::PickFirst { shuffle } = balancing.policy else { return endpoints };
    if shuffle {
        endpoints = shuffled(endpoints, random);
    }
    endpoints.sort_by_key(|endpoint| endpoint.attributes.priority);
    flat(endpoints)
}

/// `size` endpoints, the same ones each time (gRFC A68): when an endpoint comes or goes, at most one other changes.
fn subset(endpoints: Vec<Endpoint>, size: usize, seed: u64) -> Vec<Endpoint> {
    if endpoints.len() <= size {
        return endpoints;
    }
    let mut ranked: Vec<(u64, usize)> = endpoints
        .iter()
        .enumerate()
        .map(|(place, endpoint)| (XxHash64::oneshot(seed, endpoint.name().as_bytes()), place))
        .collect();
    ranked.sort_unstable();
    ranked.truncate(size);
    let mut chosen = vec![false; endpoints.len()];
    for (_, place) in ranked {
        if let Some(chosen) = chosen.get_mut(place) {
            *chosen = true;
        }
    }
    endpoints.into_iter().zip(chosen).filter_map(|(endpoint, chosen)| chosen.then_some(endpoint)).collect()
}

/// A random order in which heavier endpoints tend to come first (gRFC A113): by u^(1/weight), descending.
fn shuffled(endpoints: Vec<Endpoint>, random: u64) -> Vec<Endpoint> {
    let mut bits = random;
    let mut keyed: Vec<(f64, Endpoint)> = endpoints
        .into_iter()
        .map(|endpoint| {
            bits = mix(bits);
            let weight = f64::from(endpoint.attributes.weight.unwrap_or(1).max(1));
            (unit(bits).powf(1.0 / weight), endpoint)
        })
        .collect();
    keyed.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    keyed.into_iter().map(|(_, endpoint)| endpoint).collect()
}

/// One endpoint with all addresses, each once. It has the name the endpoints agree on, if they do.
fn flat(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut names = endpoints.iter().map(|endpoint| endpoint.attributes.hostname.clone());
    let first = names.next().flatten();
    let hostname = first.filter(|first| names.all(|name| name.as_ref() == Some(first)));
    let mut seen = HashSet::new();
    let addresses = endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
    let addresses: Vec<_> = addresses.filter(|address| seen.insert(address.clone())).collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    vec![Endpoint { addresses, attributes: Attributes { hostname, ..Attributes::default() } }]
}

#[cfg(test)]
mod tests;
