//! What files mean: defaults, every key once, the examples, and the reference.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highball_channel::service_config::Repeat;
use highball_channel::service_config::balancing::{Balancing, PolicyConfig, SlowStart};
use highball_core::Code;
use highball_net::tls::ClientAuth;
use highball_server::Profile;

use super::super::keys;
use super::{REST, base, good};
use crate::settings::read::read;
use crate::settings::{Cluster, Health, PathMatch, Per, Route, Settings, UpstreamTls, ValueMatch};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cluster `a` with these lines.
#[track_caller]
fn cluster(lines: &str) -> Cluster {
    let text = format!(
        "[[listeners]]\naddress = \"unix:s\"\n[[routes]]\ncluster = \"a\"\n[clusters.a]\ntarget = \"dns:///a:1\"\n{lines}\n"
    );
    good(&text).settings.clusters["a"].clone()
}

/// The route to `a` with these lines.
#[track_caller]
fn route(lines: &str) -> Route {
    good(&format!("{REST}{lines}\n")).settings.routes[0].clone()
}

#[track_caller]
fn settings(lines: &str) -> Settings {
    good(&format!("{lines}\n{REST}")).settings
}

#[test]
fn what_is_not_said_has_the_defaults() {
    let settings = good(REST).settings;
    assert_eq!((settings.workers, &settings.admin, &settings.health), (None, &None, &None));
    assert_eq!((settings.trusted_hops, settings.descriptors.len()), (0, 0));
    assert_eq!(settings.limits, highball_server::Settings::default());
    assert_eq!((&settings.listeners[0].tls, settings.listeners[0].proxy_protocol.len()), (&None, 0));

    let cluster = &settings.clusters["a"];
    assert_eq!(cluster.balancing.policy, PolicyConfig::RoundRobin);
    let outlier = cluster.balancing.outlier.as_ref().unwrap();
    assert_eq!((outlier.consecutive_failures, outlier.max_ejection_percent), (Some(5), 50));
    assert_eq!(outlier.base_ejection_time, Duration::from_secs(30));
    assert_eq!((&cluster.balancing.subset, &cluster.balancing.slow_start), (&None, &None));
    assert_eq!((&cluster.health, &cluster.tls, &cluster.authority), (&Health::Ask, &None, &None));
    let counts = (cluster.calls_per_endpoint_max, cluster.connections_per_endpoint_max, cluster.waiting_max);
    assert_eq!((counts, cluster.retry_tokens), ((1024, 1, 1024), 100));
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.keepalive_time, Some(Duration::from_secs(30)));
    assert_eq!(cluster.keepalive_timeout, Duration::from_secs(10));
    assert_eq!((cluster.response_size_bytes_max, cluster.replay_size_bytes_max), (4 << 20, 256 << 10));

    let route = &settings.routes[0];
    assert_eq!((route.name.as_str(), &route.to), ("route-1", &vec![("a".to_owned(), 1)]));
    assert_eq!((&route.path, route.hosts.len(), route.headers.len()), (&PathMatch::Any, 0, 0));
    assert_eq!((route.deadline, route.stream_idle, &route.repeat), (None, None, &None));
    assert_eq!((&route.mirror, &route.rate, &route.fault), (&None, &None, &None));
}

#[test]
fn paths_are_relative_to_the_file() {
    let settings = settings("descriptors = [\"a.binpb\", \"/b.binpb\"]\nadmin = \"unix:admin.sock\"");
    assert_eq!(settings.descriptors, [base().join("a.binpb"), PathBuf::from("/b.binpb")]);
    assert_eq!(settings.admin.unwrap().to_string(), "unix:/etc/edge/admin.sock");
}

