//! What is different between two files, for the log of a reload.

use std::collections::BTreeMap;

use highball_edge::Settings;
use highball_edge::settings::{Cluster, Route};

/// One entry for each part that is different; none when only comments and spaces are.
pub(super) fn between(old: &Settings, new: &Settings) -> Vec<String> {
    let mut changes = Vec::new();
    parts("cluster", &old.clusters, &new.clusters, cluster, &mut changes);
    let by_name = |settings: &Settings| -> BTreeMap<String, Route> {
        settings.routes.iter().map(|route| (route.name.clone(), route.clone())).collect()
    };
    parts("route", &by_name(old), &by_name(new), route, &mut changes);
    // Of those that are in both; what came and went is told above.
    let sequence = |of: &Settings, other: &Settings| -> Vec<String> {
        let known = |name: &String| other.routes.iter().any(|route| route.name == *name);
        of.routes.iter().map(|route| route.name.clone()).filter(known).collect()
    };
    if sequence(old, new) != sequence(new, old) {
        changes.push("routes are in another order".to_owned());
    }
    if old.trusted_hops != new.trusted_hops {
        changes.push(format!("trusted_hops {} instead of {}", new.trusted_hops, old.trusted_hops));
    }
    changes
}

fn parts<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    differences: impl Fn(&T, &T) -> Vec<&'static str>,
    changes: &mut Vec<String>,
) {
    for (name, now) in new {
        match old.get(name) {
            None => changes.push(format!("{kind} {name} added")),
            Some(before) if before != now => {
                changes.push(format!("{kind} {name} changed: {}", differences(before, now).join(", ")));
            }
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    changes.extend(gone.map(|name| format!("{kind} {name} removed")));
}

/// The names of the fields that differ, as the file spells them.
macro_rules! differing {
    ($old:ident, $new:ident, [$($field:ident => $name:literal),* $(,)?]) => {
        [$(($name, $old.$field != $new.$field)),*]
            .into_iter()
            .filter_map(|(name, differs)| differs.then_some(name))
            .collect()
    };
}

fn cluster(old: &Cluster, new: &Cluster) -> Vec<&'static str> {
    differing!(old, new, [
        target => "target", balancing => "policy", health => "health", tls => "tls", authority => "authority",
        calls_per_endpoint_max => "calls_per_endpoint_max",
        connections_per_endpoint_max => "connections_per_endpoint_max", waiting_max => "waiting_max",
        connect_timeout => "connect_timeout", keepalive_time => "keepalive_time",
        keepalive_timeout => "keepalive_timeout", response_size_bytes_max => "response_size_max",
        replay_size_bytes_max => "replay_size_max", retry_tokens => "retry_tokens",
    ])
}

fn route(old: &Route, new: &Route) -> Vec<&'static str> {
    differing!(old, new, [
        hosts => "hosts", path => "path", headers => "headers", to => "cluster", mirror => "mirror",
        deadline => "deadline", stream_idle => "stream_idle", repeat => "retry", rate => "rate",
        request_headers => "request_headers", response_headers => "response_headers", fault => "fault",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(text: &str) -> Settings {
        let whole = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{text}");
        highball_edge::settings::read::read(&whole, Path::new(".")).unwrap().settings
    }

    #[test]
    fn every_part_that_is_different_is_named() {
        let old = settings(
            "[clusters.a]\ntarget = \"dns:///a:1\"\n[clusters.b]\ntarget = \"dns:///b:1\"\n\
             [[routes]]\nname = \"x\"\nservice = \"s.X\"\ncluster = \"a\"\n[[routes]]\nname = \"y\"\ncluster = \"b\"\n",
        );
        let new = settings(
            "[clusters.a]\ntarget = \"dns:///a:2\"\nhealth = false\n[clusters.c]\ntarget = \"dns:///c:1\"\n\
             [[routes]]\nname = \"y\"\nservice = \"s.Y\"\ncluster = \"c\"\n[[routes]]\nname = \"x\"\nservice = \"s.X\"\ncluster = \"a\"\n",
        );
        assert_eq!(
            between(&old, &new),
            [
                "cluster a changed: target, health",
                "cluster c added",
                "cluster b removed",
                "route y changed: path, cluster",
                "routes are in another order",
            ]
        );
        assert_eq!(between(&old, &old), [""; 0]);
    }
}
