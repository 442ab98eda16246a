//! What a room must not do, whatever it depends on: found in the source, outside tests.
//!
//! A scan of names, not of meaning: it finds the honest mistake. Clippy's bans find the call behind an alias.

use crate::report::Problem;
use crate::source::{PathUse, Source, paths};

/// Something only some places may do.
struct Absence {
    /// The paths that give it away. A trailing `*` stands for anything.
    paths: &'static [&'static str],
    /// Folders and files that may; `*` stands for one name.
    allowed: &'static [&'static str],
    /// The sentence a person reads.
    rule: &'static str,
}

const ABSENCES: &[Absence] = &[
    Absence {
        paths: &[
            "tokio::net",
            "tokio::net::*",
            "std::net",
            "std::net::Tcp*",
            "std::net::Udp*",
            "std::net::ToSocketAddrs*",
            "std::os::unix::net",
            "std::os::unix::net::Unix*",
        ],
        allowed: &["crates/highball-net", "crates/highball-testkit", "xtask"],
        rule: "nothing but highball-net touches a socket: take it from `highball_net::Platform`",
    },
    Absence {
        paths: &[
            "std::env",
            "std::env::args*",
            "std::env::var*",
            "env::args*",
            "env::var*",
            "EnvFilter::from_default_env",
            "EnvFilter::try_from_default_env",
            "EnvFilter::from_env",
            "EnvFilter::try_from_env",
        ],
        allowed: &["crates/highball-cli", "services/*/src/main.rs", "services/*/src/bin", "xtask"],
        rule: "only a binary reads its arguments and its environment: take the value as a parameter",
    },
];

/// Checks the sources of packages; their tests may do as they like.
pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.is_package_source() && !source.is_test_file()) {
        let absences: Vec<_> = ABSENCES.iter().filter(|absence| !absence.is_allowed_in(source)).collect();
        if absences.is_empty() {
            continue;
        }
        for PathUse { line, path } in paths(&source.shipped_code()) {
            for absence in absences.iter().filter(|absence| absence.forbids(&path)) {
                problems.push(Problem::line(&source.path, line, format!("`{path}`: {}", absence.rule)));
            }
        }
    }
    problems
}

impl Absence {
    fn is_allowed_in(&self, source: &Source) -> bool {
        self.allowed.iter().any(|pattern| {
            let mut parts = source.path.iter();
            pattern.split('/').all(|wanted| parts.next().is_some_and(|part| wanted == "*" || part == wanted))
        })
    }

    fn forbids(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            // A name at the end: `tracing_subscriber::EnvFilter::from_env` ends in `EnvFilter::from_env`.
            None => path == *pattern || path.strip_suffix(pattern).is_some_and(|rest| rest.ends_with("::")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problems(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<_> = check(&[Source::new(path, text)]).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_socket_outside_net_is_found() {
        let text = "//! Doc.\nuse std::net::{IpAddr, SocketAddr};\nuse tokio::{net::TcpStream, time};\n";
        problems(
            "crates/highball-server/src/lib.rs",
            text,
            &["crates/highball-server/src/lib.rs:3: `tokio::net::TcpStream`: nothing but highball-net"],
        );
        problems("crates/highball-net/src/dial.rs", text, &[]);
    }

    #[test]
    fn a_module_import_would_hide_the_socket_and_is_found_too() {
        problems(
            "crates/highball-core/src/a.rs",
            "use std::net;\nuse std::net::SocketAddr;",
            &["crates/highball-core/src/a.rs:1: `std::net`"],
        );
    }

    #[test]
    fn addresses_are_not_sockets() {
        problems(
            "crates/highball-core/src/a.rs",
            "fn a(b: std::net::SocketAddr, c: std::net::Ipv4Addr) {}",
            &[],
        );
    }

    #[test]
    fn only_binaries_read_the_environment() {
        let text = "fn a() {\n  std::env::var(\"A\");\n  std::env::args_os();\n  env!(\"B\");\n}";
        problems(
            "crates/highball-telemetry/src/log.rs",
            text,
            &[
                "crates/highball-telemetry/src/log.rs:2: `std::env::var`: only a binary",
                "crates/highball-telemetry/src/log.rs:3: `std::env::args_os`: only a binary",
            ],
        );
        problems(
            "services/orders/src/store.rs",
            "fn a() { std::env::vars(); }",
            &["services/orders/src/store.rs:1"],
        );
        problems("services/orders/src/main.rs", text, &[]);
        problems("services/orders/src/bin/orders.rs", text, &[]);
        problems("crates/highball-cli/src/args.rs", text, &[]);
    }

    #[test]
    fn a_log_filter_from_the_environment_reads_the_environment() {
        problems(
            "crates/highball-telemetry/src/log.rs",
            "tracing_subscriber::EnvFilter::from_default_env()",
            &["crates/highball-telemetry/src/log.rs:1"],
        );
    }

    #[test]
    fn tests_comments_and_strings_may_say_it() {
        let text = "// std::env::var\nconst A: &str = \"tokio::net\";\n#[cfg(test)]\nmod tests { use tokio::net::TcpStream; }";
        problems("crates/highball-server/src/lib.rs", text, &[]);
        problems("crates/highball-server/src/rpc/tests.rs", "use tokio::net::TcpStream;", &[]);
        problems("crates/highball-server/tests/drain.rs", "use tokio::net::TcpStream;", &[]);
        problems("tests/src/lib.rs", "use tokio::net::TcpStream;", &[]);
    }
}
