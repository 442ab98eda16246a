//! Our TOML, written: tables in the order they are made, each with comments that say where it came from.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::report::echo;

/// A file in the making.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Keys before the first table.
    pub(super) top: Table,
    /// `[[listeners]]`.
    pub(super) listeners: Vec<Table>,
    /// `[clusters.NAME]`.
    pub(super) clusters: Vec<(String, Table)>,
    /// `[[routes]]`.
    pub(super) routes: Vec<Table>,
    /// `[limits]`.
    pub(super) limits: Table,
}

impl File {
    /// The cluster of this name.
    pub(super) fn cluster(&mut self, name: &str) -> Option<&mut Table> {
        self.clusters.iter_mut().find(|(known, _)| known == name).map(|(_, table)| table)
    }

    /// Whether there is a cluster of this name.
    pub(super) fn has_cluster(&self, name: &str) -> bool {
        self.clusters.iter().any(|(known, _)| known == name)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.top.is_empty() {
            parts.push(self.top.to_string());
        }
        parts.extend(self.listeners.iter().map(|table| table.below("[[listeners]]")));
        parts.extend(
            self.clusters.iter().map(|(name, table)| table.below(&format!("[clusters.{}]", key(name)))),
        );
        parts.extend(self.routes.iter().map(|table| table.below("[[routes]]")));
        if !self.limits.is_empty() {
            parts.push(self.limits.below("[limits]"));
        }
        f.write_str(&parts.join("\n"))
    }
}

/// A table: comments, then keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    comments: Vec<String>,
    entries: Vec<(String, Value, String)>,
}

impl Table {
    /// A table with a comment above it.
    pub(super) fn noted(comment: impl AsRef<str>) -> Self {
        let mut table = Self::default();
        table.comment(comment);
        table
    }

    /// Adds a comment above the table.
    pub(super) fn comment(&mut self, text: impl AsRef<str>) {
        self.comments.push(echo(text.as_ref()));
    }

    /// Sets a key, in place when it is there.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.set_noted(key, value, "");
    }

    /// Sets a key, with a comment behind it.
    pub(super) fn set_noted(&mut self, key: &str, value: impl Into<Value>, comment: &str) {
        let (value, comment) = (value.into(), echo(comment));
        match self.entries.iter_mut().find(|(known, ..)| known == key) {
            Some(entry) => (entry.1, entry.2) = (value, comment),
            None => self.entries.push((key.to_owned(), value, comment)),
        }
    }

    /// Sets a key before all others.
    pub(super) fn set_first(&mut self, key: &str, value: impl Into<Value>) {
        self.remove(key);
        self.entries.insert(0, (key.to_owned(), value.into(), String::new()));
    }

    /// Sets the keys of another table.
    pub(super) fn extend(&mut self, other: &Self) {
        for (key, value, comment) in &other.entries {
            self.set_noted(key, value.clone(), comment);
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &str) {
        self.entries.retain(|(known, ..)| known != key);
    }

    /// What a key is set to.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(known, ..)| known == key).map(|(_, value, _)| value)
    }

    /// Whether a key is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn is_empty(&self) -> bool {
        self.comments.is_empty() && self.entries.is_empty()
    }

    fn below(&self, head: &str) -> String {
        let mut text = String::new();
        for comment in &self.comments {
            text.push_str(&format!("# {comment}\n"));
        }
        text.push_str(head);
        text.push('\n');
        text.push_str(&self.keys());
        text
    }

    fn keys(&self) -> String {
        let mut text = String::new();
        for (name, value, comment) in &self.entries {
            let comment = if comment.is_empty() { String::new() } else { format!(" # {comment}") };
            text.push_str(&format!("{} = {value}{comment}\n", key(name)));
        }
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comment in &self.comments {
            writeln!(f, "# {comment}")?;
        }
        f.write_str(&self.keys())
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Whole(u64),
    /// Any number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// A list.
    List(Vec<Self>),
    /// An inline table.
    Map(Vec<(String, Self)>),
}

impl Value {
    /// An inline table.
    pub(super) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Adds to an inline table.
    pub(super) fn push(&mut self, key: &str, value: impl Into<Self>) {
        if let Self::Map(entries) = self {
            entries.push((key.to_owned(), value.into()));
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Text(duration(time))
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            // TOML's whole numbers have a sign.
            Self::Whole(number) => write!(f, "{}", number.min(&(i64::MAX as u64))),
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => write!(f, "{number}"),
            // Not `{}`: a float of TOML has a point or an exponent.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Map(entries) if entries.is_empty() => f.write_str("{}"),
            Self::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(name, value)| format!("{} = {value}", key(name))).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// A duration as our files have it: in the largest unit that needs no fraction, at least a millisecond unless it is zero.
pub(super) fn duration(time: Duration) -> String {
    let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    match millis {
        0 => "0s".to_owned(),
        _ if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        _ if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        _ if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// A key, quoted when it must be.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { basic(name) }
}

/// A string: without escapes where it has backslashes, which are what regular expressions are made of.
fn quoted(text: &str) -> String {
    let literal = text.contains('\\') && !text.chars().any(|c| c == '\'' || c.is_control());
    if literal { format!("'{text}'") } else { basic(text) }
}

fn basic(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(c)).unwrap_or_default();
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_take_the_largest_whole_unit() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_micros(1), "1ms"),
            (Duration::from_millis(1500), "1500ms"),
            (Duration::from_secs(90), "90s"),
            (Duration::from_secs(300), "5m"),
            (Duration::from_secs(86_400), "24h"),
        ] {
            assert_eq!(duration(time), text);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(name: String, text: String, comment: String, number: u64, float in -1e9..1e9) {
            let mut table = Table::noted(&comment);
            table.set_noted(&name, text.clone(), &comment);
            table.set("list in the middle", vec![Value::map([("a b", Value::Number(float)), ("c", Value::Whole(number))])]);
            let file = File { routes: vec![table], ..File::default() };
            let read: toml::Table = file.to_string().parse().expect("valid TOML");
            let route = read["routes"][0].as_table().expect("a table");
            prop_assert_eq!(route[&name].as_str(), Some(text.as_str()));
            let read = &route["list in the middle"][0]["a b"];
            prop_assert_eq!(read.as_float().or(read.as_integer().map(|whole| whole as f64)), Some(float));
        }
    }
}
