//! Decisions, as tables.

use std::sync::Arc;

use highball_core::caller::{Certificate, Process, Token};
use highball_core::{Caller, Code, Method};
use proptest::prelude::*;

use super::{Decision, Policy, Settings};
use crate::Reason;

fn policy(text: &str) -> Policy {
    let settings: Settings = toml::from_str(text).unwrap();
    Policy::try_from(&settings).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let settings: Settings = toml::from_str(text).unwrap();
    Policy::try_from(&settings).unwrap_err().problems().to_vec()
}

fn method(full_name: &str) -> Method {
    Method::parse(&format!("/{full_name}").parse().unwrap()).unwrap()
}

fn with_roles(subject: &str, roles: &[&str]) -> Caller {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Caller {
        token: Some(Arc::new(Token { issuer: None, subject: subject.to_owned(), roles })),
        ..Caller::default()
    }
}

fn with_names(uris: &[&str], dns: &[&str]) -> Caller {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = Certificate { common_name: Some("cn".into()), uris: own(uris), dns_names: own(dns) };
    Caller { certificate: Some(Arc::new(certificate)), ..Caller::default() }
}

fn with_uid(uid: u32) -> Caller {
    Caller { process: Some(Process { uid, gid: 0, pid: None }), ..Caller::default() }
}

/// `expected` is the rule, with a minus in front when it denies.
#[track_caller]
fn check(policy: &Policy, full_name: &str, caller: &Caller, expected: &str) {
    let said = match policy.decide(&method(full_name), caller) {
        Decision::Allow { rule } => rule.to_string(),
        Decision::Deny { rule } => format!("-{rule}"),
    };
    assert_eq!(said, expected, "{full_name} by {caller}");
}

#[test]
fn each_kind_of_caller_is_told_from_the_others() {
    let ann = with_roles("ann", &["reader", "auditor"]);
    let bob = with_roles("bob", &[]);
    let billing = with_names(&["https://x", "spiffe://prod.example/billing"], &["Billing.Shop.Example"]);
    let root = with_uid(0);
    let nobody = Caller::default();
    let everyone = [&ann, &bob, &billing, &root, &nobody];
    for (callers, expected) in [
        ("anyone = true", [true; 5]),
        ("anonymous = true", [false, false, false, true, true]),
        ("authenticated = true", [true, true, true, false, false]),
        ("roles = [\"writer\", \"auditor\"]", [true, false, false, false, false]),
        ("subjects = [\"bob\"]", [false, true, false, false, false]),
        ("uris = [\"spiffe://prod.example/*\"]", [false, false, true, false, false]),
        ("uris = [\"*/billing\"]", [false, false, true, false, false]),
        ("uris = [\"spiffe://prod.example\"]", [false; 5]),
        ("uris = [\"SPIFFE://prod.example/billing\"]", [false; 5]),
        ("dns = [\"*.shop.example\"]", [false, false, true, false, false]),
        ("dns = [\"*\"]", [false, false, true, false, false]),
        ("dns = [\"cn\"]", [false; 5]),
        ("uids = [0, 7]", [false, false, false, true, false]),
        ("uids = [0], subjects = [\"ann\"]", [true, false, false, true, false]),
    ] {
        let policy =
            policy(&format!("allow = [{{ name = \"r\", methods = [\"*\"], callers = {{ {callers} }} }}]"));
        for (caller, allowed) in everyone.iter().zip(expected) {
            check(&policy, "a.B/C", caller, if allowed { "r" } else { "-default" });
        }
    }
}

#[test]
fn deny_wins_however_specific_the_allow_rule() {
    let policy = policy(
        r#"
        default = "allow"
        deny = [{ name = "no-eve", methods = ["*"], callers = { subjects = ["eve"] } }]
        allow = [{ name = "get", methods = ["a.B/Get"], callers = { anyone = true } }]
        "#,
    );
    check(&policy, "a.B/Get", &with_roles("eve", &[]), "-no-eve");
    check(&policy, "a.B/Get", &with_roles("ann", &[]), "get");
    check(&policy, "a.B/Put", &with_roles("eve", &[]), "-no-eve");
    check(&policy, "a.B/Put", &with_roles("ann", &[]), "default");
}

