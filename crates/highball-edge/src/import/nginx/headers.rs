//! `grpc_set_header`, `grpc_hide_header`, `add_header`.

use super::parse::Directive;
use super::scope::Scope;
use crate::import::names::{is_header_value, is_rewritable};
use crate::import::report::Report;
use crate::import::toml::{Table, Value};

/// Sets `request_headers` and `response_headers` of a route.
pub(super) fn headers(scope: &Scope<'_>, route: &mut Table, report: &mut Report) {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for directive in scope.all("grpc_set_header") {
        request(directive, &mut set, &mut remove, report);
    }
    rewrite(route, "request_headers", remove, ("set", set));
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for directive in scope.all("grpc_hide_header") {
        if is_rewritable(directive.arg()) {
            push_name(&mut remove, directive.arg());
            report.translated(directive.line, directive.text(), "");
        } else {
            report.not_supported(directive.line, directive.text(), "this header belongs to the protocol");
        }
    }
    for directive in scope.all("add_header") {
        response(directive, &mut add, report);
    }
    rewrite(route, "response_headers", remove, ("add", add));
}

fn rewrite(route: &mut Table, key: &str, remove: Vec<Value>, (verb, pairs): (&str, Vec<(String, Value)>)) {
    let mut rewrite = Value::Map(Vec::new());
    if !remove.is_empty() {
        rewrite.push("remove", Value::List(remove));
    }
    if !pairs.is_empty() {
        rewrite.push(verb, Value::Map(pairs));
    }
    if rewrite != Value::Map(Vec::new()) {
        route.set(key, rewrite);
    }
}

fn request(
    directive: &Directive,
    set: &mut Vec<(String, Value)>,
    remove: &mut Vec<Value>,
    report: &mut Report,
) {
    let (name, value) =
        (directive.arg().to_ascii_lowercase(), directive.args.get(1).map_or("", String::as_str));
    let (line, text) = (directive.line, directive.text());
    let own = format!("$http_{}", name.replace('-', "_"));
    match (name.as_str(), value) {
        ("host", "$host" | "$http_host") => {
            report.translated(line, text, "backends see the caller's own authority")
        }
        ("host", value) if !value.contains('$') => {
            report.not_supported(line, text, "set `authority` of the cluster");
        }
        ("te" | "connection" | "content-type" | "upgrade", _) => {
            report.translated(line, text, "not needed: this header belongs to the protocol");
        }
        (_, value) if value == own => report.translated(line, text, "not needed: headers of the caller pass"),
        ("x-forwarded-for", _) => report.translated(line, text, "not needed: it is always set"),
        (_, "$remote_addr" | "$proxy_add_x_forwarded_for" | "$realip_remote_addr") => {
            report.approximated(
                line,
                text,
                "left out: backends find the address in x-forwarded-for, which is always set",
            );
        }
        (_, "") if is_rewritable(&name) => {
            push_name(remove, &name);
            report.translated(line, text, "");
        }
        (_, value) if value.contains('$') => {
            report.not_supported(line, text, "headers are set to texts only, not to variables: left out");
        }
        (_, value) if is_rewritable(&name) && is_header_value(&name, value) => {
            push_pair(set, name, value);
            report.translated(line, text, "");
        }
        _ => report.not_supported(line, text, "this header cannot be set: left out"),
    }
}

fn response(directive: &Directive, add: &mut Vec<(String, Value)>, report: &mut Report) {
    let (name, value) =
        (directive.arg().to_ascii_lowercase(), directive.args.get(1).map_or("", String::as_str));
    let (line, text) = (directive.line, directive.text());
    if value.contains('$') {
        report.not_supported(line, text, "headers are set to texts only, not to variables: left out");
    } else if is_rewritable(&name) && is_header_value(&name, value) && !value.is_empty() {
        push_pair(add, name, value);
        report.translated(line, text, "added to every answer");
    } else {
        report.not_supported(line, text, "this header cannot be added: left out");
    }
}

fn push_name(names: &mut Vec<Value>, name: &str) {
    let name = Value::from(name.to_ascii_lowercase());
    if !names.contains(&name) {
        names.push(name);
    }
}

fn push_pair(pairs: &mut Vec<(String, Value)>, name: String, value: &str) {
    pairs.retain(|(known, _)| *known != name);
    pairs.push((name, value.into()));
}
