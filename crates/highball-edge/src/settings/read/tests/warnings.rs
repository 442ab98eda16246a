//! What is allowed, and probably not meant.

use super::{REST, good};

/// The warnings of a file, a line each.
fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = warnings(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}\nof\n{text}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} is not {expected:?}");
    }
}

#[test]
fn nothing_is_said_of_a_plain_file() {
    check(REST, &[]);
}

#[test]
fn what_is_probably_not_meant_is_named_at_its_place() {
    let rest = |address: &str, more: &str| {
        format!("[[listeners]]\naddress = \"{address}\"\n[clusters.a]\ntarget = \"dns:///a:1\"\n{more}")
    };
    let route = "[[routes]]\ncluster = \"a\"\n";
    check(
        &rest("0.0.0.0:1", route),
        &["2:11: 0.0.0.0:1 speaks plaintext, and other machines can reach it; give it tls"],
    );
    check(&rest("[::1]:1", route), &[]);
    check(&rest("unix:s", route), &[]);
    check(&format!("trusted_hops = 1\n{}", rest("unix:s", route)), &[]);
    check(&format!("trusted_hops = 1\n{}", rest("127.0.0.1:1", route)), &[]);
    check(
        &rest(
            "unix:s",
            &format!("[clusters.b]\ntarget = \"b\"\n[clusters.c]\ntarget = \"c\"\n{route}mirror = \"c\"\n"),
        ),
        &["5:1: no route uses cluster b", "9:1: route-1 keeps budgets or copies under its number"],
    );
    check(
        &rest("unix:s", &format!("policy = \"ring_hash\"\n{route}")),
        &["5:10: ring_hash without a header hashes each call at random"],
    );
    check(&rest("unix:s", &format!("hash_header = \"user\"\n{route}")), &[]);
    check(
        &rest("unix:s", &format!("{route}deadline = \"1s\"\n")),
        &["7:12: deadline of route-1 applies to no method"],
    );
    check(&format!("descriptors = \"d\"\n{}", rest("unix:s", &format!("{route}deadline = \"1s\"\n"))), &[]);
    check(
        &rest("unix:s", &format!("{route}fault = {{ delay = \"1s\" }}\n")),
        &["7:9: this file injects faults"],
    );
    let rate = "rate = { per_second = 1 }\n";
    check(&rest("unix:s", &format!("{route}{rate}")), &["5:1: route-1 keeps budgets"]);
    check(&rest("unix:s", &format!("{route}name = \"a\"\n{rate}")), &[]);
    check(
        &rest("unix:s", &format!("{route}service = \"grpc.health.v1.Health\"\n")),
        &["5:1: route-1 is never reached: the edge answers grpc.health.v1.Health itself"],
    );
}

#[test]
fn warnings_come_by_place() {
    let text =
        format!("{REST}fault = {{ abort = \"INTERNAL\" }}\n[[routes]]\ncluster = \"a\"\ndeadline = \"1s\"\n");
    let places: Vec<_> = good(&text).warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(places, [7, 8, 10]);
}

/// Whether a route is never reached behind another.
#[track_caller]
fn is_shadowed(earlier: &str, later: &str) -> bool {
    let mut text = REST.replace("[[routes]]\ncluster = \"a\"\n", "");
    for conditions in [earlier, later] {
        text.push_str(&format!("[[routes]]\ncluster = \"a\"\n{conditions}\n"));
    }
    let found = warnings(&text);
    assert!(found.len() <= 1, "{found:?}");
    found.first().is_some_and(|found| found.contains("route-2 is never reached: route-1 takes all of it"))
}

#[test]
fn a_route_behind_one_that_takes_all_of_it_is_never_reached() {
    for (earlier, later) in [
        ("", ""),
        ("", "service = \"a.B\""),
        ("service = \"a.B\"", "service = \"a.B\""),
        ("service = \"a.B\"", "method = \"a.B/C\""),
        ("service = \"a.B\"", "prefix = \"/a.B/C\""),
        ("path = \"/a.B/C\"", "method = \"a.B/C\"\nheaders = { x = \"y\" }"),
        ("prefix = \"/\"", ""),
        ("prefix = \"/a.\"", "service = \"a.B\""),
        ("prefix = \"/a.\"", "prefix = \"/a.B\""),
        ("prefix = \"/a.\"", "path = \"/a.B/C\""),
        ("host = \"A.com\"", "host = \"a.com\""),
        ("host = \"*.a.com\"", "hosts = [\"b.a.com\", \"*.c.a.com\", \"*.a.com\"]"),
        ("headers = { x = { present = true } }", "headers = { x = \"y\", z = \"1\" }"),
        ("headers = { x = { present = true } }", "headers = { x = { regex = \"y+\" } }"),
        ("headers = { x = { prefix = \"y\" } }", "headers = { x = \"yz\" }"),
        ("headers = { x = { prefix = \"y\" } }", "headers = { x = { prefix = \"yz\" } }"),
        ("headers = { x = { regex = \"y+\" } }", "headers = { x = \"yy\" }"),
        ("headers = { x = { present = false } }", "headers = { x = { present = false } }"),
    ] {
        assert!(is_shadowed(earlier, later), "{earlier:?} does not take all of {later:?}");
    }
}

#[test]
fn a_route_with_something_left_is_reached() {
    for (earlier, later) in [
        ("service = \"a.B\"", ""),
        ("service = \"a.B\"", "service = \"a.BC\""),
        ("service = \"a.B\"", "prefix = \"/a.B\""),
        ("service = \"a.B\"", "method = \"a.Bc/D\""),
        ("prefix = \"/a.B\"", "prefix = \"/a.\""),
        ("path = \"/a.B/C\"", "service = \"a.B\""),
        ("host = \"a.com\"", ""),
        ("host = \"a.com\"", "hosts = [\"a.com\", \"b.com\"]"),
        ("host = \"*.a.com\"", "host = \"a.com\""),
        ("host = \"*.a.com\"", "host = \"*.com\""),
        ("host = \"*.a.com\"", "host = \"ba.com\""),
        ("headers = { x = \"y\" }", ""),
        ("headers = { x = \"y\" }", "headers = { x = \"z\" }"),
        ("headers = { x = \"y\" }", "headers = { z = \"y\" }"),
        ("headers = { x = \"y\", z = \"1\" }", "headers = { x = \"y\" }"),
        ("headers = { x = { present = false } }", "headers = { x = \"y\" }"),
        ("headers = { x = { regex = \"y+\" } }", "headers = { x = \"yz\" }"),
        ("headers = { x = { prefix = \"yz\" } }", "headers = { x = { prefix = \"y\" } }"),
    ] {
        assert!(!is_shadowed(earlier, later), "{earlier:?} takes all of {later:?}");
    }
}
