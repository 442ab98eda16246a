//! `grpc_next_upstream`.

use highball_core::Code;

use super::scope::Scope;
use crate::import::report::Report;
use crate::import::toml::Table;
use crate::import::values::Retry;

/// Sets `retry` of a route, when the source says more than its default.
pub(super) fn retry(scope: &Scope<'_>, route: &mut Table, report: &mut Report) {
    let tries = scope.find("grpc_next_upstream_tries");
    let Some(next) = scope.find("grpc_next_upstream") else {
        if let Some(tries) = tries {
            report.translated(
                tries.line,
                tries.text(),
                "what never reached a backend is sent to another one",
            );
        }
        return;
    };
    if next.has("off") {
        route.set("retry", false);
        let how = "what never reached a backend is still sent to another one";
        report.approximated(next.line, next.text(), how);
        return;
    }
    let mut retry = Retry { again: 2, ..Retry::default() };
    for condition in &next.args {
        match condition.as_str() {
            "error" | "timeout" | "invalid_header" | "non_idempotent" => {}
            "http_502" | "http_503" | "http_504" | "http_429" => {
                let why = "backends that speak gRPC answer 200 and put their status into trailers, so nginx never sees it; here \
                           the code UNAVAILABLE is tried again";
                report.mistake(next.line, format!("grpc_next_upstream {condition}"), why);
                retry.codes.push(Code::Unavailable);
            }
            _ => {
                let why = "it has no meaning for gRPC, whose failures are not HTTP statuses: left out";
                report.mistake(next.line, format!("grpc_next_upstream {condition}"), why);
            }
        }
    }
    if let Some(count) = tries.and_then(|tries| tries.arg().parse::<u32>().ok()).filter(|count| *count > 0) {
        retry.again = count - 1;
    }
    if next.has("non_idempotent") {
        let how =
            "a call is sent again only when no backend can have begun it, or by code: the status says it";
        report.approximated(next.line, "grpc_next_upstream non_idempotent", how);
    }
    if retry.codes.is_empty() {
        let how = "what never reached a backend is sent to another one, as always; a timeout ends the RPC";
        report.approximated(next.line, next.text(), how);
    } else {
        retry.write(route, next.line, &next.text(), report);
    }
}