#[test]
fn certificates_of_a_listener() {
    let tls = |lines: &str| {
        let text = REST.replace("[clusters.a]", &format!("tls = {lines}\n[clusters.a]"));
        good(&text).settings.listeners[0].tls.clone().unwrap()
    };
    let one = tls("{ certificate = \"c\", key = \"/k\" }");
    let [pair] = &one.pairs[..] else { panic!("{one:?}") };
    assert_eq!(
        (pair.certificate.as_path(), pair.key.as_path()),
        (base().join("c").as_path(), Path::new("/k"))
    );
    assert_eq!((one.client_auth, &one.client_ca, pair.names.len()), (ClientAuth::None, &None, 0));
    assert!(
        !one.strict_names && tls("{ certificate = \"c\", key = \"k\", strict_names = true }").strict_names
    );

    let asks = tls("{ certificate = \"c\", key = \"k\", client_ca = \"ca\", crl = \"l\" }");
    assert_eq!((asks.client_auth, asks.crl), (ClientAuth::Required, Some(base().join("l"))));
    let optional =
        tls("{ certificate = \"c\", key = \"k\", client_ca = \"ca\", client_auth = \"optional\" }");
    assert_eq!(optional.client_auth, ClientAuth::Optional);

    let two = tls(
        "{ pairs = [{ certificate = \"c\", key = \"k\" }, { certificate = \"d\", key = \"l\", names = [\"*.D.com\"] }] }",
    );
    assert_eq!((two.pairs.len(), &two.pairs[1].names[..]), (2, &["*.d.com".to_owned()][..]));
}

#[test]
fn policies() {
    let policy = |lines: &str| cluster(lines).balancing.policy;
    assert_eq!(policy("policy = \"pick_first\""), PolicyConfig::PickFirst { shuffle: false });
    assert_eq!(
        policy("policy = { pick_first = { shuffle = true } }"),
        PolicyConfig::PickFirst { shuffle: true }
    );
    assert_eq!(policy("policy = \"least_request\""), PolicyConfig::LeastRequest { choice_count: 2 });
    for hashed in [
        "hash_header = \"User-Id\"",
        "policy = \"ring_hash\"\nhash_header = \"user-id\"",
        "policy = { ring_hash = { header = \"user-id\" } }",
    ] {
        let PolicyConfig::RingHash(ring) = policy(hashed) else { panic!("{hashed}") };
        assert_eq!(
            (ring.header.unwrap().as_str(), ring.ring_size_min, ring.ring_size_max),
            ("user-id", 1024, 4096)
        );
    }
    let PolicyConfig::WeightedRoundRobin(weighted) = policy(
        "policy = { weighted_round_robin = { weight_update_period = \"2s\", metric_names = [\"a\"] } }",
    ) else {
        panic!("another policy")
    };
    assert_eq!((weighted.weight_update_period, weighted.metric_names.len()), (Duration::from_secs(2), 1));
    let PolicyConfig::PeakEwma { decay, default_rtt } = policy("policy = { peak_ewma = { decay = \"1s\" } }")
    else {
        panic!("another policy")
    };
    assert_eq!((decay, default_rtt), (Duration::from_secs(1), Duration::from_millis(30)));
}

#[test]
fn what_stands_around_a_policy() {
    let balancing = |lines: &str| -> Balancing { cluster(lines).balancing };
    assert_eq!(balancing("outlier = false").outlier, None);
    let outlier =
        balancing("outlier = { consecutive_failures = 0, base_ejection_time = \"10m\", success_rate = {} }");
    let outlier = outlier.outlier.unwrap();
    assert_eq!((outlier.consecutive_failures, outlier.max_ejection_time), (None, Duration::from_secs(600)));
    assert_eq!((outlier.success_rate.unwrap().stdev_factor, outlier.failure_percentage), (1900, None));
    let slow = |window, aggression, min_weight_percent| {
        Some(SlowStart { window: Duration::from_secs(window), aggression, min_weight_percent })
    };
    assert_eq!(balancing("slow_start = \"30s\"").slow_start, slow(30, 1.0, 10));
    let table = "slow_start = { window = \"9s\", aggression = 2, min_weight_percent = 5 }";
    assert_eq!(balancing(table).slow_start, slow(9, 2.0, 5));
    assert_eq!(balancing("subset = 7").subset, Some(7));
}

