//! `match` of a route.

use crate::import::names::{Path, is_header, is_header_value, is_regex, set_path};
use crate::import::toml::{Table, Value};
use crate::import::yaml::Node;

/// Sets the conditions of a route.
///
/// # Errors
/// What cannot be said: then the route is left out, for it would match too much.
pub(super) fn conditions(node: &Node, route: &mut Table) -> Result<(), String> {
    let path = if let Some(path) = node.get("path").and_then(Node::text) {
        Path::Exact(path.to_owned())
    } else if let Some(prefix) = node.get("prefix").and_then(Node::text) {
        Path::Prefix(prefix.to_owned())
    } else if let Some(prefix) = node.get("path_separated_prefix").and_then(Node::text) {
        Path::Prefix(format!("{}/", prefix.trim_end_matches('/')))
    } else if let Some(regex) = node.get("safe_regex") {
        regex.settle();
        let text = regex.at("regex").text().unwrap_or_default();
        Path::of_regex(text)
            .ok_or_else(|| format!("the path {text:?} is no text and no beginning: write a route for each"))?
    } else {
        Path::Any
    };
    if !path.is_valid() {
        return Err("its path is none of gRPC's".to_owned());
    }
    set_path(route, &path);
    for needless in ["grpc", "case_sensitive", "tls_context"] {
        // Everything here is gRPC, and case matters.
        node.at(needless).settle();
    }
    for name in
        ["query_parameters", "runtime_fraction", "connect_matcher", "dynamic_metadata", "path_match_policy"]
    {
        if node.has(name) {
            node.settle();
            return Err(format!("{name} is no condition here"));
        }
    }
    let mut headers: Vec<(String, Value)> = Vec::new();
    for header in node.at("headers").items() {
        let Some((name, value)) = self::header(header)? else { continue };
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(format!("it has two conditions for the header {name}"));
        }
        headers.push((name, value));
    }
    if !headers.is_empty() {
        route.set("headers", Value::Map(headers));
    }
    Ok(())
}

/// The name and the value; `None` when the condition always holds.
fn header(header: &Node) -> Result<Option<(String, Value)>, String> {
    let name = header.at("name").text().unwrap_or_default().to_ascii_lowercase();
    header.settle();
    let no = |what: &str| Err(format!("its condition for the header {name}, {what}, cannot be said"));
    let inverted = header.at("invert_match").is_true();
    let string = header.at("string_match");
    let either =
        |short: &str, long: &str| string.get(short).or_else(|| header.get(long)).and_then(Node::text);
    // Every gRPC request is so.
    let is_post = name == ":method" && either("exact", "exact_match") == Some("POST");
    let is_grpc = name == "content-type" && either("prefix", "prefix_match") == Some("application/grpc");
    if (is_post || is_grpc) && !inverted {
        return Ok(None);
    }
    if !is_header(&name) {
        return no("whose name is a part of the request");
    }
    if string.at("ignore_case").is_true() {
        return no("without regard to case");
    }
    let regex = string
        .get("safe_regex")
        .or_else(|| header.get("safe_regex_match"))
        .and_then(|regex| regex.at("regex").text());
    let value = if let Some(text) = either("exact", "exact_match").filter(|text| is_header_value(&name, text))
    {
        text.into()
    } else if let Some(text) = either("prefix", "prefix_match").filter(|text| !text.is_empty()) {
        Value::map([("prefix", text.into())])
    } else if let Some(text) = regex.filter(|text| is_regex(text)) {
        Value::map([("regex", text.into())])
    } else if let Some(text) = either("suffix", "suffix_match") {
        Value::map([("regex", format!(".*{}", regex::escape(text)).into())])
    } else if let Some(text) = either("contains", "contains_match") {
        Value::map([("regex", format!(".*{}.*", regex::escape(text)).into())])
    } else if let Some(present) = header.get("present_match") {
        Value::map([("present", (present.is_true() != inverted).into())])
    } else if string.is_null() && header.fields().count() <= 1 + usize::from(inverted) {
        Value::map([("present", (!inverted).into())])
    } else {
        return no("its kind");
    };
    if inverted && !matches!(&value, Value::Map(entries) if entries.iter().any(|(key, _)| key == "present")) {
        return no("inverted");
    }
    Ok(Some((name, value)))
}
