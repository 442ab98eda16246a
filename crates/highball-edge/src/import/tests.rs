//! Bounds, places, and texts that are broken in all kinds of ways. What a translation is stands below `tests/import`.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::settings::read::read;

type Import = fn(&str) -> Result<Imported, ImportError>;

const IMPORTS: [Import; 3] = [nginx, envoy, istio];

const SOURCES: [&str; 10] = [
    include_str!("../../tests/import/nginx/classic.conf"),
    include_str!("../../tests/import/nginx/whole.conf"),
    include_str!("../../tests/import/nginx/mistakes.conf"),
    include_str!("../../tests/import/envoy/classic.yaml"),
    include_str!("../../tests/import/envoy/whole.yaml"),
    include_str!("../../tests/import/envoy/mistakes.yaml"),
    include_str!("../../tests/import/envoy/config.json"),
    include_str!("../../tests/import/istio/classic.yaml"),
    include_str!("../../tests/import/istio/whole.yaml"),
    include_str!("../../tests/import/istio/mistakes.yaml"),
];

/// The importer that a source is for.
fn import_of(index: usize) -> Import {
    IMPORTS[[0, 0, 0, 1, 1, 1, 1, 2, 2, 2][index]]
}

#[track_caller]
fn fails(import: Import, text: &str, expected: &str) {
    let error = import(text).expect_err("no text of its kind").to_string();
    assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
}

#[test]
fn text_that_is_not_nginx_is_an_error_with_its_place() {
    fails(nginx, "server {\n  listen 80;\n", "line 1, column 9: a brace opens");
    fails(nginx, "listen 80;\n }\n", "line 2, column 2: a brace closes");
    fails(nginx, "server {\n  listen 80\n}\n", "line 3, column 1: \"listen\" does not end with a semicolon");
    fails(nginx, "a;\n  b \"c;\n", "line 2, column 5: a quote");
    fails(nginx, "a;;", "line 1, column 3: a semicolon without");
    fails(nginx, "\n{", "line 2, column 1: a block without");
}

#[test]
fn text_that_is_not_yaml_is_an_error_with_its_place() {
    for import in [envoy, istio] {
        fails(import, "a: 1\nb: [1, 2\n", "line 3, column 1: ");
        fails(import, "a: 1\na: 2\n", "line 2, column 1: the key \"a\" is there twice");
        fails(import, "a: *b\n", "line 1, column ");
        fails(import, "[a]: 1\n", "line 1, column ");
        fails(import, "a: \"b\n", "line ");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let long = " ".repeat(SOURCE_SIZE_BYTES_MAX + 1);
    for import in IMPORTS {
        fails(import, &long, "line 1, column 1: 1048577 bytes are more than 1048576");
    }
    fails(nginx, &"a {".repeat(100_000), "line 1, column ");
    for import in [envoy, istio] {
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            fails(import, &text, "line 1, column ");
        }
    }
}

#[test]
fn aliases_cannot_make_a_small_text_large() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let previous = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 10].join(", ")));
    }
    for import in [envoy, istio] {
        let error = import(&text).expect_err("too many values").to_string();
        assert!(error.contains("values, counting what aliases repeat"), "{error}");
    }
    // Depth grows by aliases too.
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let error = envoy(&text).expect_err("too deep").to_string();
    assert!(error.ends_with("more than 64 levels"), "{error}");
}

#[test]
fn an_alias_is_what_it_stands_for() {
    let own = "clusters: [{ name: a, http2_protocol_options: {}, load_assignment: &x { endpoints: [{ lb_endpoints: [{ endpoint: \
               { address: { pipe: { path: /a } } } }] }] } }, { name: b, http2_protocol_options: {}, load_assignment: *x }]";
    let imported = envoy(own).expect("YAML");
    assert_eq!(imported.toml.matches("target = \"unix:/a\"").count(), 2, "{}", imported.toml);
}

