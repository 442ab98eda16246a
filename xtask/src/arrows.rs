//! `cargo xtask arrows`: which room may know which.
//!
//! [`RULES`] is the one table that a machine checks. Dependencies are read from the manifests, through cargo; what a
//! room must not do at all (touch a socket, read the environment) is in [`absences`], read from the source.

mod absences;

use std::fmt::Write as _;
use std::path::Path;

use crate::Error;
use crate::report::{Problem, Report};
use crate::source;
use crate::workspace::{self, Dependency, Package};

/// What a package may depend on, among our own packages.
#[derive(Debug, Clone, Copy)]
enum May {
    Only(&'static [&'static str]),
    /// Every room and service, but still nothing that exists for development only.
    Everything,
    /// Every package, because it is never shipped.
    Anything,
}

/// The allowed arrows, from the bottom of the house to its top. Build dependencies obey the same table;
/// dev-dependencies too, but there the testkit is welcome.
const RULES: &[(&str, May)] = &[
    ("highball-core", May::Only(&[])),
    ("highball-telemetry", May::Only(&["highball-core"])),
    ("highball-net", May::Only(&["highball-core", "highball-telemetry"])),
    ("highball-auth", May::Only(&["highball-core", "highball-telemetry", "highball-net"])),
    ("highball-gateway", May::Only(&["highball-core", "highball-telemetry"])),
    (
        "highball-server",
        May::Only(&[
            "highball-core",
            "highball-telemetry",
            "highball-net",
            "highball-auth",
            "highball-gateway",
        ]),
    ),
    (
        "highball-channel",
        May::Only(&["highball-core", "highball-telemetry", "highball-net", "highball-auth"]),
    ),
    (
        "highball-edge",
        May::Only(&[
            "highball-core",
            "highball-telemetry",
            "highball-net",
            "highball-auth",
            "highball-gateway",
            "highball-server",
            "highball-channel",
        ]),
    ),
    (
        "highball-audit",
        May::Only(&[
            "highball-core",
            "highball-telemetry",
            "highball-net",
            "highball-auth",
            "highball-channel",
        ]),
    ),
    (
        "highball",
        May::Only(&[
            "highball-core",
            "highball-telemetry",
            "highball-net",
            "highball-auth",
            "highball-gateway",
            "highball-server",
            "highball-channel",
        ]),
    ),
    ("highball-cli", May::Everything),
    ("highball-testkit", May::Everything),
    ("highball-tests", May::Anything),
    ("highball-benches", May::Anything),
    ("xtask", May::Only(&[])),
];

/// A service is a user of ours: it sees what every user sees.
const SERVICE: May = May::Only(&["highball"]);

/// Packages that nothing shipped may need.
const DEVELOPMENT: &[&str] = &["highball-testkit", "highball-tests", "highball-benches", "xtask"];

/// The only package for development that others may use, and only in their tests.
const TESTKIT: &str = "highball-testkit";

/// Checks manifests and sources of the workspace.
pub(crate) fn run(root: &Path) -> Result<Report, Error> {
    let packages = workspace::packages(root)?;
    let sources = source::find(root)?;
    let mut problems = check(&packages);
    problems.extend(absences::check(&sources));
    let arrows: usize = packages.iter().map(|package| ours(package, &packages).count()).sum();
    Ok(Report { problems, checked: format!("{} packages, {arrows} arrows", packages.len()) })
}

/// The table as Markdown, for people.
pub(crate) fn table() -> String {
    let mut out = String::from("| package | may depend on |\n|---|---|\n");
    for (package, may) in RULES.iter().copied().chain([("services/*", SERVICE)]) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(out, "| `{package}` | {} |", may.describe());
    }
    out
}

/// The dependencies that point at packages of this repository.
fn ours<'a>(package: &'a Package, all: &'a [Package]) -> impl Iterator<Item = &'a Dependency> {
    let is_ours = |dependency: &&Dependency| {
        dependency.path.is_some() || all.iter().any(|member| member.name == dependency.name)
    };
    package.dependencies.iter().filter(is_ours)
}

fn check(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages {
        let Some(may) = rule(package) else {
            let message = format!(
                "package {} is not in the table of arrows: add it to xtask/src/arrows.rs",
                package.name
            );
            problems.push(Problem::file(&package.manifest_path, message));
            continue;
        };
        for dependency in ours(package, packages) {
            if !may.allows(dependency) && dependency.name != package.name {
                let (from, to, kind) = (&package.name, &dependency.name, dependency.kind());
                let message = format!(
                    "{from} -> {to} ({kind} dependency) is not an allowed arrow; {from} may depend on {}",
                    may.describe()
                );
                problems.push(Problem::file(&package.manifest_path, message));
            }
        }
    }
    problems
}

fn rule(package: &Package) -> Option<May> {
    if package.manifest_path.starts_with("services") {
        return Some(SERVICE);
    }
    RULES.iter().find(|(name, _)| *name == package.name).map(|(_, may)| *may)
}

impl May {
    fn allows(self, dependency: &Dependency) -> bool {
        let to = dependency.name.as_str();
        match self {
            Self::Anything => true,
            _ if DEVELOPMENT.contains(&to) => dependency.is_dev() && to == TESTKIT,
            Self::Everything => true,
            Self::Only(names) => names.contains(&to),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Anything => "anything: it is never shipped".to_owned(),
            Self::Everything => "every room".to_owned(),
            Self::Only([]) => "nothing of ours".to_owned(),
            Self::Only(names) => names.join(", "),
        }
    }
}

#[cfg(test)]
mod tests;
