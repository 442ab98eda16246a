//! Which route an RPC takes.

use std::sync::Arc;
use std::time::Duration;

use highball_channel::CallOptions;
use highball_core::{Method, MethodKind};
use highball_telemetry::RouteMeter;
use http::{HeaderMap, HeaderValue, Uri};

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::headers::Rewrite;
use crate::mirror::Mirror;
use crate::quota::Quota;
use crate::settings::{HeaderMatch, PathMatch, ValueMatch};

/// A route with all it leads to, made once for each table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) conditions: Conditions,
    pub(crate) split: Split,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) stream_idle: Option<Duration>,
    pub(crate) quota: Option<Arc<Quota>>,
    pub(crate) request_headers: Rewrite,
    pub(crate) response_headers: Rewrite,
    pub(crate) fault: Option<Fault>,
}

/// What must hold, all of it.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) hosts: Vec<String>,
    pub(crate) path: PathMatch,
    pub(crate) headers: Vec<HeaderMatch>,
}

impl Conditions {
    /// Why an RPC does not match; `None` when it does.
    pub(crate) fn unmet(&self, host: &str, method: &Method, headers: &HeaderMap) -> Option<String> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|pattern| is_host(pattern, host)) {
            return Some(format!("the host is not {}", self.hosts.join(" or ")));
        }
        if !self.is_path(method) {
            return Some(format!("the method is not {}", self.path));
        }
        let unmet = self.headers.iter().find(|wanted| !wanted.is_met(headers))?;
        Some(format!("the header {} is not {}", unmet.name, unmet.value))
    }

    /// Whether it matches. The hot path: says nothing of why.
    pub(crate) fn are_met(&self, host: &str, method: &Method, headers: &HeaderMap) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| is_host(pattern, host)))
            && self.is_path(method)
            && self.headers.iter().all(|wanted| wanted.is_met(headers))
    }

    fn is_path(&self, method: &Method) -> bool {
        match &self.path {
            PathMatch::Any => true,
            PathMatch::Exact(path) => path.strip_prefix('/').is_some_and(|name| name == method.full_name()),
            PathMatch::Prefix(prefix) => {
                prefix.strip_prefix('/').is_some_and(|prefix| method.full_name().starts_with(prefix))
            }
            PathMatch::Service(service) => service == method.service(),
        }
    }
}

/// Without the port, in any case: names are not case sensitive (RFC 4343).
pub(crate) fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let named = || headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host =
        uri.host().or_else(|| named().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host)));
    host_named(host.unwrap_or_default())
}

/// A host as routes compare it.
pub(crate) fn host_named(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// `pattern` is in lower case, exact or `*.` and a name.
fn is_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

impl HeaderMatch {
    fn is_met(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match &self.value {
            ValueMatch::Present(wanted) => values.next().is_some() == *wanted,
            ValueMatch::Exact(text) => values.any(|value| value == text.as_str()),
            ValueMatch::Prefix(prefix) => values.any(|value| value.as_bytes().starts_with(prefix.as_bytes())),
            ValueMatch::Regex(regex) => values
                .filter_map(|value: &HeaderValue| value.to_str().ok())
                .any(|value| regex.is_match(value)),
        }
    }
}

/// Where the RPCs of a route go, by weight.
#[derive(Debug)]
pub(crate) struct Split {
    legs: Vec<Leg>,
    total: u64,
}

/// One cluster of a split.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) weight: u32,
    pub(crate) cluster: Arc<Cluster>,
    /// What is asked of unary calls, and of all others: these have no deadline of the route.
    pub(crate) unary: Arc<CallOptions>,
    pub(crate) other: Arc<CallOptions>,
    pub(crate) meter: RouteMeter,
}

impl Leg {
    pub(crate) fn options(&self, kind: MethodKind) -> &Arc<CallOptions> {
        match kind {
            MethodKind::Unary => &self.unary,
            MethodKind::Streaming | MethodKind::Unknown => &self.other,
        }
    }
}

impl Split {
    /// `None` when nothing has any weight.
    pub(crate) fn new(legs: Vec<Leg>) -> Option<Self> {
        let total = legs.iter().map(|leg| u64::from(leg.weight)).sum();
        (total > 0).then_some(Self { legs, total })
    }

