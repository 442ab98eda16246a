//! One test for each kind of problem: where it is found, and what is said.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::{FILE_SIZE_BYTES_MAX, PROBLEMS_MAX, Problem};
use super::{REST, bad, base};
use crate::settings::read::read;

/// Lines of one part of the file, the place of the problem in them (line counted within the lines), and a part of what is said.
type Case = (&'static str, (usize, usize), &'static str);

/// Each case is `lines` between `before` and `after`, and has the one problem.
#[track_caller]
fn check(before: &str, after: &str, cases: &[Case]) {
    for (lines, (line, column), said) in cases {
        let text = format!("{before}{lines}\n{after}");
        let problems = bad(&text);
        let [problem] = &problems.0[..] else { panic!("not one problem of {lines:?}:\n{problems}") };
        let place = (line + before.lines().count(), *column);
        assert_eq!((problem.line, problem.column), place, "{lines:?}: {problem}");
        assert!(problem.message.contains(said), "{lines:?}: {problem}\nis not about {said:?}");
    }
}

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:1\"\n";
const CLUSTER: &str = "[clusters.a]\ntarget = \"dns:///a:1\"\n";
const ROUTE: &str = "[[routes]]\ncluster = \"a\"\n";

#[test]
fn the_top_of_the_file() {
    check(
        "",
        REST,
        &[
            ("workers = 0", (1, 11), "workers is 0; it must be between 1 and 1024"),
            ("workers = \"two\"", (1, 11), "workers must be a whole number, not a string"),
            ("trusted_hops = 99", (1, 16), "between 0 and 32"),
            ("trusted_hops = -1", (1, 16), "trusted_hops is -1"),
            (
                "worker = 2",
                (1, 1),
                "unknown key \"worker\"; did you mean \"workers\"? the file has workers, admin",
            ),
            ("admin = \"localhost:80\"", (1, 9), "is not an address; write IP:PORT"),
            ("admin = \"127.0.0.1:1\"", (1, 9), "127.0.0.1:1 is taken by listeners already"),
            ("health = \"unix:\"", (1, 10), "is not an address"),
            ("descriptors = []", (1, 15), "descriptors is empty"),
            ("descriptors = \"\"", (1, 15), "descriptors is empty"),
            ("descriptors = 7", (1, 15), "must be a string or a list of strings"),
            ("profile = \"prod\"", (1, 11), "none of production, development"),
            ("open_boxes_allowed = [1]", (1, 23), "must be a string, not a whole number"),
            ("something = 1", (1, 1), "unknown key \"something\"; the file has workers"),
        ],
    );
}

#[test]
fn what_is_not_toml() {
    check(
        "",
        REST,
        &[
            ("workers 2", (1, 9), "not TOML"),
            ("admin = \"a\nb\"", (1, 11), "not TOML: invalid basic string"),
            ("workers = 1\nworkers = 2", (2, 1), "duplicate key"),
        ],
    );
}

#[test]
fn parts_that_are_missing() {
    for (text, place, said) in [
        (format!("{CLUSTER}{ROUTE}"), "1:1", "needs listeners, such as [[listeners]]"),
        (format!("{LISTENER}[clusters]\n{ROUTE}"), "3:1", "clusters is empty"),
        (format!("{LISTENER}{CLUSTER}"), "1:1", "needs routes, such as [[routes]]"),
        (format!("routes = []\n{LISTENER}{CLUSTER}"), "1:10", "routes is empty"),
        (format!("routes = 3\n{LISTENER}{CLUSTER}"), "1:10", "routes must be a list"),
        (format!("routes = [3]\n{LISTENER}{CLUSTER}"), "1:11", "routes must be a table"),
    ] {
        let problems = bad(&text).to_string();
        let [problem] = &problems.lines().collect::<Vec<_>>()[..] else {
            panic!("not one problem:\n{problems}")
        };
        assert!(problem.starts_with(place) && problem.contains(said), "{problem}\nis not {place} {said}");
    }
}

