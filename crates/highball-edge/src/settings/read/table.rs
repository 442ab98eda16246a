//! Walks a TOML table, and notes what is not as it should be.
//!
//! A reader that returns `None` has noted why, or there was nothing to read. So readers go on with what is left, and all
//! problems of a file are found at once.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Keys;
use super::nearest::did_you_mean;
use super::problem::Notes;

/// A table whose keys are all known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) notes: &'a Notes,
    keys: &'static Keys,
    entries: &'a DeTable<'a>,
    at: usize,
}

/// A value, with the name that messages give it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) notes: &'a Notes,
    pub(super) name: &'a str,
    pub(super) value: &'a DeValue<'a>,
    pub(super) at: usize,
}

impl<'a> Table<'a> {
    /// Takes a table, and notes its unknown keys.
    pub(super) fn new(notes: &'a Notes, entries: &'a DeTable<'a>, at: usize, keys: &'static Keys) -> Self {
        for (key, _) in entries {
            let name: &str = key.get_ref();
            if !keys.known.contains(&name) {
                notes.problem(key.span().start, || unknown(name, keys));
            }
        }
        Self { notes, keys, entries, at }
    }

    /// What is at a key.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is read and not in the list of keys");
        self.entries.get(key).map(|value| Item::new(self.notes, key, value))
    }

    /// What is at a key that must be there. `example` shows how to write it.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            self.problem(|| format!("{} needs {key}, such as {example}", self.keys.what));
        }
        item
    }

    /// The one of several keys that is there; more than one is a problem.
    pub(super) fn one_of(&self, keys: &[&'static str]) -> Option<Item<'a>> {
        let mut found: Vec<_> = keys.iter().filter_map(|key| self.get(key)).collect();
        found.sort_by_key(|item| item.at);
        let first = *found.first()?;
        for second in found.iter().skip(1) {
            second.note(|| format!("{} stands beside {}; keep one of them", second.name, first.name));
        }
        Some(first)
    }

    /// The only entry of a table that chooses one thing.
    pub(super) fn only(&self) -> Option<Item<'a>> {
        let mut present = self.keys.known.iter().filter_map(|key| self.get(key));
        match (present.next(), present.next()) {
            (Some(only), None) => return Some(only),
            // An unknown key was noted already.
            (None, _) if !self.entries.is_empty() => {}
            _ => self.problem(|| {
                format!("{} needs exactly one of {}", self.keys.what, self.keys.known.join(", "))
            }),
        }
        None
    }

    /// Notes a problem of the table as a whole.
    pub(super) fn problem(&self, message: impl FnOnce() -> String) {
        self.notes.problem(self.at, message);
    }
}

impl<'a> Item<'a> {
    pub(super) fn new(notes: &'a Notes, name: &'a str, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { notes, name, value: value.get_ref(), at: value.span().start }
    }

    /// The same value under another name.
    pub(super) fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// The place of what is at a key of a table, whatever it is; of the table itself without it.
    pub(super) fn at_key(self, key: &str) -> Self {
        let value = self.value.as_table().and_then(|entries| entries.get(key));
        value.map_or(self, |value| Self::new(self.notes, self.name, value))
    }

    /// Notes a problem of the value.
    pub(super) fn note(&self, message: impl FnOnce() -> String) {
        self.notes.problem(self.at, message);
    }

    /// Notes a problem of the value, which cannot be read therefore: always `None`.
    pub(super) fn problem<T>(&self, message: impl FnOnce() -> String) -> Option<T> {
        self.note(message);
        None
    }

    /// Notes that the value is of the wrong type.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.problem(|| format!("{} must be {what}, not {}", self.name, kind(self.value)))
    }

    /// A table with known keys.
    pub(super) fn table(self, keys: &'static Keys) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(Table::new(self.notes, entries, self.at, keys)),
            _ => self.expected("a table"),
        }
    }

    /// The entries of a table whose keys are the user's own, in the order of the file: where the key is, and the value
    /// under its name.
    pub(super) fn entries(self, entries_max: usize) -> Option<Vec<(usize, Self)>> {
        let DeValue::Table(table) = self.value else { return self.expected("a table") };
        if table.is_empty() {
            return self.problem(|| format!("{} is empty; it needs at least one entry", self.name));
        }
        if table.len() > entries_max {
            let found = table.len();
            return self
                .problem(|| format!("{} has {found} entries; at most {entries_max} are read", self.name));
        }
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| (key.span().start, Self::new(self.notes, key.get_ref(), value)))
            .collect();
        entries.sort_by_key(|(at, _)| *at);
        Some(entries)
    }

    /// The items of a list that has some.
    pub(super) fn list(self, items_max: usize) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value else { return self.expected("a list") };
        if items.is_empty() {
            return self.problem(|| format!("{} is empty; it needs at least one item", self.name));
        }
        if items.len() > items_max {
            let found = items.len();
            return self.problem(|| format!("{} has {found} items; at most {items_max} are read", self.name));
        }
        Some(items.iter().map(|item| Self::new(self.notes, self.name, item)).collect())
    }

    /// The items of a list, or a string that is the only one.
    pub(super) fn string_or_list(self, items_max: usize) -> Option<Vec<Self>> {
        match self.value {
            DeValue::String(_) => Some(vec![self]),
            DeValue::Array(_) => self.list(items_max),
            _ => self.expected("a string or a list of strings"),
        }
    }

    /// Reads each item of a list, or the string that is the only one. What cannot be read is left out, and noted.
    pub(super) fn each<T>(self, items_max: usize, read: impl Fn(Self) -> Option<T>) -> Option<Vec<T>> {
        Some(self.string_or_list(items_max)?.into_iter().filter_map(read).collect())
    }
}

fn unknown(name: &str, keys: &Keys) -> String {
    let suggestion = did_you_mean(name, keys.known.iter().copied());
    let separator = if suggestion.is_empty() { ";" } else { "" };
    let shown: String = name.chars().take(64).collect();
    match keys.known {
        [] => format!("unknown key {shown:?}; {} has no keys", keys.what),
        known => {
            format!("unknown key {shown:?}{suggestion}{separator} {} has {}", keys.what, known.join(", "))
        }
    }
}

/// A type, as messages name it.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