    pub(crate) fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// One of them, as often as its weight says.
    pub(crate) fn choose(&self, random: impl FnOnce() -> u64) -> &Leg {
        let (last, others) = self.legs.split_last().unwrap_or_else(|| unreachable!("a split has weight"));
        if others.is_empty() {
            return last;
        }
        // The bias of a remainder is below a billionth: weights are 32 bits.
        let mut ticket = random() % self.total;
        for leg in others {
            match ticket.checked_sub(u64::from(leg.weight)) {
                Some(rest) => ticket = rest,
                None => return leg,
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;
    use regex::Regex;

    fn method(path: &'static str) -> Method {
        Method::parse(&PathAndQuery::from_static(path)).unwrap()
    }

    fn any() -> Conditions {
        Conditions { hosts: Vec::new(), path: PathMatch::Any, headers: Vec::new() }
    }

    /// Whether they are met, by both ways of asking.
    fn met(conditions: &Conditions, host: &str, path: &'static str, headers: &HeaderMap) -> bool {
        let met = conditions.are_met(host, &method(path), headers);
        assert_eq!(met, conditions.unmet(host, &method(path), headers).is_none());
        met
    }

    #[test]
    fn a_host_is_exact_or_anything_below_a_name() {
        let hosts = vec!["shop.example".to_owned(), "*.eu.example".to_owned()];
        let conditions = Conditions { hosts, ..any() };
        for (host, want) in [
            ("shop.example", true),
            ("a.eu.example", true),
            ("b.a.eu.example", true),
            ("eu.example", false),
            ("evil-eu.example", false),
            ("shop.example.evil", false),
            ("", false),
        ] {
            assert_eq!(met(&conditions, host, "/a.B/C", &HeaderMap::new()), want, "{host}");
        }
    }

    #[test]
    fn the_host_of_a_request_has_no_port_and_no_case() {
        let headers = HeaderMap::new();
        for text in ["http://Shop.Example/a", "http://shop.example:443/a", "http://shop.example./a"] {
            assert_eq!(host(&text.parse().unwrap(), &headers), "shop.example", "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, HeaderValue::from_static("Shop.Example:80"));
        assert_eq!(host(&Uri::from_static("/a"), &headers), "shop.example");
    }

    #[test]
    fn a_path_is_exact_a_prefix_or_a_service() {
        let path = |path| Conditions { path, ..any() };
        let none = HeaderMap::new();
        let exact = path(PathMatch::Exact("/a.B/C".to_owned()));
        assert!(met(&exact, "", "/a.B/C", &none) && !met(&exact, "", "/a.B/Cc", &none));
        let prefix = path(PathMatch::Prefix("/a.".to_owned()));
        assert!(met(&prefix, "", "/a.B/C", &none) && !met(&prefix, "", "/b.a.B/C", &none));
        let service = path(PathMatch::Service("a.B".to_owned()));
        assert!(met(&service, "", "/a.B/X", &none) && !met(&service, "", "/a.Bb/X", &none));
    }

    #[test]
    fn every_header_must_be_met_by_one_of_its_values() {
        let name = http::HeaderName::from_static("x-version");
        let wanted = |value| Conditions { headers: vec![HeaderMatch { name: name.clone(), value }], ..any() };
        let sent = |values: &[&'static str]| -> HeaderMap {
            values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let is = |value: ValueMatch, values| met(&wanted(value), "", "/a.B/C", &sent(values));
        assert!(is(ValueMatch::Exact("v2".to_owned()), &["v1", "v2"]));
        assert!(!is(ValueMatch::Exact("v2".to_owned()), &["v1", "v22"]));
        assert!(is(ValueMatch::Prefix("v".to_owned()), &["v1"]));
        assert!(is(ValueMatch::Regex(Regex::new("^(?:v[0-9]+)$").unwrap()), &["v12"]));
        assert!(!is(ValueMatch::Regex(Regex::new("^(?:v[0-9]+)$").unwrap()), &["xv12"]));
        assert!(is(ValueMatch::Present(true), &["any"]) && !is(ValueMatch::Present(true), &[]));
        assert!(is(ValueMatch::Present(false), &[]) && !is(ValueMatch::Present(false), &["any"]));
    }
}
