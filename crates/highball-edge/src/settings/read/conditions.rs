//! The conditions of a route.

use http::HeaderName;
use regex::{Regex, RegexBuilder};
use toml::de::DeValue;

use super::table::{Item, Table};
use super::{HEADERS_MAX, LIST_MAX, keys};
use crate::settings::{HeaderMatch, PathMatch, ValueMatch};

/// What a compiled regex may take, in bytes: its own program, and again what it remembers while it runs.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Longer paths are no method's.
const PATH_MAX: usize = 1024;

/// `host` or `hosts`.
pub(super) fn hosts(table: &Table<'_>) -> Vec<String> {
    let hosts = match table.one_of(&["host", "hosts"]) {
        Some(item) if item.name == "host" => item.host().map(|host| vec![host]),
        Some(item) => item.each(LIST_MAX, Item::host),
        None => None,
    };
    hosts.unwrap_or_default()
}

/// `path`, `prefix`, `service` or `method`.
pub(super) fn path(table: &Table<'_>) -> PathMatch {
    let Some(item) = table.one_of(&["path", "prefix", "service", "method"]) else { return PathMatch::Any };
    let path = match item.name {
        "path" => rooted(item).map(PathMatch::Exact),
        "prefix" => rooted(item).map(PathMatch::Prefix),
        "service" => service(item).map(PathMatch::Service),
        _ => method(item).map(PathMatch::Exact),
    };
    path.unwrap_or_default()
}

/// What can stand in a path.
fn is_path(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    (1..=PATH_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn rooted(item: Item<'_>) -> Option<String> {
    let text = item.string()?;
    if text.starts_with('/') && is_path(text) {
        return Some(text.to_owned());
    }
    item.malformed(text, "a path; write one that starts with a slash, such as \"/orders.v1.Orders/Get\"")
}

fn service(item: Item<'_>) -> Option<String> {
    let text = item.string()?;
    if is_path(text) && !text.contains('/') {
        return Some(text.to_owned());
    }
    item.malformed(text, "a service; write its full name without slashes, such as \"orders.v1.Orders\"")
}

fn method(item: Item<'_>) -> Option<String> {
    let text = item.string()?;
    match text.split_once('/') {
        Some((service, method))
            if is_path(text) && !service.is_empty() && !method.is_empty() && !method.contains('/') =>
        {
            Some(format!("/{text}"))
        }
        _ => item.malformed(text, "a method; write service and method, such as \"orders.v1.Orders/Get\""),
    }
}

/// `headers`: names, and what each must be.
pub(super) fn headers(item: Item<'_>) -> Vec<HeaderMatch> {
    let mut matches: Vec<HeaderMatch> = Vec::new();
    for (at, entry) in item.entries(HEADERS_MAX).unwrap_or_default() {
        let key = Item { at, ..entry };
        let name = key.header_named(entry.name);
        let value = value(entry, name.as_ref());
        let (Some(name), Some(value)) = (name, value) else { continue };
        if matches.iter().any(|earlier| earlier.name == name) {
            key.note(|| format!("{name} is there twice, in another case; keep one of them"));
        }
        matches.push(HeaderMatch { name, value });
    }
    matches
}

/// A string, or a table with one way to compare.
fn value(item: Item<'_>, name: Option<&HeaderName>) -> Option<ValueMatch> {
    let how = match item.value {
        DeValue::String(_) => item.named("exact"),
        DeValue::Table(_) => item.table(&keys::VALUE_MATCH)?.only()?,
        _ => return item.expected("a string, or a table such as { prefix = \"v\" }"),
    };
    match how.name {
        "exact" => {
            let value = how.header_value(name?)?;
            Some(ValueMatch::Exact(value.to_str().ok()?.to_owned()))
        }
        "prefix" => how.text().map(|prefix| ValueMatch::Prefix(prefix.to_owned())),
        "regex" => regex(how).map(ValueMatch::Regex),
        _ => how.boolean().map(ValueMatch::Present),
    }
}

/// A regex for the whole value.
fn regex(item: Item<'_>) -> Option<Regex> {
    let text = item.text()?;
    let build = |text: &str| {
        RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).dfa_size_limit(REGEX_SIZE_MAX).build()
    };
    // First as it stands: wrapped, `a)|(b` would be one, and would not be about the whole value.
    match build(text).and_then(|_| build(&format!("^(?:{text})$"))) {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(_)) => {
            item.malformed(text, "a regex that can be used: it is too large; repeat less, or use a prefix")
        }
        Err(error) => {
            // The error draws the pattern over several lines; its last says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            item.malformed(text, format_args!("a regex: {why}; repair it, or use exact or prefix"))
        }
    }
}
