//! Arrows between invented packages.

use std::path::PathBuf;

use super::*;

fn package(name: &str, folder: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
    Package {
        name: name.to_owned(),
        manifest_path: PathBuf::from(folder).join(name).join("Cargo.toml"),
        dependencies: dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: name.starts_with("highball").then(|| PathBuf::from("/somewhere").join(name)),
            })
            .collect(),
    }
}

#[track_caller]
fn problems(packages: &[Package], expected: &[&str]) {
    let found: Vec<_> = check(packages).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
}

#[test]
fn a_forbidden_arrow_names_manifest_arrow_and_what_is_allowed() {
    problems(
        &[package(
            "highball-net",
            "crates",
            &[("tokio", None), ("highball-core", None), ("highball-server", None)],
        )],
        &[
            "crates/highball-net/Cargo.toml: highball-net -> highball-server (normal dependency) is not an allowed \
           arrow; highball-net may depend on highball-core, highball-telemetry",
        ],
    );
}

#[test]
fn build_dependencies_obey_the_table() {
    problems(
        &[package("highball-core", "crates", &[("highball-net", Some("build"))])],
        &["highball-core -> highball-net (build dependency)"],
    );
}

#[test]
fn dev_dependencies_obey_the_table_except_for_the_testkit() {
    problems(
        &[package(
            "highball-gateway",
            "crates",
            &[("highball-testkit", Some("dev")), ("highball-server", Some("dev"))],
        )],
        &["highball-gateway -> highball-server (dev dependency)"],
    );
}

#[test]
fn nothing_shipped_needs_the_testkit() {
    problems(
        &[
            package("highball-cli", "crates", &[("highball-edge", None), ("highball-testkit", None)]),
            package("highball-tests", ".", &[("highball-testkit", None), ("orders", None)]),
            package("orders", "services", &[("highball", None), ("highball-testkit", Some("build"))]),
        ],
        &["highball-cli -> highball-testkit (normal", "orders -> highball-testkit (build"],
    );
}

#[test]
fn a_service_sees_the_facade_only() {
    problems(
        &[package("orders", "services", &[("highball", None), ("highball-core", None)])],
        &[
            "orders -> highball-core (normal dependency) is not an allowed arrow; orders may depend on highball",
        ],
    );
}

#[test]
fn an_unknown_package_of_ours_is_an_error() {
    problems(&[package("highball-attic", "crates", &[])], &["highball-attic is not in the table of arrows"]);
}

#[test]
fn server_and_channel_do_not_know_each_other() {
    problems(
        &[
            package("highball-server", "crates", &[("highball-channel", None)]),
            package("highball-channel", "crates", &[("highball-server", None), ("highball-gateway", None)]),
        ],
        &[
            "highball-server -> highball-channel",
            "highball-channel -> highball-server",
            "-> highball-gateway",
        ],
    );
}

#[test]
fn the_rules_have_no_cycle_among_rooms() {
    // A rule may name only packages that stand above it in the table.
    for (index, (package, may)) in RULES.iter().enumerate() {
        if let May::Only(names) = may {
            for name in *names {
                let position = RULES.iter().position(|(other, _)| other == name);
                assert!(position.is_some_and(|position| position < index), "{package} -> {name}");
            }
        }
    }
}

#[test]
fn the_table_for_people_lists_every_package() {
    let table = table();
    for (package, _) in RULES {
        assert!(table.contains(&format!("| `{package}` |")), "{package}");
    }
    assert!(table.contains("| `services/*` | highball |"));
}