#[test]
fn the_exit_code_says_whether_somebody_must_look() {
    let clean = "http { keepalive_requests 1000000; upstream a { server 10.0.0.1:1; keepalive 32; } server { listen \
        80; http2 on; \
                 grpc_read_timeout 2h; location / { grpc_pass a; } } }";
    assert_eq!(nginx(clean).expect("nginx").exit_code(), 0, "{}", nginx(clean).expect("nginx").report);
    assert_eq!(nginx("").expect("nginx").exit_code(), 1);
    let imported = nginx(clean).expect("nginx");
    let (mut toml, mut report) = (Vec::new(), Vec::new());
    imported.write(&mut toml, &mut report).expect("memory does not fail");
    assert_eq!(String::from_utf8(toml).expect("text"), imported.to_string());
    assert_eq!(String::from_utf8(report).expect("text"), imported.report.to_string());
}

#[test]
fn a_source_cannot_break_out_of_a_comment_or_a_string() {
    let source = "upstream \"a\nb = 1\n[x]\" { server 10.0.0.1:1; } server { listen 80 http2; location \"/x\ny\" { grpc_pass \
                  \"grpc://a\nb = 1\n[x]\"; } location / { grpc_pass \"grpc://a\nb = 1\n[x]\"; grpc_set_header X \"a\nb\"; } }";
    let imported = nginx(source).expect("nginx");
    assert!(read(&imported.toml, Path::new("/")).is_ok(), "{}", imported.toml);
    assert!(!imported.toml.contains("\nb = 1"), "{}", imported.toml);
}

/// What a translation promises, whatever it was made of.
fn check(imported: &Imported) {
    let lines = imported.report.to_string();
    assert!(lines.chars().all(|c| c == '\n' || !c.is_control()), "{lines:?}");
    let has = |table: &str| imported.toml.contains(&format!("\n{table}\n"));
    if has("[[routes]]") && has("[[listeners]]") {
        if let Err(problems) = read(&imported.toml, Path::new("/etc/highball")) {
            panic!("{problems}\n{}", imported.toml);
        }
    } else {
        assert_eq!(imported.exit_code(), 1, "nothing is served, and nobody is told:\n{lines}");
    }
}

/// Words of all three languages, to put where they do not belong.
const WORDS: &[&str] = &[
    "{",
    "}",
    ";",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "0",
    "-1",
    "99999999999999999999",
    "0s",
    "1e9s",
    "*",
    "$x",
    "\\",
    "é",
    "\u{1b}",
    "unix:",
    "grpcs://",
    "null",
    "~",
    "true",
    "10.0.0.1:1",
    "/",
    "%",
    ",",
    "location / { grpc_pass a; }",
    "[a",
    "::",
    "=",
    "listen 80;",
    "<<: *a",
    "prefix: /",
    "weight: 0",
    ".*(",
    "443 ssl",
    "UNKNOWN",
    "\t",
    "\r\n",
];

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        for import in IMPORTS {
            if let Ok(imported) = import(&text) {
                check(&imported);
            }
        }
    }

    #[test]
    fn words_in_any_order_do_not_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        for import in IMPORTS {
            if let Ok(imported) = import(&words.concat()) {
                check(&imported);
            }
        }
    }

    #[test]
    fn a_source_with_slips_makes_a_file_that_can_be_read(
        index in 0..SOURCES.len(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(WORDS)), 1..5),
    ) {
        let mut text: Vec<char> = SOURCES[index].chars().collect();
        for (place, removed, word) in slips {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, word.chars());
        }
        if let Ok(imported) = import_of(index)(&text.iter().collect::<String>()) {
            check(&imported);
        }
    }

    /// A value in the place of another is a slip that keeps the syntax whole.
    #[test]
    fn values_that_change_places_make_a_file_that_can_be_read(
        index in 0..SOURCES.len(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..8),
    ) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-/:$%*".contains(c);
        let mut words: Vec<String> = Vec::new();
        for c in SOURCES[index].chars() {
            match words.last_mut() {
                Some(last) if is_word(c) && last.chars().all(is_word) => last.push(c),
                _ => words.push(c.to_string()),
            }
        }
        let places: Vec<usize> = (0..words.len()).filter(|at| words[*at].chars().all(is_word)).collect();
        for (one, other) in swaps {
            words.swap(places[one.index(places.len())], places[other.index(places.len())]);
        }
        if let Ok(imported) = import_of(index)(&words.concat()) {
            check(&imported);
        }
    }
}
