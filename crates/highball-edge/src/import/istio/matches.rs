//! `match` of an http route.

use crate::import::names::{Path, is_header, is_header_value, is_host, is_regex, literal, set_path};
use crate::import::toml::{Table, Value};
use crate::import::yaml::Node;

/// Why a match makes no route.
#[derive(Debug)]
pub(super) enum Problem {
    /// No gRPC request is so.
    Never(String),
    /// It cannot be said here; without it the route would match too much.
    Unknown(String),
}

use Problem::{Never, Unknown};

/// Sets the conditions of a route.
pub(super) fn conditions(node: &Node, route: &mut Table) -> Result<(), Problem> {
    node.at("name").settle();
    if let Some(uri) = node.get("uri") {
        path(node, uri, route)?;
    }
    if let Some(method) = node.get("method") {
        match text(method) {
            Some((_, "POST")) => {}
            Some(("exact", other)) => return Err(Never(format!("gRPC requests are POST, never {other}"))),
            _ => return Err(Unknown("its method is a pattern; gRPC requests are POST".to_owned())),
        }
    }
    if node.has("queryParams") {
        return Err(Never("gRPC requests have no query".to_owned()));
    }
    if let Some(authority) = node.get("authority") {
        match text(authority) {
            Some(("exact", host)) if is_host(host) => route.set("host", host.to_ascii_lowercase()),
            _ => return Err(Unknown("authorities are names: write a route for each".to_owned())),
        }
    }
    node.at("statPrefix").settle();
    for name in ["port", "scheme", "sourceLabels", "sourceNamespace", "gateways"] {
        if node.has(name) {
            return Err(Unknown(format!("{name} is no condition here")));
        }
    }
    let mut headers: Vec<(String, Value)> = Vec::new();
    for (name, _, value) in node.at("headers").fields() {
        if let Some(value) = header(name, value)? {
            headers.push((name.to_ascii_lowercase(), value));
        }
    }
    for (name, _, value) in node.at("withoutHeaders").fields() {
        let present = value.fields().next().is_none();
        if !present || !is_header(name) || headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(Unknown(format!("withoutHeaders {name} is more than the absence of a header")));
        }
        headers.push((name.to_ascii_lowercase(), Value::map([("present", false.into())])));
    }
    if headers
        .iter()
        .enumerate()
        .any(|(index, (name, _))| headers.iter().skip(index + 1).any(|(other, _)| other == name))
    {
        return Err(Unknown("it has two conditions for one header".to_owned()));
    }
    if !headers.is_empty() {
        route.set("headers", Value::Map(headers));
    }
    Ok(())
}

/// The kind of a string match, and its text.
fn text(node: &Node) -> Option<(&'static str, &str)> {
    ["exact", "prefix", "regex"].into_iter().find_map(|kind| Some((kind, node.get(kind)?.text()?)))
}

fn path(node: &Node, uri: &Node, route: &mut Table) -> Result<(), Problem> {
    if node.at("ignoreUriCase").is_true() {
        return Err(Unknown("methods are compared with regard to case".to_owned()));
    }
    let path = match text(uri) {
        Some(("exact", path)) => Path::Exact(path.to_owned()),
        Some(("prefix", prefix)) => Path::Prefix(prefix.to_owned()),
        Some((_, regex)) => {
            Path::of_regex(regex).or_else(|| literal(regex).map(Path::Exact)).ok_or_else(|| {
                Unknown(format!("the path {regex:?} is no text and no beginning: write a route for each"))
            })?
        }
        None => Path::Any,
    };
    if !path.is_valid() {
        return Err(Never("its path is none of gRPC's".to_owned()));
    }
    set_path(route, &path);
    Ok(())
}

/// What a header must be; `None` when every gRPC request has it.
fn header(name: &str, value: &Node) -> Result<Option<Value>, Problem> {
    if name.eq_ignore_ascii_case("content-type") && text(value) == Some(("prefix", "application/grpc")) {
        return Ok(None);
    }
    if !is_header(name) {
        return Err(Unknown(format!("the header {name} is a part of the request")));
    }
    Ok(Some(match text(value) {
        None if value.fields().next().is_none() => Value::map([("present", true.into())]),
        Some(("exact", text)) if is_header_value(name, text) => text.into(),
        Some(("prefix", text)) if !text.is_empty() => Value::map([("prefix", text.into())]),
        Some(("regex", text)) if is_regex(text) => Value::map([("regex", text.into())]),
        _ => return Err(Unknown(format!("its condition for the header {name} cannot be said"))),
    }))
}
