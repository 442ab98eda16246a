//! Values of the path and of the query, put into the request message.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use buffa_descriptor::{
    DynamicMessage, DynamicMessageSeed, FieldKind, MapKey, MapValue, MessageIndex, ReflectMessageMut as _,
    ScalarType, SingularKind, Value,
};
use highball_core::Status;
use serde::de::DeserializeSeed as _;

use crate::{Schema, error};

/// Fields in fields in fields: as deep as a dotted name may go.
const DEPTH_MAX: usize = 32;

/// A field, found by its dotted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The numbers of the fields on the way, the field itself last.
    pub(crate) numbers: Vec<u32>,
    pub(crate) kind: FieldKind,
}

/// A value on its way into a message.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) numbers: Vec<u32>,
    pub(crate) value: New,
}

/// What a field gets.
#[derive(Debug, Clone)]
pub(crate) enum New {
    /// This value.
    Set(Value),
    /// One more.
    Append(Value),
    /// One more, by this key.
    Insert(MapKey, Value),
}

/// The field with this dotted name, spelt as in the descriptors or as in JSON. `None` when there is none.
pub(crate) fn find(schema: &Schema, message: MessageIndex, name: &str) -> Option<Target> {
    let mut within = Some(message);
    let mut target =
        Target { numbers: Vec::new(), kind: FieldKind::Singular(SingularKind::Message(message)) };
    for step in name.split('.') {
        let field = schema.pool().message(within?).field_by_name(step)?;
        target.numbers.push(field.number());
        target.kind = field.kind();
        within = match field.kind() {
            FieldKind::Singular(SingularKind::Message(inner)) => Some(inner),
            _ => None,
        };
    }
    (target.numbers.len() <= DEPTH_MAX).then_some(target)
}

/// Whether a value of this kind can be written as text in a path or a query.
pub(crate) fn is_textual(schema: &Schema, kind: SingularKind) -> bool {
    match kind {
        SingularKind::Scalar(_) | SingularKind::Enum(_) => true,
        SingularKind::Message(message) => {
            let name = schema.name_of(message).strip_prefix("google.protobuf.");
            name.is_some_and(|name| {
                matches!(name, "Timestamp" | "Duration" | "FieldMask")
                    || name.ends_with("Value") && is_wrapper(name)
            })
        }
    }
}

fn is_wrapper(name: &str) -> bool {
    !matches!(name, "Value" | "ListValue" | "NullValue")
}

/// Reads a value from text.
///
/// # Errors
/// INVALID_ARGUMENT that names the parameter and says what it takes.
pub(crate) fn parse(schema: &Schema, kind: SingularKind, name: &str, text: &str) -> Result<Value, Status> {
    let value = match kind {
        SingularKind::Scalar(scalar) => parse_scalar(scalar, text),
        SingularKind::Enum(index) => {
            let values = schema.pool().enumeration(index);
            let number = values.value_by_name(text).map(|value| value.number());
            number.or_else(|| text.parse().ok()).map(Value::EnumNumber)
        }
        SingularKind::Message(message) => parse_message(schema, message, text),
    };
    value.ok_or_else(|| {
        let takes = crate::json::takes(schema, FieldKind::Singular(kind), false);
        error::invalid(name, format!("parameter {name:?} takes {takes}"))
    })
}

fn parse_scalar(scalar: ScalarType, text: &str) -> Option<Value> {
    Some(match scalar {
        ScalarType::Bool => Value::Bool(text.parse().ok()?),
        ScalarType::String => Value::String(text.to_owned()),
        ScalarType::Bytes => Value::Bytes(parse_bytes(text)?),
        ScalarType::Double => Value::F64(parse_float(text)?),
        ScalarType::Float => {
            let wide = parse_float(text)?;
            #[expect(clippy::cast_possible_truncation, reason = "what overflows is refused below")]
            let narrow = wide as f32;
            (narrow.is_finite() || !wide.is_finite()).then_some(Value::F32(narrow))?
        }
        ScalarType::Int32 | ScalarType::Sint32 | ScalarType::Sfixed32 => Value::I32(text.parse().ok()?),
        ScalarType::Int64 | ScalarType::Sint64 | ScalarType::Sfixed64 => Value::I64(text.parse().ok()?),
        ScalarType::Uint32 | ScalarType::Fixed32 => Value::U32(text.parse().ok()?),
        ScalarType::Uint64 | ScalarType::Fixed64 => Value::U64(text.parse().ok()?),
    })
}

fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// Either alphabet, padded or not, as in JSON.
fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    const ANY: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ANY.decode(text.replace('+', "-").replace('/', "_")).ok()
}

/// The well-known types that JSON writes as one value.
fn parse_message(schema: &Schema, message: MessageIndex, text: &str) -> Option<Value> {
    if !is_textual(schema, SingularKind::Message(message)) {
        return None;
    }
    let pool = schema.pool();
    let json = match schema.name_of(message) {
        "google.protobuf.FieldMask" => return Some(Value::Message(mask(schema, message, text.split(','))?)),
        "google.protobuf.BoolValue" => serde_json::Value::Bool(text.parse().ok()?),
        _ => serde_json::Value::from(text),
    };
    DynamicMessageSeed::new(Arc::clone(pool), message).deserialize(json).ok().map(Value::Message)
}

/// A `FieldMask` of these paths, spelt either way.
pub(crate) fn mask<'a>(
    schema: &Schema,
    message: MessageIndex,
    paths: impl Iterator<Item = &'a str>,
) -> Option<DynamicMessage> {
    let paths = paths.map(str::trim).filter(|path| !path.is_empty()).map(snake).map(Value::String).collect();
    let mut mask = DynamicMessage::new(Arc::clone(schema.pool()), message);
    let field = schema.pool().message(message).field_by_name("paths")?;
    mask.try_set(field, Value::List(paths)).ok()?;
    Some(mask)
}

/// `createdAt` is `created_at`.
fn snake(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Puts a value where it belongs; messages on the way come into being.
pub(crate) fn apply(message: &mut DynamicMessage, change: Change) {
    set_in(message, &change.numbers, change.value);
}

fn set_in(message: &mut DynamicMessage, numbers: &[u32], new: New) {
    let pool = Arc::clone(message.pool());
    let descriptor = pool.message(message.message_index());
    let Some((field, rest)) = numbers.split_first().and_then(|(n, rest)| Some((descriptor.field(*n)?, rest)))
    else {
        return;
    };
    if let (false, FieldKind::Singular(SingularKind::Message(inner))) = (rest.is_empty(), field.kind()) {
        if message.field_by_number(field.number()).is_none() {
            set(message, field, Value::Message(DynamicMessage::new(Arc::clone(&pool), inner)));
        }
        if let Some(Value::Message(inner)) = message.field_by_number_mut(field.number()) {
            set_in(inner, rest, new);
        }
        return;
    }
    let known = message.field_by_number_mut(field.number());
    match (new, known) {
        (New::Append(value), Some(Value::List(list))) => list.push(value),
        (New::Insert(key, value), Some(Value::Map(map))) => map.insert(key, value),
        (New::Append(value), _) => set(message, field, Value::List(vec![value])),
        (New::Insert(key, value), _) => {
            set(message, field, Value::Map(MapValue::from_entries(vec![(key, value)])))
        }
        (New::Set(value), _) => set(message, field, value),
    }
}

fn set(message: &mut DynamicMessage, field: &buffa_descriptor::FieldDescriptor, value: Value) {
    let fits = message.try_set(field, value);
    debug_assert!(fits.is_ok(), "the value was made for this field");
}