#[test]
fn listeners() {
    check(
        "[[listeners]]\n",
        &format!("{CLUSTER}{ROUTE}"),
        &[
            ("address = \"[::1]\"", (1, 11), "is not an address"),
            ("address = 80", (1, 11), "must be a string, not a whole number"),
            ("adress = \"127.0.0.1:2\"\naddress = \"127.0.0.1:3\"", (1, 1), "did you mean \"address\"?"),
        ],
    );
    check(
        LISTENER,
        &format!("{CLUSTER}{ROUTE}"),
        &[
            ("[[listeners]]", (1, 1), "a listener needs address, such as"),
            ("[[listeners]]\naddress = \"127.0.0.1:1\"", (2, 11), "is taken by listeners already"),
            ("proxy_protocol = [\"10.0.0.0/8\", \"10.0.0.1/8\"]", (1, 33), "is not a network"),
            ("tls = {}", (1, 7), "tls needs certificate and key"),
            ("tls = { certificate = \"c\" }", (1, 7), "tls needs certificate and key"),
            ("tls = true", (1, 7), "must be a table, not true or false"),
            (
                "tls = { certificate = \"c\", key = \"k\", client_auth = \"required\" }",
                (1, 53),
                "needs client_ca",
            ),
            ("tls = { certificate = \"c\", key = \"k\", crl = \"l\" }", (1, 45), "crl needs client_ca"),
            (
                "tls = { certificate = \"c\", key = \"k\", client_ca = \"a\", client_auth = \"optonal\" }",
                (1, 70),
                "did you mean \"optional\"?",
            ),
            ("tls = { pairs = [{ certificate = \"c\" }] }", (1, 18), "needs key, such as"),
            (
                "tls = { key = \"k\", pairs = [{ certificate = \"c\", key = \"k\" }] }",
                (1, 15),
                "move it into pairs",
            ),
            (
                "tls = { pairs = [{ certificate = \"c\", key = \"k\", names = [\"a b\"] }] }",
                (1, 59),
                "is not a host",
            ),
        ],
    );
}

#[test]
fn clusters() {
    check(
        LISTENER,
        ROUTE,
        &[
            ("[clusters.a]", (1, 1), "a cluster needs target"),
            ("[clusters.a]\ntarget = \"\"", (2, 10), "target is empty"),
            ("[clusters.a]\ntarget = \"ipv4:nothing\"", (2, 10), "nothing"),
            ("[clusters]\na = \"dns:///a\"", (2, 5), "a must be a table, not a string"),
            (
                "[clusters.a]\ntarget = \"dns:///a\"\n[clusters.\"a b\"]\ntarget = \"dns:///a\"",
                (3, 11),
                "is not a name",
            ),
        ],
    );
    check(
        &format!("{LISTENER}{CLUSTER}"),
        ROUTE,
        &[
            (
                "polcy = \"round_robin\"",
                (1, 1),
                "unknown key \"polcy\"; did you mean \"policy\"? a cluster has target",
            ),
            ("health = 1", (1, 10), "must be true, false or the name of a service"),
            ("health = \"a b\"", (1, 10), "is not a service"),
            ("tls = 1", (1, 7), "must be true, false or a table"),
            ("tls = { certificate = \"c\" }", (1, 23), "certificate stands without key; add it"),
            ("tls = { key = \"c\" }", (1, 15), "key stands without certificate"),
            ("tls = { server_name = \"*.a\" }", (1, 23), "without a wildcard"),
            ("authority = \"a b\"", (1, 13), "is not an authority"),
            ("authority = \"me@a\"", (1, 13), "is not an authority"),
            ("calls_per_endpoint_max = 0", (1, 26), "calls_per_endpoint_max is 0"),
            ("connections_per_endpoint_max = 11", (1, 32), "between 1 and 10"),
            ("waiting_max = 1.5", (1, 15), "must be a whole number, not a number with a fraction"),
            ("connect_timeout = 5", (1, 19), "must be a string with a unit, such as"),
            ("connect_timeout = \"5\"", (1, 19), "is not a time; write a whole number with ms, s, m, h or d"),
            ("connect_timeout = \"0s\"", (1, 19), "connect_timeout is zero"),
            ("connect_timeout = \"400d\"", (1, 19), "longer than a year"),
            ("keepalive_time = \"5s\"", (1, 18), "keepalive_time is 5s"),
            (
                "response_size_max = \"4MB\"",
                (1, 21),
                "is not a size; write a whole number with B, KiB, MiB or GiB",
            ),
            ("response_size_max = 4096", (1, 21), "must be a string with a unit"),
            ("response_size_max = \"0B\"", (1, 21), "response_size_max is 0"),
            ("response_size_max = \"4GiB\"", (1, 21), "4GiB or more"),
            ("retry_tokens = 1001", (1, 16), "between 1 and 1000"),
        ],
    );
}

