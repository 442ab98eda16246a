//! Behaviour of the reader: what files mean, and where it says what is wrong with them.

mod problems;
mod values;
mod warnings;

use std::path::Path;

use super::{Problems, Read, read};

/// A listener, a cluster and a route, on six lines. Tests put lines before or behind them.
const REST: &str = "[[listeners]]
address = \"127.0.0.1:1\"
[clusters.a]
target = \"dns:///a:1\"
[[routes]]
cluster = \"a\"
";

fn base() -> &'static Path {
    Path::new("/etc/edge")
}

#[track_caller]
fn good(text: &str) -> Read {
    read(text, base()).unwrap_or_else(|problems| panic!("{}", problems.render("edge.toml", text)))
}

#[track_caller]
fn bad(text: &str) -> Problems {
    read(text, base()).err().unwrap_or_else(|| panic!("no problem in\n{text}"))
}
