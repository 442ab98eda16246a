//! `request_headers_to_add` and the like.

use crate::import::names::{is_header_value, is_rewritable};
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::yaml::Node;

/// Sets `request_headers` and `response_headers` of a route: what itself, its host and its configuration say.
pub(super) fn headers(levels: &[&Node], route: &mut Table, report: &mut Report) {
    for side in ["request", "response"] {
        let (mut remove, mut set, mut add) = (Vec::new(), Vec::new(), Vec::new());
        for level in levels {
            for name in level.at(&format!("{side}_headers_to_remove")).items() {
                let text = name.text().unwrap_or_default();
                if !is_rewritable(text) {
                    report.not_supported(name.line, format!("{side} header {text}"), "it cannot be removed");
                } else if !remove.contains(&Value::from(text.to_ascii_lowercase())) {
                    remove.push(text.to_ascii_lowercase().into());
                    report.translated(name.line, format!("remove {side} header {text}"), "");
                }
            }
            for entry in level.at(&format!("{side}_headers_to_add")).items() {
                option(entry, side, &mut set, &mut add, report);
            }
        }
        let mut rewrite = Vec::new();
        if !remove.is_empty() {
            rewrite.push(("remove".to_owned(), Value::List(remove)));
        }
        for (verb, pairs) in [("set", set), ("add", add)] {
            if !pairs.is_empty() {
                rewrite.push((verb.to_owned(), Value::Map(pairs)));
            }
        }
        if !rewrite.is_empty() {
            route.set(&format!("{side}_headers"), Value::Map(rewrite));
        }
    }
}

type Pairs = Vec<(String, Value)>;

fn option(entry: &Node, side: &str, set: &mut Pairs, add: &mut Pairs, report: &mut Report) {
    let header = entry.at("header");
    let name = header.at("key").text().unwrap_or_default().to_ascii_lowercase();
    let value = header.at("value").text().unwrap_or_default();
    let what = format!("{side} header {name}: {value}");
    let appends = entry.get("append").map(Node::is_true);
    let action = entry.at("append_action").text().unwrap_or("APPEND_IF_EXISTS_OR_ADD");
    entry.at("keep_empty_value").settle();
    if value.contains('%') {
        report.not_supported(entry.line, what, "headers are set to texts only, not to variables: left out");
        return;
    }
    if !is_rewritable(&name) || !is_header_value(&name, value) {
        report.not_supported(entry.line, what, "this header cannot be set: left out");
        return;
    }
    let pairs = match (appends, action) {
        (Some(false), _) | (None, "OVERWRITE_IF_EXISTS_OR_ADD") => set,
        (Some(true), _) | (None, "APPEND_IF_EXISTS_OR_ADD") => add,
        _ => {
            report.not_supported(entry.line, what, "headers are set, or added: left out");
            return;
        }
    };
    // The innermost level comes first.
    if !pairs.iter().any(|(known, _)| *known == name) {
        pairs.push((name, value.into()));
    }
    report.translated(entry.line, what, "");
}