#[test]
fn clusters() {
    assert_eq!(cluster("health = false").health, Health::Off);
    assert_eq!(cluster("health = \"a.B\"").health, Health::Require("a.B".to_owned()));
    assert_eq!(cluster("tls = true").tls, Some(UpstreamTls::default()));
    assert_eq!(cluster("tls = false").tls, None);
    let tls = cluster("tls = { ca = \"ca\", certificate = \"c\", key = \"k\", server_name = \"10.0.0.1\" }")
        .tls
        .unwrap();
    assert_eq!((tls.ca, tls.server_name.as_deref()), (Some(base().join("ca")), Some("10.0.0.1")));
    assert_eq!(tls.identity, Some((base().join("c"), base().join("k"))));
    assert_eq!(cluster("authority = \"a:1\"").authority.unwrap().as_str(), "a:1");
    assert_eq!(cluster("keepalive_time = \"0s\"").keepalive_time, None);
    assert_eq!(cluster("replay_size_max = 0").replay_size_bytes_max, 0);
    assert_eq!(cluster("response_size_max = \"16 MiB\"").response_size_bytes_max, 16 << 20);
}

#[test]
fn conditions_of_a_route() {
    assert_eq!(route("method = \"a.B/C\"").path, PathMatch::Exact("/a.B/C".to_owned()));
    assert_eq!(route("service = \"a.B\"").path, PathMatch::Service("a.B".to_owned()));
    assert_eq!(route("hosts = [\"A.com\", \"*.b.com\", \"[::1]\"]").hosts, ["a.com", "*.b.com", "[::1]"]);
    let headers = route("headers = { b = \"1\", A = { prefix = \"2\" }, c = { present = false } }").headers;
    let names: Vec<_> = headers.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c"], "the order of the file");
    let value = |index: usize| headers[index].value.clone();
    assert_eq!((value(0), value(1)), (ValueMatch::Exact("1".to_owned()), ValueMatch::Prefix("2".to_owned())));
    assert_eq!(value(2), ValueMatch::Present(false));
}

#[test]
fn a_regex_is_about_the_whole_value() {
    let matches = |pattern: &str, value: &str| {
        let headers = route(&format!("headers = {{ a = {{ regex = '{pattern}' }} }}")).headers;
        let ValueMatch::Regex(regex) = &headers[0].value else { panic!("{headers:?}") };
        regex.is_match(value)
    };
    for (pattern, value, expected) in [
        ("v[0-9]+", "v12", true),
        ("v[0-9]+", "xv12", false),
        ("v[0-9]+", "v12x", false),
        ("a|b", "ab", false),
        ("a|b", "b", true),
        ("(?i)canary", "Canary", true),
        ("\\w+", "abc", true),
        ("(?m)a", "b\na", false),
    ] {
        assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
    }
}

#[test]
fn what_a_route_does() {
    let text =
        "[clusters.b]\ntarget = \"b\"\n[clusters.c]\ntarget = \"c\"\n[[routes]]\nsplit = { c = 1, b = 0 }\n";
    let settings = good(&format!(
        "[[listeners]]\naddress = \"unix:s\"\n{text}mirror = {{ cluster = \"b\", percent = 0.5 }}"
    ))
    .settings;
    assert_eq!(settings.routes[0].to, [("c".to_owned(), 1), ("b".to_owned(), 0)]);
    let mirror = settings.routes[0].mirror.clone().unwrap();
    assert_eq!((mirror.cluster.as_str(), mirror.percent, mirror.calls_max), ("b", 0.5, 100));

    assert_eq!(route("stream_idle = \"0s\"").stream_idle, Some(Duration::ZERO));
    let rate = route("rate = { per_second = 0.5 }").rate.unwrap();
    assert_eq!((rate.rates.per_second, rate.rates.burst, rate.per), (0.5, 1, Per::Caller));
    let rate = route("rate = { per_second = 2.5, per = \"header:X-Key\" }").rate.unwrap();
    assert_eq!((rate.rates.burst, rate.per), (3, Per::Header("x-key".parse().unwrap())));
    let fault =
        route("fault = { delay = \"1s\", delay_percent = 5, abort = \"UNAVAILABLE\" }").fault.unwrap();
    assert_eq!(fault.delay, Some((Duration::from_secs(1), 5.0)));
    assert_eq!(fault.abort, Some((Code::Unavailable, 100.0)));
    let rewrite = route("request_headers = { remove = [\"X-A\"], set = { b = \"1\" }, add = { b = \"2\" } }")
        .request_headers;
    assert_eq!(rewrite.remove[0].as_str(), "x-a");
    assert_eq!((rewrite.set[0].1.as_bytes(), rewrite.add[0].1.as_bytes()), (&b"1"[..], &b"2"[..]));
}