#[test]
fn the_most_specific_rule_gives_its_name() {
    let policy = policy(
        r#"
        allow = [
            { name = "all", methods = ["*"], callers = { anyone = true } },
            { name = "service", methods = ["a.B/*"], callers = { anyone = true } },
            { name = "second", methods = ["a.B/*"], callers = { anyone = true } },
            { name = "exact", methods = ["a.B/Get"], callers = { subjects = ["ann"] } },
        ]
        "#,
    );
    let ann = with_roles("ann", &[]);
    check(&policy, "a.B/Get", &ann, "exact");
    // The exact rule is not about nobody, so the next one speaks.
    check(&policy, "a.B/Get", &Caller::default(), "service");
    check(&policy, "a.B/Put", &ann, "service");
    check(&policy, "a.Bb/Get", &ann, "all");
    check(&policy, "a/Get", &ann, "all");
}

#[test]
fn health_is_open_unless_it_is_switched_off() {
    let open = policy("deny = [{ name = \"no\", methods = [\"*\"], callers = { anyone = true } }]");
    check(&open, "grpc.health.v1.Health/Check", &Caller::default(), "health");
    check(&open, "grpc.health.v1.Healthy/Check", &Caller::default(), "-no");
    let closed = policy("health = false");
    check(&closed, "grpc.health.v1.Health/Check", &Caller::default(), "-default");
    let ruled = policy(
        "health = false\nallow = [{ name = \"r\", methods = [\"grpc.health.v1.Health/*\"], callers = { uids = [1] } }]",
    );
    check(&ruled, "grpc.health.v1.Health/Watch", &with_uid(1), "r");
}

