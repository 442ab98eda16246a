//! Which template a path fits, when several do.
//!
//! A tree by segments. At each segment a literal goes before `*`, and `*` before `**`; a way that leads nowhere is left for
//! the next. Every node is seen at most once for a path, so the time is bounded by the templates, not by the path.

use std::collections::BTreeSet;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::template::{Segment, Template};

/// The templates, each with what it leads to.
#[derive(Debug)]
pub(crate) struct Matcher<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<String, usize>,
    one: Option<usize>,
    /// What ends here.
    ends: Vec<End<T>>,
    /// What takes all that is left from here.
    rest: Vec<End<T>>,
}

#[derive(Debug)]
struct End<T> {
    /// The HTTP method; `*` for any.
    method: String,
    /// What follows the colon.
    verb: Option<String>,
    to: T,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'m, T> {
    /// This.
    Route(&'m T),
    /// Templates fit, for these HTTP methods only.
    OtherMethods(BTreeSet<&'m str>),
    /// No template fits.
    Nothing,
}

/// A path, cut into segments as they stand in the target.
#[derive(Debug)]
pub(crate) struct Path<'p> {
    pub(crate) segments: Vec<&'p str>,
    pub(crate) verb: Option<&'p str>,
}

impl<T> Matcher<T> {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::new()] }
    }

    /// Adds a template.
    ///
    /// # Errors
    /// The one that is there already for the same paths and the same HTTP method.
    pub(crate) fn add(&mut self, method: &str, template: &Template, to: T) -> Result<(), &T> {
        let mut at = 0;
        let mut takes_rest = false;
        for segment in &template.segments {
            match segment {
                Segment::Literal(text) => {
                    at = self.child(
                        at,
                        |node| node.literals.get(text).copied(),
                        |node, new| {
                            node.literals.insert(text.clone(), new);
                        },
                    )
                }
                Segment::One => at = self.child(at, |node| node.one, |node, new| node.one = Some(new)),
                Segment::Rest => takes_rest = true,
            }
        }
        let node = &mut self.nodes[at];
        let ends = if takes_rest { &mut node.rest } else { &mut node.ends };
        let same = |end: &End<T>| end.method == method && end.verb == template.verb;
        if let Some(known) = ends.iter().position(same) {
            return Err(&ends[known].to);
        }
        ends.push(End { method: method.to_owned(), verb: template.verb.clone(), to });
        Ok(())
    }

    fn child(
        &mut self,
        at: usize,
        known: impl Fn(&Node<T>) -> Option<usize>,
        link: impl FnOnce(&mut Node<T>, usize),
    ) -> usize {
        known(&self.nodes[at]).unwrap_or_else(|| {
            let new = self.nodes.len();
            self.nodes.push(Node::new());
            link(&mut self.nodes[at], new);
            new
        })
    }

    /// What `path`, without its query, leads to; and how the path was cut. Of two templates that differ in a verb only, the one
    /// with the verb is meant: `/a:b` is `/{id}` with the id `a:b` only where nothing has the verb `b`.
    pub(crate) fn find<'m, 'p>(&'m self, method: &str, path: &'p str) -> (Found<'m, T>, Path<'p>) {
        let mut others = BTreeSet::new();
        let ways = Path::ways(path);
        for way in ways {
            let segments: Vec<_> =
                way.segments.iter().map(|raw| percent_decode_str(raw).decode_utf8_lossy()).collect();
            let mut search = Search { matcher: self, method, verb: way.verb, others: &mut others };
            if let Some(to) = search.walk(0, &segments) {
                return (Found::Route(to), way);
            }
        }
        let found = if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) };
        (found, Path { segments: Vec::new(), verb: None })
    }
}

impl<'p> Path<'p> {
    /// The ways to read a path: with what follows its last colon as a verb, then without one.
    fn ways(path: &'p str) -> impl Iterator<Item = Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let tail = path.rfind('/').map_or(0, |slash| slash + 1);
        let colon = path.get(tail..).and_then(|last| last.rfind(':')).map(|colon| tail + colon);
        let with = colon.and_then(|colon| {
            let verb = path.get(colon + 1..)?;
            Some(Self { segments: cut(path.get(..colon)?), verb: Some(verb) })
        });
        with.into_iter().chain([Self { segments: cut(path), verb: None }])
    }
}