#[test]
fn how_a_route_repeats() {
    assert_eq!(route("retry = false").repeat, Some(Repeat::Never));
    let Some(Repeat::Retry(retry)) = route("retry = {}").repeat else { panic!("no retry") };
    assert_eq!((retry.max_attempts, retry.per_attempt_timeout), (3, None));
    assert_eq!(retry.retryable_codes.iter().collect::<Vec<_>>(), [Code::Unavailable]);
    assert_eq!(
        (retry.initial_backoff, retry.max_backoff),
        (Duration::from_millis(25), Duration::from_millis(250))
    );
    let Some(Repeat::Retry(retry)) = route("retry = { backoff = \"1s\" }").repeat else { panic!("no retry") };
    assert_eq!(retry.max_backoff, Duration::from_secs(1));
    let hedge = "hedge = { attempts = 2, delay = \"50ms\", codes = [\"INTERNAL\"] }";
    let Some(Repeat::Hedge(hedge)) = route(hedge).repeat else { panic!("no hedge") };
    assert_eq!((hedge.max_attempts, hedge.delay), (2, Duration::from_millis(50)));
    assert!(hedge.non_fatal_codes.contains(Code::Internal));
}

#[test]
fn every_limit_reaches_the_server() {
    let zero = ["lame_duck", "drain_timeout", "stream_idle", "connection_age_grace"];
    let usual = good(REST).settings.limits;
    for key in keys::LIMITS.known {
        let value = match *key {
            "receive_buffer_size_max" => "\"65535B\"",
            key if key.contains("size") => "\"1234KiB\"",
            key if zero.contains(&key) => "\"0s\"",
            key if key.ends_with("_max") => "1234",
            _ => "\"77s\"",
        };
        let limits = good(&format!("{REST}[limits]\n{key} = {value}\n")).settings.limits;
        assert_ne!(limits, usual, "{key}");
    }
    let limits = settings("profile = \"production\"\nopen_boxes_allowed = \"tls\"").limits;
    assert_eq!((limits.profile, limits.open_boxes_allowed), (Profile::Production, vec!["tls".to_owned()]));
}

#[test]
fn equal_files_are_equal_settings() {
    let text = format!("{REST}headers = {{ a = {{ regex = 'b' }} }}\n");
    assert_eq!(good(&text), good(&format!("{text}# The end.\n")));
    assert_ne!(good(&text).settings, good(&text.replace("'b'", "'c'")).settings);
}

#[test]
fn the_examples_are_short_and_can_be_used() {
    for (name, lines_max) in [("minimal.toml", 12), ("tour.toml", 59)] {
        let file = repository().join("examples/edge").join(name);
        let text = fs::read_to_string(&file).unwrap();
        let found = read(&text, file.parent().unwrap());
        let found = found.unwrap_or_else(|problems| panic!("{}", problems.render(name, &text)));
        assert_eq!(found.warnings, [], "{name}");
        assert!(text.lines().count() <= lines_max, "{name} has {} lines", text.lines().count());
    }
}

#[test]
fn the_reference_has_every_key() {
    let reference = fs::read_to_string(repository().join("docs/edge/file.md")).unwrap();
    for keys in keys::ALL {
        for key in keys.known {
            assert!(
                reference.contains(&format!("`{key}`")),
                "docs/edge/file.md lacks `{key}` of {}",
                keys.what
            );
        }
    }
}

#[test]
fn the_examples_of_the_reference_can_be_used() {
    let reference = fs::read_to_string(repository().join("docs/edge/file.md")).unwrap();
    let examples: Vec<_> =
        reference.split("```toml\n").skip(1).filter_map(|text| text.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        good(example);
    }
}
