//! `request_headers` and `response_headers`.

use http::{HeaderName, HeaderValue};

use super::table::{Item, Table};
use super::{HEADERS_MAX, keys};
use crate::settings::Rewrite;

/// Reads what is done to headers.
pub(super) fn rewrite(item: Item<'_>) -> Option<Rewrite> {
    let table = item.table(&keys::REWRITE)?;
    let remove = table.get("remove").and_then(|item| {
        item.each(HEADERS_MAX, |item| item.string().and_then(|name| item.header_rewritten(name)))
    });
    let rewrite =
        Rewrite { remove: remove.unwrap_or_default(), set: pairs(&table, "set"), add: pairs(&table, "add") };
    if ["remove", "set", "add"].into_iter().all(|key| table.get(key).is_none()) {
        item.note(|| format!("{} needs remove, set or add; or leave it out", item.name));
    }
    Some(rewrite)
}

/// Names and values.
fn pairs(table: &Table<'_>, key: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    let mut pairs: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let entries = table.get(key).and_then(|item| item.entries(HEADERS_MAX)).unwrap_or_default();
    for (at, entry) in entries {
        let key = Item { at, ..entry };
        let Some(name) = key.header_rewritten(entry.name) else { continue };
        if pairs.iter().any(|(earlier, _)| *earlier == name) {
            key.note(|| format!("{name} is there twice, in another case; keep one of them"));
        }
        if let Some(value) = entry.header_value(&name) {
            pairs.push((name, value));
        }
    }
    pairs
}
