//! Which routes can never be reached.

use crate::settings::{HeaderMatch, PathMatch, Route, ValueMatch};

/// Whether every RPC that `later` matches is one that `earlier` matches too. It may say no where it is so, for two regexes
/// for example; it never says yes where it is not.
pub(super) fn covers(earlier: &Route, later: &Route) -> bool {
    let hosts = earlier.hosts.is_empty()
        || (!later.hosts.is_empty()
            && later.hosts.iter().all(|host| earlier.hosts.iter().any(|own| host_covers(own, host))));
    hosts
        && path_covers(&earlier.path, &later.path)
        && earlier.headers.iter().all(|own| later.headers.iter().any(|other| header_covers(own, other)))
}

fn host_covers(own: &str, other: &str) -> bool {
    own == other
        || own.strip_prefix('*').is_some_and(|below| {
            let other = other.strip_prefix('*').unwrap_or(other);
            other.len() > below.len() && other.ends_with(below)
        })
}

fn path_covers(own: &PathMatch, other: &PathMatch) -> bool {
    use PathMatch::{Any, Exact, Prefix, Service};
    let within = |path: &str, service: &str| {
        let path = path.strip_prefix('/').and_then(|path| path.strip_prefix(service));
        path.is_some_and(|method| method.starts_with('/'))
    };
    match (own, other) {
        (Any, _) => true,
        (Exact(own), Exact(path)) => own == path,
        (Prefix(own), Exact(path) | Prefix(path)) => path.starts_with(own),
        (Prefix(own), Service(service)) => format!("/{service}/").starts_with(own),
        (Service(own), Service(service)) => own == service,
        (Service(own), Exact(path) | Prefix(path)) => within(path, own),
        (Prefix(own), Any) => own == "/",
        _ => false,
    }
}

fn header_covers(own: &HeaderMatch, other: &HeaderMatch) -> bool {
    use ValueMatch::{Exact, Prefix, Present, Regex};
    own.name == other.name
        && (own.value == other.value
            || match (&own.value, &other.value) {
                (Present(true), Exact(_) | Prefix(_) | Regex(_)) => true,
                (Prefix(own), Exact(value) | Prefix(value)) => value.starts_with(own),
                (Regex(own), Exact(value)) => own.is_match(value),
                _ => false,
            })
}
