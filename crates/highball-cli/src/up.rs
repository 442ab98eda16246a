//! `highball up`: the whole thing, on this machine, with one command.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use highball::{ListenAddr, Settings, telemetry};
use orders::{Bound, Database, Plan, SecurityFlags};

use crate::say;

/// What `highball up` takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Where to listen for RPCs: IP:PORT or unix:PATH. May be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    listen: Vec<ListenAddr>,
    /// Where to serve /livez, /readyz and /metrics over HTTP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: ListenAddr,
    /// Where to keep the data; made when it does not exist.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    #[command(flatten)]
    security: SecurityFlags,
    /// What to log, such as `info` or `highball::rpc=debug,info`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Starts, serves until a signal, drains. The exit code, or a sentence for the person who started it.
pub(crate) async fn run(flags: Flags) -> Result<u8, String> {
    let log = telemetry::log::start(&flags.log).map_err(|cause| cause.to_string())?;
    let data = flags.data.join("orders.db");
    fs::create_dir_all(&flags.data).map_err(|cause| {
        format!(
            "cannot make the data directory {}: {cause}; choose another with --data",
            flags.data.display()
        )
    })?;
    // On a laptop a client without the .proto files is a friend; the banner says that this box is open.
    let mut settings = Settings { reflection: !flags.security.is_production(), ..Settings::default() };
    let security = flags.security.read(&mut settings)?;
    let database = Database::sqlite(&data);
    let platform = highball::net::Os::shared();
    let plan =
        Plan { listen: flags.listen, admin: Some(flags.admin), database, settings, security, platform };
    let bound = plan.bind().await.map_err(|cause| cause.to_string())?;
    say(banner(&bound, &data));
    let report = bound.run_until_signal().await.map_err(|cause| format!("cannot handle signals: {cause}"))?;
    // The last log lines first, then the summary.
    drop(log);
    say(report);
    Ok(report.exit_code())
}

/// Everything a newcomer wants to know, in the order of the questions.
fn banner(bound: &Bound, data: &std::path::Path) -> String {
    let mut text = String::from("\nhighball is up\n\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing into a String cannot fail.
        writeln!(text, "  {name:<32} {value}").ok();
    };
    for addr in bound.addrs() {
        let name = if bound.speaks_tls(&addr) { "gRPC (HTTP/2 over TLS)" } else { "gRPC (plaintext HTTP/2)" };
        line(name, &addr);
    }
    if let Some(probes) = bound.health_only_addr() {
        line("health checks only", &probes);
    }
    if let Some(admin) = bound.admin_addr() {
        line("admin", &format_args!("http://{admin}/  (/livez /readyz /metrics)"));
    }
    line("data", &data.display());
    line("log", &"standard output, one JSON object per line");
    text.push_str("\nlimits in force\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "  {name:<32} {value}").ok();
    };
    for limit in bound.settings().limits() {
        line(limit.what, &limit.value);
    }
    text.push_str("\nopen boxes: fine on this machine, not on the internet\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "  [ ] {name:<12} {value}").ok();
    };
    for open in bound.open_boxes() {
        line(open.name, &open);
    }
    text.push_str("\ntry\n");
    text.push_str(&commands(bound));
    text.push_str("\nCtrl-C drains and stops; a second one stops at once\n");
    text
}

/// Three commands that work as they stand: two need curl only.
fn commands(bound: &Bound) -> String {
    let mut text = String::new();
    let grpc = bound.addrs().into_iter().find(|addr| matches!(addr, ListenAddr::Tcp(_)));
    if let Some(addr) = &grpc {
        // The CA of a certificate is not known here, so the commands do not check it.
        let (curl, grpcurl) = match bound.speaks_tls(addr) {
            true => ("-k --http2 https", "-insecure"),
            false => ("--http2-prior-knowledge http", "-plaintext"),
        };
        let (flags, scheme) = curl.rsplit_once(' ').unwrap_or_default();
        // The envelope: flag 0, length 6, then field 1 of HelloRequest = "Rail".
        writeln!(
            text,
            "  printf '\\0\\0\\0\\0\\6\\12\\4Rail' | curl -s {flags} -H 'content-type: application/grpc' \\\n\
             \x20     -H 'te: trailers' --data-binary @- --output - {scheme}://{addr}/greeter.Greeter/SayHello | strings",
        )
        .ok();
        writeln!(
            text,
            "  grpcurl {grpcurl} -d '{{\"user_id\":\"u1\",\"items\":[{{\"product_id\":\"tea\",\"quantity\":2,\"price\":3.5}}]}}' \\\n\
             \x20     {addr} ecommerce.v1.OrderService/CreateOrder",
        )
        .ok();
    }
    if let Some(admin) = bound.admin_addr() {
        writeln!(text, "  curl -s http://{admin}/metrics | grep -E '^(grpc_requests|orders_created)_total'")
            .ok();
    }
    text
}
