//! YAML, and with it JSON, as a tree that knows its lines and which of its fields were looked at.
//!
//! What nobody asked for is found afterwards by [`Node::leftovers`], so that nothing of a source is passed over in silence.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{ImportError, NESTING_MAX};

/// Most values of a source, those that aliases repeat counted each time.
const VALUES_MAX: usize = 200_000;

/// A value and its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// Its line, counted from 1.
    pub(super) line: usize,
    data: Data,
}

#[derive(Debug, Clone, Default)]
enum Data {
    #[default]
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Field>),
}

#[derive(Debug, Clone)]
struct Field {
    key: String,
    line: usize,
    value: Node,
    used: Cell<bool>,
}

impl Node {
    /// Reads every document of a text.
    ///
    /// # Errors
    /// The first place where it is no YAML, or goes beyond a bound.
    pub(super) fn read(text: &str) -> Result<Vec<Self>, ImportError> {
        Builder::default().run(text)
    }

    /// A field that is set. Underscores and capitals do not matter: protobuf has two spellings of each.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Data::Map(fields) = &self.data else { return None };
        let field = fields.iter().find(|field| same(&field.key, name))?;
        field.used.set(true);
        (!field.value.is_null()).then_some(&field.value)
    }

    /// A field, `Null` when it is not set, so that paths can be followed.
    pub(super) fn at(&self, name: &str) -> &Self {
        const NOTHING: &Node = &Node { line: 0, data: Data::Null };
        self.get(name).unwrap_or(NOTHING)
    }

    /// Whether a field is set; it does not count as looked at.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(&self.data, Data::Map(fields) if fields.iter().any(|field| same(&field.key, name)))
    }

    /// The fields of a map, all looked at.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, usize, &Self)> {
        let fields = if let Data::Map(fields) = &self.data { fields.as_slice() } else { &[] };
        fields.iter().map(|field| {
            field.used.set(true);
            (field.key.as_str(), field.line, &field.value)
        })
    }

    /// The values of a list.
    pub(super) fn items(&self) -> &[Self] {
        if let Data::List(items) = &self.data { items } else { &[] }
    }

    /// A scalar as it is written.
    pub(super) fn text(&self) -> Option<&str> {
        if let Data::Scalar(text) = &self.data { Some(text) } else { None }
    }

    /// A scalar as a number, or as whatever can be read from text.
    pub(super) fn parse<T: FromStr>(&self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// A scalar as yes or no.
    pub(super) fn is_true(&self) -> bool {
        self.text() == Some("true")
    }

    /// Whether there is nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Looks at everything below: it was dealt with as a whole.
    pub(super) fn settle(&self) {
        match &self.data {
            Data::Null | Data::Scalar(_) => {}
            Data::List(items) => items.iter().for_each(Self::settle),
            Data::Map(fields) => {
                for field in fields {
                    field.used.set(true);
                    field.value.settle();
                }
            }
        }
    }

    /// Calls back with the line and the path of each field that nobody looked at; not for what is below such a field.
    pub(super) fn leftovers(&self, path: &str, found: &mut dyn FnMut(usize, &str)) {
        match &self.data {
            Data::Null | Data::Scalar(_) => {}
            Data::List(items) => items.iter().for_each(|item| item.leftovers(path, found)),
            Data::Map(fields) => {
                for field in fields {
                    let path =
                        if path.is_empty() { field.key.clone() } else { format!("{path}.{}", field.key) };
                    if field.used.get() {
                        field.value.leftovers(&path, found);
                    } else {
                        found(field.line, &path);
                    }
                }
            }
        }
    }

    /// How many values it is made of, and how deep.
    fn measure(&self) -> (usize, usize) {
        let below = |nodes: &mut dyn Iterator<Item = &Self>| {
            nodes.fold((1, 1), |(values, depth), node| {
                let (more, below) = node.measure();
                (values + more, depth.max(below + 1))
            })
        };
        match &self.data {
            Data::Null | Data::Scalar(_) => (1, 1),
            Data::List(items) => below(&mut items.iter()),
            Data::Map(fields) => below(&mut fields.iter().map(|field| &field.value)),
        }
    }
}

/// The last two names of a path, which is what a report needs beside the line.
pub(super) fn tail(path: &str) -> &str {
    path.rmatch_indices('.').nth(1).and_then(|(at, _)| path.get(at + 1..)).unwrap_or(path)
}

fn same(key: &str, name: &str) -> bool {
    fn plain(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    plain(key).eq(plain(name))
}

/// The tree in the making.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
}

/// A list or map that has not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, usize)>,
    keys: HashSet<String>,
}

impl Builder {
    fn run(mut self, text: &str) -> Result<Vec<Node>, ImportError> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let place = error.marker();
                ImportError::new(place.line(), place.col() + 1, error.info())
            })?;
            self.take(event, span)?;
        }
        Ok(self.documents)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), ImportError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let empty =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let data = if empty { Data::Null } else { Data::Scalar(text.into_owned()) };
                self.close(Node { line, data }, anchor, span)
            }
            Event::SequenceStart(anchor, _) => self.open(Data::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.open(Data::Map(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor, span),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| at(span, "an alias stands for something that has not ended"))?;
                let (values, depth) = node.measure();
                self.count(values, span)?;
                if self.open.len() + depth > NESTING_MAX {
                    return Err(too_deep(span));
                }
                self.close(Node { line, ..node }, 0, span)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
        }
    }

    fn open(&mut self, data: Data, anchor: usize, span: Span) -> Result<(), ImportError> {
        if self.open.len() >= NESTING_MAX {
            return Err(too_deep(span));
        }
        let node = Node { line: span.start.line(), data };
        self.open.push(Open { node, anchor, key: None, keys: HashSet::new() });
        Ok(())
    }

    /// Puts a value that has ended where it belongs.
    fn close(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), ImportError> {
        self.count(1, span)?;
        if anchor != 0 {
            self.count(node.measure().0, span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut open.node.data, open.key.take()) {
            (Data::List(items), _) => items.push(node),
            (Data::Map(fields), Some((key, line))) => {
                fields.push(Field { key, line, value: node, used: Cell::new(false) });
            }
            (Data::Map(_), None) => {
                let key = match node.data {
                    Data::Scalar(text) => text,
                    Data::Null => String::new(),
                    Data::List(_) | Data::Map(_) => return Err(at(span, "a key must be text")),
                };
                if !open.keys.insert(key.clone()) {
                    return Err(at(span, &format!("the key {key:?} is there twice")));
                }
                open.key = Some((key, node.line));
            }
            (Data::Null | Data::Scalar(_), _) => {}
        }
        Ok(())
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), ImportError> {
        self.values += values;
        if self.values > VALUES_MAX {
            return Err(at(span, &format!("more than {VALUES_MAX} values, counting what aliases repeat")));
        }
        Ok(())
    }
}

fn at(span: Span, problem: &str) -> ImportError {
    ImportError::new(span.start.line(), span.start.col() + 1, problem)
}

fn too_deep(span: Span) -> ImportError {
    at(span, &format!("more than {NESTING_MAX} levels"))
}