#[test]
fn balancing() {
    check(
        &format!("{LISTENER}{CLUSTER}"),
        ROUTE,
        &[
            ("policy = \"round-robin\"", (1, 10), "did you mean \"round_robin\"?"),
            ("policy = 1", (1, 10), "must be the name of a policy, or a table"),
            ("policy = {}", (1, 10), "exactly one of round_robin"),
            ("policy = { round_robin = {}, pick_first = {} }", (1, 10), "exactly one of"),
            ("policy = { round_robn = {} }", (1, 12), "did you mean \"round_robin\"?"),
            ("policy = { round_robin = { header = \"a\" } }", (1, 28), "round_robin has no keys"),
            ("policy = { least_request = { choice_count = 1 } }", (1, 45), "between 2 and 10"),
            ("policy = { ring_hash = { header = \"a-bin\" } }", (1, 35), "is not a header of text"),
            (
                "policy = { ring_hash = { header = \"a\", ring_size_min = 9, ring_size_max = 8 } }",
                (1, 24),
                "swap",
            ),
            (
                "policy = { weighted_round_robin = { error_utilization_penalty = -1 } }",
                (1, 65),
                "is negative",
            ),
            (
                "policy = { weighted_round_robin = { weight_update_period = \"1ms\" } }",
                (1, 60),
                "at least 100ms",
            ),
            ("policy = \"pick_first\"\nhash_header = \"a\"", (2, 15), "hash_header is for ring_hash"),
            ("policy = { ring_hash = { header = \"a\" } }\nhash_header = \"b\"", (2, 15), "keep one of them"),
            ("hash_header = \"a b\"", (1, 15), "is not the name of a header"),
            ("policy = \"pick_first\"\nslow_start = \"5s\"", (2, 14), "slow_start has no effect"),
            ("slow_start = 5", (1, 14), "must be a time such as"),
            ("slow_start = {}", (1, 14), "needs window"),
            ("slow_start = { window = \"1s\", aggression = 0 }", (1, 44), "must be more than 0"),
            ("subset = 0", (1, 10), "subset is 0"),
            ("outlier = 5", (1, 11), "must be false or a table"),
            ("outlier = { interval = \"1ms\" }", (1, 24), "at least 100ms"),
            ("outlier = { max_ejection_percent = 101 }", (1, 36), "between 0 and 100"),
            ("outlier = { base_ejection_time = \"9s\", max_ejection_time = \"8s\" }", (1, 60), "raise it"),
            ("outlier = { success_rate = { stdev = 1 } }", (1, 30), "unknown key \"stdev\""),
            ("outlier = { failure_percentage = { threshold = -1 } }", (1, 48), "threshold is -1"),
        ],
    );
}

#[test]
fn destinations() {
    let before = format!("{LISTENER}{CLUSTER}[clusters.other]\ntarget = \"dns:///b\"\n[[routes]]\n");
    check(
        &before,
        "",
        &[
            ("", (0, 1), "a route needs cluster or split"),
            ("cluster = \"b\"", (1, 11), "no [clusters.NAME] has the name \"b\"; did you mean \"a\"?"),
            ("cluster = \"something\"", (1, 11), "the name \"something\"; add it, or name one that is"),
            (
                "cluster = \"a\"\nsplit = { other = 1 }",
                (2, 9),
                "split stands beside cluster; keep one of them",
            ),
            ("split = {}", (1, 9), "split is empty"),
            ("split = { a = 0, other = 0 }", (1, 9), "all weights of split are 0"),
            ("split = { a = 1, othr = 1 }", (1, 18), "did you mean \"other\"?"),
            ("split = { a = -1, other = 1 }", (1, 15), "a is -1; it must be between 0 and 1000000"),
            ("cluster = \"a\"\nmirror = \"othre\"", (2, 10), "did you mean \"other\"?"),
            ("cluster = \"a\"\nmirror = 1", (2, 10), "must be the name of a cluster, or a table"),
            ("cluster = \"a\"\nmirror = { percent = 1 }", (2, 10), "mirror needs cluster"),
            (
                "cluster = \"a\"\nmirror = { cluster = \"a\", percent = 100.5 }",
                (2, 37),
                "is between 0 and 100",
            ),
            (
                "cluster = \"a\"\nmirror = { cluster = \"a\", percent = nan }",
                (2, 37),
                "not a number that can be used",
            ),
        ],
    );
}

