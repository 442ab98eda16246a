//! The check every test of a server ends with: nothing is left over.

use highball_telemetry::Telemetry;

/// Gauges that must be back at zero once a server is gone.
const GAUGES: [&str; 2] = ["grpc_active_requests{", "connections_open "];

/// Panics when an RPC or a connection was begun and never ended.
///
/// # Panics
/// With the lines of `/metrics` that show the leak.
pub fn check(telemetry: &Telemetry) {
    let page = telemetry.render();
    let leaked: Vec<&str> = page
        .lines()
        .filter(|line| GAUGES.iter().any(|gauge| line.starts_with(gauge)) && !line.ends_with(" 0"))
        .collect();
    assert!(leaked.is_empty(), "begun and never ended: {leaked:#?}");
}
