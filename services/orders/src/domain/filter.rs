//! The `filter` of ListUsers: a small subset of AIP-160.
//!
//! ```text
//! filter     = [ comparison { "AND" comparison } ]
//! comparison = "email" ( "=" | ":" ) string
//!            | "name"  ( "=" | ":" ) string
//!            | "role"  "=" ( "CUSTOMER" | "ADMIN" )
//! string     = '"' { character | '\"' | '\\' } '"'
//! ```
//!
//! `=` compares the whole value, `:` its beginning. E-mail addresses compare without letter case, names with
//! it. Everything else AIP-160 knows is refused with the place of the first character that does not fit.

use thiserror::Error;

use super::user::{Role, email_key};

/// Most comparisons of a filter.
pub(crate) const MAX_COMPARISONS: usize = 8;

/// Longest filter, in characters.
pub(crate) const MAX_LEN: usize = 512;

/// One comparison; a user must meet all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The address, in lower case.
    EmailIs(String),
    /// The beginning of the address, in lower case.
    EmailStarts(String),
    /// The name.
    NameIs(String),
    /// The beginning of the name.
    NameStarts(String),
    /// The role.
    RoleIs(Role),
}

/// Where and why a filter cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("filter: {expected} at character {position}")]
pub(crate) struct BadFilter {
    /// What would have fitted.
    pub(crate) expected: &'static str,
    /// Counted in characters, from 1.
    pub(crate) position: usize,
}

/// Reads a filter. An empty one has no comparisons and selects everybody.
pub(crate) fn parse(text: &str) -> Result<Vec<Comparison>, BadFilter> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0 };
    if chars.len() > MAX_LEN {
        reader.at = MAX_LEN;
        return Err(reader.error("expected at most 512 characters"));
    }
    let mut comparisons = Vec::new();
    reader.skip_space();
    if reader.is_done() {
        return Ok(comparisons);
    }
    loop {
        if comparisons.len() == MAX_COMPARISONS {
            return Err(reader.error("expected at most 8 comparisons"));
        }
        comparisons.push(reader.comparison()?);
        reader.skip_space();
        if reader.is_done() {
            return Ok(comparisons);
        }
        let start = reader.at;
        if reader.word() != "AND" {
            return Err(BadFilter { expected: "expected AND", position: start + 1 });
        }
        reader.skip_space();
    }
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn comparison(&mut self) -> Result<Comparison, BadFilter> {
        let start = self.at;
        let field = self.word();
        if !["email", "name", "role"].contains(&field.as_str()) {
            return Err(BadFilter { expected: "expected email, name or role", position: start + 1 });
        }
        self.skip_space();
        let whole = match self.peek() {
            Some('=') => true,
            Some(':') if field != "role" => false,
            _ if field == "role" => return Err(self.error("expected =")),
            _ => return Err(self.error("expected = or :")),
        };
        self.at += 1;
        self.skip_space();
        match (field.as_str(), whole) {
            ("email", true) => Ok(Comparison::EmailIs(email_key(&self.string()?))),
            ("email", false) => Ok(Comparison::EmailStarts(email_key(&self.string()?))),
            ("name", true) => Ok(Comparison::NameIs(self.string()?)),
            ("name", false) => Ok(Comparison::NameStarts(self.string()?)),
            _ => self.role(),
        }
    }

    fn role(&mut self) -> Result<Comparison, BadFilter> {
        let start = self.at;
        let role = self.word().parse();
        role.map(Comparison::RoleIs)
            .map_err(|_| BadFilter { expected: "expected CUSTOMER or ADMIN", position: start + 1 })
    }

    fn string(&mut self) -> Result<String, BadFilter> {
        if self.peek() != Some('"') {
            return Err(self.error("expected a text in double quotes"));
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let next = self.peek().ok_or_else(|| self.error("expected a closing quote"))?;
            self.at += 1;
            match next {
                '"' => return Ok(text),
                '\\' => {
                    let escaped = self.peek().filter(|c| matches!(c, '"' | '\\'));
                    text.push(escaped.ok_or_else(|| self.error("expected \\\" or \\\\"))?);
                    self.at += 1;
                }
                other => text.push(other),
            }
        }
    }

    fn word(&mut self) -> String {
        let rest = self.chars.iter().skip(self.at);
        let word: String = rest.take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
        self.at += word.len();
        word
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn is_done(&self) -> bool {
        self.at == self.chars.len()
    }

    fn error(&self, expected: &'static str) -> BadFilter {
        BadFilter { expected, position: self.at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Comparison::{EmailIs, EmailStarts, NameIs, NameStarts, RoleIs};
    use super::*;

    #[test]
    fn comparisons_are_read() {
        let check =
            |text: &str, expected: &[Comparison]| assert_eq!(parse(text).unwrap(), expected, "{text}");
        check("", &[]);
        check("   ", &[]);
        check(r#"email = "Ada@Example.com""#, &[EmailIs("ada@example.com".into())]);
        check(r#"email:"ada@""#, &[EmailStarts("ada@".into())]);
        check(r#"name="Ada \"the\" \\ first""#, &[NameIs(r#"Ada "the" \ first"#.into())]);
        check(r#"name : "Ad" AND role = ADMIN"#, &[NameStarts("Ad".into()), RoleIs(Role::Admin)]);
        check(r#"role=CUSTOMER AND name="""#, &[RoleIs(Role::Customer), NameIs(String::new())]);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err().to_string(), expected);
        check("age > 3", "filter: expected email, name or role at character 1");
        check(r#"email != "a""#, "filter: expected = or : at character 7");
        check("email = a", "filter: expected a text in double quotes at character 9");
        check(r#"email = "a"#, "filter: expected a closing quote at character 11");
        check(r#"name = "a\n""#, r#"filter: expected \" or \\ at character 11"#);
        check(r#"name = "a" OR name = "b""#, "filter: expected AND at character 12");
        check(r#"name = "a" AND"#, "filter: expected email, name or role at character 15");
        check("role : ADMIN", "filter: expected = at character 6");
        check("role = ROOT", "filter: expected CUSTOMER or ADMIN at character 8");
        check(r#"(name = "a")"#, "filter: expected email, name or role at character 1");
        check(r#"name = "é" x"#, "filter: expected AND at character 12");
    }

    #[test]
    fn a_filter_has_bounds() {
        let eight = ["role = ADMIN"; 8].join(" AND ");
        assert_eq!(parse(&eight).unwrap().len(), 8);
        let nine = format!("{eight} AND role = ADMIN");
        assert_eq!(parse(&nine).unwrap_err().expected, "expected at most 8 comparisons");
        assert_eq!(parse(&" ".repeat(513)).unwrap_err().position, 513);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_place_is_inside(text in "[a-z:=\"\\\\ AND\u{e9}]{0,80}|.{0,600}") {
            if let Err(error) = parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position));
            }
        }

        #[test]
        fn any_name_can_be_quoted(name in "[^\"\\\\]{0,64}") {
            prop_assert_eq!(parse(&format!("name = \"{name}\"")).unwrap(), vec![NameIs(name)]);
        }
    }
}
