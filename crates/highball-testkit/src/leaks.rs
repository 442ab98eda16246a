//! The check every test of a server ends with: nothing is left over.

use highball_telemetry::Telemetry;

/// Gauges that must be back at zero once a server is gone.
const GAUGES: [&str; 3] = ["grpc_active_requests{", "connections_open ", "worker_connections_open{"];

/// Panics when an RPC or a connection was begun and never ended.
///
/// # Panics
/// With the lines of `/metrics` that show the leak.
pub fn check(telemetry: &Telemetry) {
    let leaked = found(telemetry);
    assert!(leaked.is_empty(), "begun and never ended: {leaked:#?}");
}

/// The lines of `/metrics` that show what was begun and has not ended yet.
#[must_use]
pub fn found(telemetry: &Telemetry) -> Vec<String> {
    let page = telemetry.render();
    let is_gauge = |line: &&str| GAUGES.iter().any(|gauge| line.starts_with(gauge));
    page.lines().filter(is_gauge).filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
}