#[test]
fn conditions() {
    check(
        &format!("{LISTENER}{CLUSTER}{ROUTE}"),
        "",
        &[
            ("host = \"a:80\"", (1, 8), "leave the port out"),
            ("host = \"*\"", (1, 8), "leave it out to match every host"),
            ("host = \"::1\"", (1, 8), "in brackets"),
            ("host = \"a.*.b\"", (1, 8), "is not a host"),
            ("hosts = [\"a\", \"b/c\"]", (1, 15), "is not a host"),
            ("hosts = []", (1, 9), "hosts is empty"),
            ("host = \"a\"\nhosts = [\"b\"]", (2, 9), "hosts stands beside host"),
            ("path = \"a\"", (1, 8), "starts with a slash"),
            ("prefix = \"/a?b\"", (1, 10), "is not a path"),
            ("service = \"/a.B\"", (1, 11), "is not a service"),
            ("method = \"a.B\"", (1, 10), "is not a method"),
            ("path = \"/a\"\nprefix = \"/b\"", (2, 10), "prefix stands beside path"),
            ("headers = [\"a\"]", (1, 11), "must be a table, not a list"),
            ("headers = { \"a b\" = \"c\" }", (1, 13), "is not the name of a header"),
            ("headers = { \":path\" = \"c\" }", (1, 13), "use host, path or method"),
            ("headers = { a = \"ä\" }", (1, 17), "is not a value that can be sent"),
            ("headers = { a = 1 }", (1, 17), "must be a string, or a table such as"),
            ("headers = { a = {} }", (1, 17), "exactly one of exact, prefix, regex, present"),
            ("headers = { a = { exact = \"b\", prefix = \"c\" } }", (1, 17), "exactly one of"),
            ("headers = { a = { exakt = \"b\" } }", (1, 19), "did you mean \"exact\"?"),
            ("headers = { a = { prefix = \"\" } }", (1, 28), "prefix is empty"),
            ("headers = { a = { present = 1 } }", (1, 29), "must be true or false"),
            ("headers = { a = \"b\", A = \"c\" }", (1, 22), "a is there twice"),
            ("headers = { a = { regex = \"(\" } }", (1, 27), "is not a regex: unclosed group"),
            ("headers = { a = { regex = \"a)|(b\" } }", (1, 27), "is not a regex: un"),
            ("headers = { a = { regex = '(\\w{1000}){1000}' } }", (1, 27), "too large"),
        ],
    );
}

#[test]
fn what_a_route_does() {
    check(
        &format!("{LISTENER}{CLUSTER}{ROUTE}"),
        "",
        &[
            ("name = \"a b\"", (1, 8), "is not a name"),
            (
                "name = \"a\"\n[[routes]]\ncluster = \"a\"\nname = \"a\"\nhost = \"b\"",
                (4, 8),
                "the name of route 1 already",
            ),
            ("deadline = \"0s\"", (1, 12), "deadline is zero"),
            ("stream_idle = true", (1, 15), "must be a string with a unit"),
            ("retry = true", (1, 9), "must be false or a table"),
            ("retry = { attempts = 1 }", (1, 22), "attempts is 1; it must be between 2 and 5"),
            ("retry = { attempts = 6 }", (1, 22), "between 2 and 5"),
            ("retry = { codes = [\"UNAVALABLE\"] }", (1, 20), "did you mean \"UNAVAILABLE\"?"),
            ("retry = { codes = [\"OK\"] }", (1, 20), "is \"OK\", which is none of CANCELLED"),
            ("retry = { codes = [] }", (1, 19), "codes is empty"),
            ("retry = { backoff = \"2s\", backoff_max = \"1s\" }", (1, 41), "raise backoff_max"),
            ("hedge = {}", (1, 9), "hedge needs delay"),
            ("hedge = 2", (1, 9), "must be a table"),
            ("retry = false\nhedge = { delay = \"1s\" }", (2, 9), "hedge stands beside retry"),
            ("rate = {}", (1, 8), "rate needs per_second"),
            ("rate = { per_second = 0 }", (1, 23), "must be more than 0"),
            ("rate = { per_second = 1e-30 }", (1, 23), "must be 0.00001 or more"),
            ("rate = { per_second = inf }", (1, 23), "not a number that can be used"),
            ("rate = { per_second = 1, burst = 0 }", (1, 34), "burst is 0"),
            (
                "rate = { per_second = 1, per = \"user\" }",
                (1, 32),
                "write \"caller\", \"address\" or \"header:NAME\"",
            ),
            ("rate = { per_second = 1, per = \"header:a b\" }", (1, 32), "is not the name of a header"),
            ("fault = {}", (1, 9), "fault needs delay or abort"),
            (
                "fault = { delay_percent = 1, abort = \"INTERNAL\" }",
                (1, 27),
                "delay_percent stands without delay",
            ),
            ("fault = { abort = \"OK\" }", (1, 19), "is \"OK\", which is none of"),
            ("fault = { delay = \"1s\", delay_percent = 101 }", (1, 41), "between 0 and 100"),
        ],
    );
}