fn cut(path: &str) -> Vec<&str> {
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

impl<T> Node<T> {
    fn new() -> Self {
        Self { literals: HashMap::new(), one: None, ends: Vec::new(), rest: Vec::new() }
    }
}

struct Search<'s, 'm, T> {
    matcher: &'m Matcher<T>,
    method: &'s str,
    verb: Option<&'s str>,
    others: &'s mut BTreeSet<&'m str>,
}

impl<'m, T> Search<'_, 'm, T> {
    /// No deeper than the longest template.
    fn walk(&mut self, at: usize, segments: &[impl AsRef<str>]) -> Option<&'m T> {
        let matcher = self.matcher;
        let node = &matcher.nodes[at];
        let deeper = match segments.split_first() {
            None => self.end(&node.ends),
            Some((first, rest)) => {
                let first = first.as_ref();
                let literal = node.literals.get(first).and_then(|next| self.walk(*next, rest));
                literal.or_else(|| {
                    let next = node.one.filter(|_| !first.is_empty())?;
                    self.walk(next, rest)
                })
            }
        };
        deeper.or_else(|| self.end(&node.rest))
    }

    fn end(&mut self, ends: &'m [End<T>]) -> Option<&'m T> {
        let fits = ends.iter().filter(|end| end.verb.as_deref() == self.verb);
        let mut any = None;
        for end in fits {
            if end.method == self.method {
                return Some(&end.to);
            }
            match end.method.as_str() {
                "*" => any = Some(&end.to),
                other => _ = self.others.insert(other),
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(routes: &[&'static str]) -> Matcher<&'static str> {
        let mut matcher = Matcher::new();
        for route in routes {
            let (method, template) = route.split_once(' ').unwrap();
            matcher.add(method, &Template::parse(template).unwrap(), *route).unwrap();
        }
        matcher
    }

    #[test]
    fn the_most_exact_template_wins_and_dead_ends_are_left() {
        let matcher = matcher(&[
            "GET /v1/orders/{id}",
            "GET /v1/orders/latest",
            "GET /v1/orders/{id}:watch",
            "GET /v1/{kind}/latest/lines",
            "GET /v1/orders/latest/lines/{n}",
            "GET /v1/{name=files/**}",
            "GET /v1/{name=files/*/meta}",
            "POST /v1/orders",
            "POST /v1/orders:batch",
            "* /any",
            "GET /any",
        ]);
        for (method, path, want) in [
            ("GET", "/v1/orders/7", "GET /v1/orders/{id}"),
            ("GET", "/v1/orders/latest", "GET /v1/orders/latest"),
            ("GET", "/v1/orders/l%61test", "GET /v1/orders/latest"),
            ("GET", "/v1/orders/7:watch", "GET /v1/orders/{id}:watch"),
            ("GET", "/v1/orders/7:other", "GET /v1/orders/{id}"),
            ("GET", "/v1/orders/latest/lines", "GET /v1/{kind}/latest/lines"),
            ("GET", "/v1/orders/latest/lines/1", "GET /v1/orders/latest/lines/{n}"),
            ("GET", "/v1/files", "GET /v1/{name=files/**}"),
            ("GET", "/v1/files/a/b/c", "GET /v1/{name=files/**}"),
            ("GET", "/v1/files/a/meta", "GET /v1/{name=files/*/meta}"),
            ("POST", "/v1/orders:batch", "POST /v1/orders:batch"),
            ("GET", "/any", "GET /any"),
            ("PUT", "/any", "* /any"),
        ] {
            assert_eq!(matcher.find(method, path).0, Found::Route(&want), "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_fits_for_other_methods_names_them() {
        let matcher = matcher(&["GET /v1/orders", "POST /v1/orders", "PUT /v1/{x}", "GET /v1/orders:batch"]);
        let others = BTreeSet::from(["GET", "POST", "PUT"]);
        assert_eq!(matcher.find("DELETE", "/v1/orders").0, Found::OtherMethods(others));
        for path in ["/", "", "/v1", "/v1/", "/v1/orders/", "/v1/orders/7", "/V1/orders", "//v1/orders"] {
            assert_eq!(matcher.find("GET", path).0, Found::Nothing, "{path}");
        }
    }

    #[test]
    fn two_templates_for_the_same_paths_are_one_too_many() {
        let mut matcher = matcher(&["GET /v1/{id}"]);
        let again = Template::parse("/v1/{name}").unwrap();
        assert_eq!(matcher.add("GET", &again, "again"), Err(&"GET /v1/{id}"));
        assert_eq!(matcher.add("PUT", &again, "again"), Ok(()));
    }
}