#[test]
fn reflection_is_not_a_part_of_everything() {
    let all = "allow = [{ name = \"all\", methods = [\"*\"], callers = { anyone = true } }]\n";
    let names = [
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    let admin = with_roles("ann", &["admin"]);
    for name in names {
        check(&policy(all), name, &admin, "-default");
        let own = policy(&format!("reflection = {{ roles = [\"admin\"] }}\n{all}"));
        check(&own, name, &admin, "reflection");
        check(&own, name, &Caller::default(), "-default");
        let denied = policy(
            "reflection = { anyone = true }\ndeny = [{ name = \"no\", methods = [\"*\"], callers = { anonymous = true } }]",
        );
        check(&denied, name, &Caller::default(), "-no");
        let mentioned = policy(&format!(
            "allow = [{{ name = \"own\", methods = [{name:?}], callers = {{ anyone = true }} }}]"
        ));
        check(&mentioned, name, &Caller::default(), "own");
        check(&policy("default = \"allow\""), name, &Caller::default(), "default");
    }
}

#[test]
fn methods_that_no_rule_mentions_are_found() {
    let methods = [
        "a.B/Get",
        "a.B/Put",
        "a.C/Do",
        "grpc.health.v1.Health/Check",
        "grpc.reflection.v1.ServerReflection/Info",
    ]
    .map(str::to_owned);
    let rules = |text: &str| policy(text).uncovered(&methods);
    assert_eq!(rules(""), ["a.B/Get", "a.B/Put", "a.C/Do", "grpc.reflection.v1.ServerReflection/Info"]);
    let some = r#"
        reflection = { roles = ["admin"] }
        deny = [{ name = "d", methods = ["a.C/Do"], callers = { anyone = true } }]
        allow = [{ name = "a", methods = ["a.B/Get"], callers = { anyone = true } }]
    "#;
    assert_eq!(rules(some), ["a.B/Put"]);
    let all = "health = false\nallow = [{ name = \"all\", methods = [\"*\"], callers = { anyone = true } }]";
    assert_eq!(rules(all), ["grpc.reflection.v1.ServerReflection/Info"]);
}

#[test]
fn rules_that_match_no_method_are_found() {
    let policy = policy(
        r#"
        reflection = { roles = ["admin"] }
        deny = [{ name = "typo", methods = ["a.B/Gett", "a.B/Get"], callers = { anyone = true } }]
        allow = [
            { name = "gone", methods = ["a.Old/*"], callers = { anyone = true } },
            { name = "fine", methods = ["*", "a.B/*", "grpc.health.v1.Health/*"], callers = { anyone = true } },
        ]
        "#,
    );
    assert_eq!(policy.unmatched(&["a.B/Get".to_owned()]), ["typo: a.B/Gett", "gone: a.Old/*"]);
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        r#"
        reflection = {}
        deny = [
            { name = "", methods = ["*"], callers = { anyone = true } },
            { name = "health", methods = [], callers = { anyone = true } },
        ]
        allow = [
            { name = "a", methods = ["/a.B/C", "a.B", "a.*/C", "a.B/C*", "", "a.B/C/D", "a.B/ "], callers = {} },
            { name = "a", methods = ["*"], callers = { uris = ["a*b"], roles = ["read*", ""], dns = [""] } },
        ]
        "#,
    );
    for (part, count) in [
        ("no name", 1),
        ("is taken", 2),
        ("mentions no method", 1),
        ("leading slash", 7),
        ("no caller", 2),
        ("one end only", 2),
        ("compared exactly", 1),
    ] {
        assert_eq!(
            found.iter().filter(|problem| problem.contains(part)).count(),
            count,
            "{part}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 16, "{found:#?}");
    assert!(
        found.iter().any(|problem| problem.starts_with("policy.allow[1] \"a\" has \"a*b\" in callers.uris"))
    );
}

#[test]
fn a_misspelled_key_is_refused() {
    for text in [
        "defualt = \"allow\"",
        "default = \"maybe\"",
        "allow = [{ name = \"a\", methods = [\"*\"], callers = { role = [\"x\"] } }]",
        "allow = [{ name = \"a\", methods = [\"*\"] }]",
        "reflection = true",
    ] {
        assert!(toml::from_str::<Settings>(text).is_err(), "{text}");
    }
}

#[test]
fn a_denial_tells_the_peer_nothing_and_the_log_the_rule() {
    let policy =
        policy("deny = [{ name = \"no-eve\", methods = [\"*\"], callers = { subjects = [\"eve\"] } }]");
    let denial = policy.authorise(&method("a.B/Get"), &with_roles("eve", &[])).unwrap_err();
    assert_eq!(
        (denial.status.code(), denial.status.message()),
        (Code::PermissionDenied, "permission denied")
    );
    assert_eq!((denial.reason, denial.rule.as_deref()), (Reason::Policy, Some("no-eve")));
}

proptest! {
    /// The compiled form agrees with the rules read one by one.
    #[test]
    fn the_index_says_what_the_rules_say(
        rules in proptest::collection::vec((any::<bool>(), 0_usize..5, 0_usize..3), 0..8),
        called in 0_usize..4,
        subject in 0_usize..3,
    ) {
        const PATTERNS: [&str; 5] = ["*", "a.B/*", "a.C/*", "a.B/Get", "a.C/Get"];
        const METHODS: [&str; 4] = ["a.B/Get", "a.B/Put", "a.C/Get", "a.D/Get"];
        const SUBJECTS: [&str; 3] = ["ann", "bob", "eve"];
        let (mut deny, mut allow) = (String::new(), String::new());
        let mut fits = (false, false);
        for (index, (denies, pattern, of)) in rules.iter().enumerate() {
            let (pattern, of) = (PATTERNS[*pattern], SUBJECTS[*of]);
            let list = if *denies { &mut deny } else { &mut allow };
            list.push_str(&format!("{{ name = \"r{index}\", methods = [{pattern:?}], callers = {{ subjects = [{of:?}] }} }},"));
            let start = pattern.trim_end_matches('*');
            let mentions = if pattern.ends_with('*') { METHODS[called].starts_with(start) } else { METHODS[called] == pattern };
            if mentions && of == SUBJECTS[subject] {
                if *denies { fits.0 = true } else { fits.1 = true }
            }
        }
        let policy = policy(&format!("deny = [{deny}]\nallow = [{allow}]"));
        let decision = policy.decide(&method(METHODS[called]), &with_roles(SUBJECTS[subject], &[]));
        let is_allowed = matches!(decision, Decision::Allow { .. });
        prop_assert_eq!(is_allowed, !fits.0 && fits.1);
    }
}