#[test]
fn rewrites() {
    check(
        &format!("{LISTENER}{CLUSTER}{ROUTE}"),
        "",
        &[
            ("request_headers = {}", (1, 19), "needs remove, set or add"),
            (
                "request_headers = { remove = [\"te\"] }",
                (1, 31),
                "te cannot be rewritten: it belongs to the connection",
            ),
            ("request_headers = { set = { Host = \"a\" } }", (1, 29), "host cannot be rewritten"),
            ("request_headers = { set = { \":authority\" = \"a\" } }", (1, 29), "a part of the request"),
            ("request_headers = { set = { grpc-timeout = \"1S\" } }", (1, 29), "it belongs to the protocol"),
            ("response_headers = { add = { content-type = \"a\" } }", (1, 30), "it says what the body is"),
            ("response_headers = { add = { a = \"b\\n\" } }", (1, 34), "is not a value that can be sent"),
            ("response_headers = { add = { a = \" b\" } }", (1, 34), "without spaces around it"),
            ("response_headers = { add = { a = 1 } }", (1, 34), "must be a string"),
            ("response_headers = { add = { a-bin = \"?\" } }", (1, 38), "is not base64"),
            ("response_headers = { set = { a = \"b\", A = \"c\" } }", (1, 39), "a is there twice"),
            ("response_headers = { set = { \"ü\" = \"b\" } }", (1, 30), "is not the name of a header"),
        ],
    );
}

#[test]
fn limits() {
    check(
        &format!("{REST}[limits]\n"),
        "",
        &[
            ("message_size_max = \"0B\"", (1, 20), "message_size_max is 0"),
            ("connections_max = 0", (1, 19), "connections_max is 0"),
            ("receive_buffer_size_max = \"1KiB\"", (1, 27), "must be between 65535B"),
            ("deadline_default = \"0s\"", (1, 20), "deadline_default is zero"),
            (
                "deadline_default = \"10m\"",
                (1, 20),
                "deadline_default is 600s, more than deadline_cap, 300s; raise the cap",
            ),
            ("keepalive = \"1s\"", (1, 1), "unknown key \"keepalive\""),
        ],
    );
}

#[test]
fn several_problems_are_reported_together_and_by_place() {
    let text = "workers = 0\n[[listeners]]\naddress = \"x\"\n[clusters.a]\npolcy = 1\nhealth = 2\n[[routes]]\ncluster = \"b\"\n\
                deadline = 5\nretry = { attempts = 9, codes = [\"X\", \"Y\"] }\n[limits]\nlame_duck = 1\n";
    let problems = bad(text);
    let places: Vec<_> = problems.0.iter().map(|problem| (problem.line, problem.column)).collect();
    let expected =
        [(1, 11), (3, 11), (4, 1), (5, 1), (6, 10), (8, 11), (9, 12), (10, 22), (10, 34), (10, 39), (12, 13)];
    assert_eq!(places, expected, "{problems}");
    assert_eq!(problems.to_string().lines().count(), expected.len());
}

