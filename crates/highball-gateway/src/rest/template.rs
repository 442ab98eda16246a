//! Templates of paths, as `google/api/http.proto` defines them:
//!
//! ```text
//! Template = "/" Segments [ ":" Verb ] ;   Segment  = "*" | "**" | LITERAL | Variable ;
//! Segments = Segment { "/" Segment } ;     Variable = "{" Field { "." Field } [ "=" Segments ] "}" ;
//! ```

/// A template, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    /// What follows the colon.
    pub(crate) verb: Option<String>,
}

/// What one segment of a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// `*`: one segment that is not empty.
    One,
    /// `**`: all that is left, or nothing.
    Rest,
}

/// A field that takes its value from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Dotted, as written.
    pub(crate) field: String,
    /// The segments it takes, from here
    pub(crate) start: usize,
    /// to before here.
    pub(crate) end: usize,
    /// Whether it may hold slashes: it is not exactly one `*`. Then `%2F` stays as it is.
    pub(crate) is_multiple: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that says what is not allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("a template begins with /")?;
        // Colons inside a variable belong to it.
        let tail = path.rfind(['/', '}']).map_or(0, |at| at + 1);
        let (path, verb) = match path.get(tail..).unwrap_or_default().split_once(':') {
            Some((last, verb)) => (path.get(..tail + last.len()).unwrap_or_default(), Some(verb)),
            None => (path, None),
        };
        if verb.is_some_and(|verb| !is_literal(verb)) {
            return Err("what follows the colon of a template is a word");
        }
        let mut template =
            Self { segments: Vec::new(), variables: Vec::new(), verb: verb.map(str::to_owned) };
        let mut rest = path;
        loop {
            rest = template.segment(rest)?;
            match rest.strip_prefix('/') {
                Some(more) => rest = more,
                None if rest.is_empty() => break,
                None => return Err("a variable is a whole segment"),
            }
        }
        let before_last = template.segments.split_last().map(|(_, before)| before).unwrap_or_default();
        if before_last.contains(&Segment::Rest) {
            return Err("** is the last segment of a template");
        }
        Ok(template)
    }

    /// Reads one segment or one variable, and returns what follows.
    fn segment<'a>(&mut self, text: &'a str) -> Result<&'a str, &'static str> {
        let Some(inner) = text.strip_prefix('{') else {
            let end = text.find('/').unwrap_or(text.len());
            let (segment, rest) = text.split_at(end);
            self.segments.push(plain(segment)?);
            return Ok(rest);
        };
        let (variable, rest) = inner.split_once('}').ok_or("a variable of a template has no }")?;
        let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        if !field.split('.').all(is_name) {
            return Err("a variable of a template begins with the name of a field");
        }
        if self.variables.iter().any(|known| known.field == field) {
            return Err("a variable stands twice in a template");
        }
        let start = self.segments.len();
        for segment in pattern.split('/') {
            self.segments.push(plain(segment)?);
        }
        let end = self.segments.len();
        self.variables.push(Variable { field: field.to_owned(), start, end, is_multiple: pattern != "*" });
        Ok(rest)
    }
}

fn plain(text: &str) -> Result<Segment, &'static str> {
    match text {
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Rest),
        text if is_literal(text) => Ok(Segment::Literal(text.to_owned())),
        _ => Err("a segment of a template is a word, *, ** or one variable without others inside"),
    }
}

fn is_literal(text: &str) -> bool {
    let refused = |c: char| matches!(c, '{' | '}' | '*' | '=' | ':' | '/' | '?' | '#') || c.is_whitespace();
    !text.is_empty() && !text.contains(refused)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_are_taken_apart() {
        let literal = |text: &str| Segment::Literal(text.to_owned());
        let variable = |field: &str, start, end, is_multiple| Variable {
            field: field.to_owned(),
            start,
            end,
            is_multiple,
        };
        for (text, segments, variables, verb) in [
            ("/v1", vec![literal("v1")], vec![], None),
            ("/v1/*/x/**", vec![literal("v1"), Segment::One, literal("x"), Segment::Rest], vec![], None),
            ("/v1/{id}", vec![literal("v1"), Segment::One], vec![variable("id", 1, 2, false)], None),
            (
                "/v1/{id=*}:go",
                vec![literal("v1"), Segment::One],
                vec![variable("id", 1, 2, false)],
                Some("go"),
            ),
            (
                "/v1/{a.b=shelves/*}/{c=**}:x",
                vec![literal("v1"), literal("shelves"), Segment::One, Segment::Rest],
                vec![variable("a.b", 1, 3, true), variable("c", 3, 4, true)],
                Some("x"),
            ),
            ("/v1/a:b", vec![literal("v1"), literal("a")], vec![], Some("b")),
        ] {
            let want = Template { segments, variables, verb: verb.map(str::to_owned) };
            assert_eq!(Template::parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "",
            "v1",
            "/",
            "/v1/",
            "//",
            "/v1//x",
            "/{",
            "/{a",
            "/{}",
            "/{a=}",
            "/{a={b}}",
            "/a{b}",
            "/{a}b",
            "/**/x",
            "/{a=**}/b",
            "/{a}/{a}",
            "/v1:",
            "/v1:a:b",
            "/{1a}",
            "/{a..b}",
            "/a*",
            "/***",
            "/a b",
            "/a?b",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[/{}*=:.a1é]{0,24}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert!(!template.segments.is_empty());
                for variable in template.variables {
                    prop_assert!(variable.start < variable.end && variable.end <= template.segments.len());
                }
            }
        }
    }
}
