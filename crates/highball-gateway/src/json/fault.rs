//! What is wrong with a JSON text, in our words: line, column, field, and what the field takes.
//!
//! The reader tells only where it stopped. The way to that place is found by walking the text once more.

use std::fmt::Write as _;

use buffa_descriptor::{FieldDescriptor, FieldKind, MessageIndex, ScalarType, SingularKind};
use highball_core::{Code, Status};
use serde_json::error::Category;

use crate::{Schema, error};

/// Longest path of a field that is told, in bytes.
const PATH_SIZE_BYTES_MAX: usize = 200;

/// The status for a text that [`super::read`] could not read.
pub(super) fn explain(
    schema: &Schema,
    message: MessageIndex,
    text: &[u8],
    error: &serde_json::Error,
) -> Status {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Eof => Status::new(Code::InvalidArgument, format!("the JSON ends too early, at {place}")),
        Category::Io | Category::Syntax => Status::new(Code::InvalidArgument, format!("not JSON at {place}")),
        Category::Data => {
            let steps = steps_to(text, offset(text, error.line(), error.column()));
            let (path, what) = describe(schema, message, &steps, &error.to_string());
            error::invalid(&path, format!("{place}: {what}"))
        }
    }
}

/// One step on the way from the whole text to a value in it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.by_ref().take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    before + column
}

/// The steps to what stands before `offset`. The text is JSON at least up to there. The last byte may be the one behind a
/// number, which ends it.
fn steps_to(text: &[u8], offset: usize) -> Vec<Step> {
    let mut steps: Vec<Option<Step>> = Vec::new();
    let mut wants_key = Vec::new();
    let mut at = 0;
    while at < offset.min(text.len()) {
        match text[at] {
            b'"' => {
                let end = string_end(text, at);
                if wants_key.last() == Some(&true) {
                    let key = text.get(at..end).and_then(|key| serde_json::from_slice(key).ok());
                    steps.pop();
                    steps.push(key.map(Step::Key));
                    wants_key.pop();
                    wants_key.push(false);
                }
                at = end;
                continue;
            }
            b'{' => {
                steps.push(None);
                wants_key.push(true);
            }
            b'[' => {
                steps.push(Some(Step::Index(0)));
                wants_key.push(false);
            }
            b'}' | b']' | b',' if at + 1 == offset => {}
            b'}' | b']' => {
                steps.pop();
                wants_key.pop();
            }
            b',' => match steps.last_mut() {
                Some(Some(Step::Index(index))) => *index += 1,
                _ => wants_key.last_mut().map_or((), |wants| *wants = true),
            },
            _ => {}
        }
        at += 1;
    }
    steps.into_iter().flatten().collect()
}

/// Behind the closing quote of the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The path, and what is wrong there.
fn describe(schema: &Schema, message: MessageIndex, steps: &[Step], hint: &str) -> (String, String) {
    let mut path = String::new();
    let mut within = Some(message);
    let mut field: Option<&FieldDescriptor> = None;
    let mut inside = false;
    for step in steps {
        match step {
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _infallible = write!(path, "[{index}]");
                inside = true;
            }
            Step::Key(key) => {
                let is_map = !inside && field.is_some_and(|f| matches!(f.kind(), FieldKind::Map { .. }));
                let separator = if path.is_empty() { "" } else { "." };
                let _infallible = write!(path, "{separator}{}", key.escape_debug());
                inside = is_map;
                if is_map {
                    continue;
                }
                let Some(current) = within.filter(|current| !is_opaque(schema.name_of(*current))) else {
                    break;
                };
                field = schema.pool().message(current).field_by_name(key);
                let Some(found) = field else {
                    cut(&mut path);
                    let what = format!("{} has no field {path:?}", schema.name_of(message));
                    return (path, what);
                };
                within = message_of(found.kind());
            }
        }
    }
    cut(&mut path);
    let what = match field {
        _ if hint.contains("duplicate field") => format!("field {path} stands twice"),
        _ if hint.contains("member of oneof") => format!("field {path} excludes another that is set"),
        Some(field) => format!("field {path} takes {}", takes(schema, field.kind(), inside)),
        None => format!("this is not a JSON {}", schema.name_of(message)),
    };
    (path, what)
}

/// Keeps what is told short.
fn cut(path: &mut String) {
    if path.len() > PATH_SIZE_BYTES_MAX {
        path.truncate(path.floor_char_boundary(PATH_SIZE_BYTES_MAX));
        path.push_str("...");
    }
}

fn message_of(kind: FieldKind) -> Option<MessageIndex> {
    match kind {
        FieldKind::Singular(SingularKind::Message(message))
        | FieldKind::List(SingularKind::Message(message))
        | FieldKind::Map { value: SingularKind::Message(message), .. } => Some(message),
        _ => None,
    }
}

/// Whether the keys of this message's JSON are not its fields.
fn is_opaque(name: &str) -> bool {
    matches!(name, "google.protobuf.Any" | "google.protobuf.Struct" | "google.protobuf.Value")
}

/// What a field takes; `inside` a list or a map, what one of its values does.
pub(crate) fn takes(schema: &Schema, kind: FieldKind, inside: bool) -> String {
    match kind {
        FieldKind::Singular(kind) => singular(schema, kind),
        FieldKind::List(kind) | FieldKind::Map { value: kind, .. } if inside => singular(schema, kind),
        FieldKind::List(kind) => format!("an array, each {}", singular(schema, kind)),
        FieldKind::Map { value, .. } => format!("an object, each value {}", singular(schema, value)),
    }
}

fn singular(schema: &Schema, kind: SingularKind) -> String {
    let simple = match kind {
        SingularKind::Enum(index) => {
            let values = schema.pool().enumeration(index).values();
            let names: Vec<_> = values.iter().take(10).map(|value| value.name()).collect();
            let more = if values.len() > names.len() { ", ..." } else { "" };
            return format!("one of {}{more}", names.join(", "));
        }
        SingularKind::Message(message) => match schema.name_of(message) {
            "google.protobuf.Timestamp" => "a time such as \"2026-01-31T12:00:00Z\"",
            "google.protobuf.Duration" => "a duration such as \"1.5s\"",
            "google.protobuf.FieldMask" => "a list of fields such as \"name,createdAt\"",
            "google.protobuf.Any" => "an object with \"@type\", the URL of a type that is known here",
            name => return format!("an object, {name}"),
        },
        SingularKind::Scalar(scalar) => match scalar {
            ScalarType::Bool => "true or false",
            ScalarType::String => "a string",
            ScalarType::Bytes => "a string of base64",
            ScalarType::Double | ScalarType::Float => "a number",
            ScalarType::Int32 | ScalarType::Sint32 | ScalarType::Sfixed32 => "a whole number of 32 bits",
            ScalarType::Int64 | ScalarType::Sint64 | ScalarType::Sfixed64 => "a whole number of 64 bits",
            ScalarType::Uint32 | ScalarType::Fixed32 => "a whole number of 32 bits, not negative",
            ScalarType::Uint64 | ScalarType::Fixed64 => "a whole number of 64 bits, not negative",
        },
    };
    simple.to_owned()
}
