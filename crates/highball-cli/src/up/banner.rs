//! Everything a newcomer wants to know, in the order of the questions.

use std::fmt::{Display, Write as _};
use std::path::Path;

use highball::ListenAddr;
use highball_edge::BoundEdge;

use super::replicas::Replicas;

pub(super) fn of(bound: &BoundEdge, replicas: &Replicas, tls: bool, data: &Path) -> String {
    let mut text = String::from("\nhighball is up\n\n");
    let speaks_tls = |addr: &ListenAddr| tls && matches!(addr, ListenAddr::Tcp(_));
    for addr in bound.addrs() {
        let name = if speaks_tls(&addr) { "gRPC (HTTP/2 over TLS)" } else { "gRPC (plaintext HTTP/2)" };
        line(&mut text, name, &addr);
    }
    if let Some(probes) = bound.health_only_addr() {
        line(&mut text, "health checks only", &probes);
    }
    if let Some(admin) = bound.admin_addr() {
        line(&mut text, "admin", &format_args!("http://{admin}/  (/livez /readyz /metrics /edge)"));
    }
    for (index, pid) in replicas.first() {
        let pid = pid.map_or_else(|| "ended".to_owned(), |pid| format!("process {pid}"));
        line(&mut text, &format!("replica {index}"), &pid);
    }
    let sockets = data.join("replicas");
    line(
        &mut text,
        "admin of each replica",
        &format_args!("{}/N.admin.sock  (curl --unix-socket)", sockets.display()),
    );
    line(&mut text, "data", &data.join("orders.db").display());
    line(&mut text, "log", &"standard output, one JSON object per line");
    text.push_str("\nlimits in force\n");
    for limit in bound.limits().limits() {
        writeln!(text, "  {:<48} {}", limit.what, limit.value).ok();
    }
    text.push_str("\nopen boxes: fine on this machine, not on the internet\n");
    for open in bound.open_boxes() {
        writeln!(text, "  [ ] {:<12} {open}", open.name).ok();
    }
    text.push_str("\ntry\n");
    let grpc = bound.addrs().into_iter().find(|addr| matches!(addr, ListenAddr::Tcp(_)));
    if let Some(addr) = &grpc {
        calls(&mut text, addr, speaks_tls(addr));
    }
    if let Some(admin) = bound.admin_addr() {
        writeln!(text, "  curl -s http://{admin}/metrics | grep -E '^(grpc_requests|edge_routed)_total'")
            .ok();
        writeln!(text, "  highball explain --edge {admin} ecommerce.v1.OrderService/GetOrder").ok();
    }
    if let Some((_, Some(pid))) = replicas.first().first() {
        writeln!(text, "  kill -9 {pid}  # and watch nothing happen").ok();
    }
    text.push_str("\nCtrl-C drains and stops; a second one stops at once\n");
    text
}

fn line(text: &mut String, name: &str, value: &dyn Display) {
    // Writing into a String cannot fail.
    writeln!(text, "  {name:<32} {value}").ok();
}

/// Two commands that work as they stand: one needs curl only.
fn calls(text: &mut String, addr: &ListenAddr, tls: bool) {
    // The CA of a certificate is not known here, so the commands do not check it.
    let (flags, scheme, grpcurl) = match tls {
        true => ("-k --http2", "https", "-insecure"),
        false => ("--http2-prior-knowledge", "http", "-plaintext"),
    };
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