#[test]
fn a_file_beyond_its_bounds_is_refused() {
    let long = format!("{REST}#{}", "x".repeat(FILE_SIZE_BYTES_MAX));
    assert!(bad(&long).to_string().contains("at most 1048576 are read"));

    let mut routes = format!("{LISTENER}{CLUSTER}");
    for _ in 0..1001 {
        routes.push_str(ROUTE);
    }
    assert_eq!(bad(&routes).to_string(), "5:1: routes has 1001 items; at most 1000 are read");

    let mut clusters = format!("{LISTENER}{CLUSTER}{ROUTE}");
    let mut listeners = clusters.clone();
    for number in 0..1000 {
        write!(clusters, "[clusters.c{number}]\ntarget = \"a\"\n").unwrap();
        write!(listeners, "[[listeners]]\naddress = \"127.0.0.1:{}\"\n", number + 2).unwrap();
    }
    assert!(bad(&clusters).to_string().contains("clusters has 1001 entries; at most 1000 are read"));
    assert!(bad(&listeners).to_string().contains("listeners has 1001 items; at most 256 are read"));
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    for (text, place) in [
        (format!("{}a = 1", "a.".repeat(100_000)), "1:1:"),
        (format!("[{}a]", "a.".repeat(100_000)), "1:1:"),
        (format!("a = {}", "[".repeat(100_000)), "1:85:"),
        (format!("a = {}", "{ a = ".repeat(100_000)), "1:"),
    ] {
        let problems = bad(&text).to_string();
        assert!(problems.starts_with(place) && problems.contains("recurs"), "{problems}");
    }
}

#[test]
fn a_flood_of_problems_is_cut() {
    let mut text = REST.to_owned();
    for number in 0..2 * PROBLEMS_MAX {
        writeln!(text, "key{number} = 1").unwrap();
    }
    let problems = bad(&text);
    assert_eq!(problems.0.len(), PROBLEMS_MAX + 1);
    assert!(problems.to_string().contains("more than 200 in this file"));
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_caret() {
    let text = format!("# ä\n{REST}deadline = \"5\"\n");
    let shown = bad(&text).render("edge.toml", &text);
    let expected = "edge.toml:8:12: deadline: \"5\" is not a time; write a whole number with ms, s, m, h or d\n  \
                    |\n8 | deadline = \"5\"\n  |            ^\n";
    assert_eq!(shown, expected);
}

#[test]
fn a_long_line_is_cut_around_the_place_and_controls_are_not_shown() {
    let text = format!("{}\u{1b}[31m!{}", "a".repeat(1000), "b".repeat(1000));
    let shown = Problem { line: 1, column: 1001, message: "here".to_owned() }.render("f", &text);
    assert!(shown.len() < 400 && !shown.contains('\u{1b}'), "{shown}");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[3].find('^').and_then(|at| lines[2].get(at..at + 5)), Some(" [31m"), "{shown}");
    // Places that are not there do not matter.
    assert!(Problem { line: 9, column: 9, message: String::new() }.render("f", "").ends_with("^\n"));
}

/// What files are made of, so that most of what is tried gets beyond the TOML.
fn piece() -> impl Strategy<Value = String> {
    let keys: Vec<&str> =
        super::super::keys::ALL.iter().flat_map(|keys| keys.known.iter().copied()).collect();
    let value = prop_oneof![
        Just("true"),
        Just("0"),
        Just("-1"),
        Just("1e400"),
        Just("\"\""),
        Just("\"5s\""),
        Just("\"4MiB\""),
        Just("\"a\""),
        Just("[]"),
        Just("{}"),
        Just("[\"a\", 1, {}]"),
        Just("\"127.0.0.1:1\""),
        Just("{ a = 1 }"),
        Just("{ exact = \"a\" }"),
        Just("\"\\u00e4:\\u0000\""),
        Just("2020-01-01"),
        Just("0xffffffffffffffff"),
    ];
    let header = prop_oneof![
        Just("[[listeners]]\n"),
        Just("[clusters.a]\n"),
        Just("[clusters.\"\"]\n"),
        Just("[[routes]]\n"),
        Just("[limits]\n"),
        Just("[routes]\n"),
        Just("[routes.headers]\n"),
        Just("[[clusters]]\n"),
    ];
    prop_oneof![
        3 => (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        2 => header.prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        show(&text);
    }

    #[test]
    fn no_file_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..24)) {
        show(&pieces.concat());
    }
}

fn show(text: &str) {
    match read(text, base()) {
        Ok(read) => drop(read),
        Err(problems) => assert!(!problems.render("f", text).is_empty()),
    }
}
