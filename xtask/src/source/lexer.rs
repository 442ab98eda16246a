//! Splits Rust text into code, comments and literals without moving a single character.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text twice, as long as the original: once with only the code, once with only the comments. Line breaks stay in
/// both, so a line number found in either is a line number of the file.
pub(super) fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank: Vec<u8> = bytes.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }).collect();
    let (mut code, mut comments) = (blank.clone(), blank);
    let mut at = 0;
    while at < bytes.len() {
        let (kind, length) = token(&bytes[at..]);
        let end = (at + length.max(1)).min(bytes.len());
        match kind {
            Kind::Code => code[at..end].copy_from_slice(&bytes[at..end]),
            Kind::Comment => comments[at..end].copy_from_slice(&bytes[at..end]),
            Kind::Literal => {}
        }
        at = end;
    }
    (String::from_utf8_lossy(&code).into_owned(), String::from_utf8_lossy(&comments).into_owned())
}

/// Blanks every item behind `#[cfg(test)]`, up to the end of its block or its semicolon.
pub(super) fn without_test_items(code: &str) -> String {
    const MARK: &[u8] = b"#[cfg(test)]";
    let mut bytes = code.as_bytes().to_vec();
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], MARK) {
        let start = at + found;
        let end = item_end(&bytes, start + MARK.len());
        for byte in &mut bytes[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of the item that starts at `at`: behind the closing brace of its first block, or behind its semicolon.
fn item_end(code: &[u8], mut at: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    while let Some(byte) = code.get(at) {
        at += 1;
        match byte {
            b'{' => braces += 1,
            b'}' if braces <= 1 => return at,
            b'}' => braces -= 1,
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b';' if braces == 0 && others == 0 => return at,
            _ => {}
        }
    }
    at
}

/// What starts here and how many bytes it has. `rest` is not empty.
fn token(rest: &[u8]) -> (Kind, usize) {
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, until(rest, b"\n")),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, string(rest)),
        [b'\'', ..] => quote(rest),
        [first, ..] if is_identifier(*first) => {
            let word = rest.iter().position(|&byte| !is_identifier(byte)).unwrap_or(rest.len());
            match raw_string(&rest[..word], &rest[word..]) {
                Some(length) => (Kind::Literal, word + length),
                None => (Kind::Code, word),
            }
        }
        _ => (Kind::Code, 1),
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn until(rest: &[u8], needle: &[u8]) -> usize {
    find(rest, needle).unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of the raw string behind the prefix `word`, if there is one: `r"..."`, `br#"..."#`.
fn raw_string(word: &[u8], rest: &[u8]) -> Option<usize> {
    if !matches!(word, b"r" | b"br" | b"cr") {
        return None;
    }
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let open = hashes + 1;
    Some(open + until(&rest[open..], &close) + close.len())
}

/// A character literal, or the quote of a lifetime.
fn quote(rest: &[u8]) -> (Kind, usize) {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return (Kind::Literal, close.map_or(rest.len(), |at| at + 4));
    }
    // One character of up to four bytes, then the closing quote; everything else is a lifetime.
    let first_is_wide = rest.get(1).is_some_and(|byte| !byte.is_ascii());
    let longest = if first_is_wide { 5 } else { 2 };
    match (2..=longest).find(|&at| rest.get(at) == Some(&b'\'')) {
        Some(close) => (Kind::Literal, close + 1),
        None => (Kind::Code, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"tokio::net\"; // std::net\n/* x /* y */ z */ b('\"', '\\'', 'q', 'ü');\n";
        let (code, comments) = split(text);
        assert!(!code.contains("tokio") && !code.contains("std"), "{code}");
        assert!(!code.contains('z') && !code.contains('q') && code.contains("b("), "{code}");
        assert!(comments.contains("// std::net") && comments.contains("z */") && !comments.contains("tokio"));
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn raw_strings_end_at_their_own_mark() {
        let (code, _) = split("f(r#\"a \" b\"#, br\"\\\", r#type, 'a: loop {})");
        assert_eq!(code.split_whitespace().collect::<String>(), "f(,,r#type,'a:loop{})");
    }

    #[test]
    fn items_for_tests_are_blanked_to_their_end() {
        let code = "a;\n#[cfg(test)]\nmod tests {\n  fn b() { c }\n}\nd;\n#[cfg(test)]\nuse e;\n#[cfg(test)]\nconst F: [u8; 2] = g;\nh";
        let shipped = without_test_items(code);
        assert_eq!(shipped.split_whitespace().collect::<Vec<_>>(), ["a;", "d;", "h"]);
        assert_eq!(shipped.lines().count(), code.lines().count());
    }
}
