//! Messages as JSON and back, by the JSON mapping of protobuf (<https://protobuf.dev/programming-guides/json/>).
//!
//! Written: lowerCamelCase names, 64-bit integers as strings, enums by name, fields that are not set left out. Read: either
//! spelling of names, numbers as numbers or strings, enums by name or number.

mod cost;
mod fault;

use std::sync::Arc;

use buffa::DecodeOptions;
use buffa_descriptor::{
    DynamicMessage, DynamicMessageSeed, FieldKind, MessageIndex, ReflectMessage as _, ReflectMessageMut as _,
    ScalarType, SingularKind,
};
use highball_core::{Code, Status};
use serde::de::DeserializeSeed as _;

use crate::{Schema, Settings};

pub(crate) use fault::takes;

/// Reads the JSON of a message.
///
/// # Errors
/// INVALID_ARGUMENT with a sentence that names line, column and field, and a `google.rpc.BadRequest`; RESOURCE_EXHAUSTED for a
/// text that would take too much memory. Nesting is at most 100 deep.
pub(crate) fn read(
    schema: &Schema,
    message: MessageIndex,
    text: &[u8],
    settings: &Settings,
) -> Result<DynamicMessage, Status> {
    cost::check(text, settings.json_memory_size_bytes_max)?;
    let seed = DynamicMessageSeed::new(Arc::clone(schema.pool()), message)
        .ignore_unknown_fields(settings.ignore_unknown_fields);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = seed.deserialize(&mut reader).and_then(|message| reader.end().map(|()| message));
    read.map_err(|error| fault::explain(schema, message, text, &error))
}

/// Reads the JSON of one field of a message, of any kind, into the message.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_field(
    schema: &Schema,
    message: MessageIndex,
    name: &str,
    text: &[u8],
    settings: &Settings,
) -> Result<DynamicMessage, Status> {
    cost::check(text, settings.json_memory_size_bytes_max)?;
    // Exactly one value: what follows it would be read as more fields.
    serde_json::from_slice::<serde::de::IgnoredAny>(text)
        .map_err(|error| fault::explain(schema, message, text, &error))?;
    let wrapped = [b"{\"", name.as_bytes(), b"\":", text, b"}"].concat();
    read(schema, message, &wrapped, settings)
}

/// Writes one field of a message as JSON; one that is not set as its default, or null.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_field(message: &DynamicMessage, number: u32) -> Result<Vec<u8>, Status> {
    let pool = Arc::clone(message.pool());
    let Some(field) = pool.message(message.message_index()).field(number) else {
        return write(message);
    };
    let mut alone = DynamicMessage::new(Arc::clone(&pool), message.message_index());
    if let Some(value) = message.field_by_number(number)
        && alone.try_set(field, value.clone()).is_ok()
        && alone.has(field)
    {
        let whole = write(&alone)?;
        // `{"name":` and `}`; names need no escapes.
        let start = field.json_name().len() + 4;
        return Ok(whole.get(start..whole.len() - 1).unwrap_or_default().to_vec());
    }
    let default: &[u8] = match field.kind() {
        FieldKind::List(_) => b"[]",
        FieldKind::Map { .. } => b"{}",
        FieldKind::Singular(SingularKind::Scalar(ScalarType::Bool)) => b"false",
        FieldKind::Singular(SingularKind::Scalar(ScalarType::String | ScalarType::Bytes)) => b"\"\"",
        _ => b"null",
    };
    Ok(default.to_vec())
}

/// [`read`], to the bytes of the message.
///
/// # Errors
/// As [`read`].
#[allow(dead_code, reason = "for the dialects that carry bare messages and streams")]
pub(crate) fn to_wire(
    schema: &Schema,
    message: MessageIndex,
    text: &[u8],
    settings: &Settings,
) -> Result<Vec<u8>, Status> {
    encode(&read(schema, message, text, settings)?)
}

/// The bytes of a message.
///
/// # Errors
/// INVALID_ARGUMENT for one beyond 2 GiB.
pub(crate) fn encode(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let too_large = |_| Status::new(Code::InvalidArgument, "the message is too large for protobuf");
    message.try_encode_to_vec().map_err(too_large)
}

/// Decodes a message that a service answered.
///
/// # Errors
/// INTERNAL for bytes that are not this message, or that take too much memory once decoded.
pub(crate) fn decode(
    schema: &Schema,
    message: MessageIndex,
    bytes: &[u8],
    settings: &Settings,
) -> Result<DynamicMessage, Status> {
    // Numbers take the most beside their bytes; whoever may read so much JSON may be answered as much.
    let options = DecodeOptions::new().with_element_memory_limit(settings.json_memory_size_bytes_max);
    DynamicMessage::decode_with_options(Arc::clone(schema.pool()), message, bytes, &options).map_err(|_| {
        let message = format!("the response cannot be read as {}", schema.name_of(message));
        Status::new(Code::Internal, message)
    })
}

/// Writes a message as JSON.
///
/// # Errors
/// INTERNAL for a message with a `google.protobuf.Any` of an unknown type, or nested deeper than 100.
pub(crate) fn write(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(message).map_err(|_| {
        let message = "the response has no JSON form: it holds an Any of a type that is not known here, or nests too deep";
        Status::new(Code::Internal, message)
    })
}

/// [`decode`], then [`write`].
///
/// # Errors
/// INTERNAL, as those.
#[allow(dead_code, reason = "for the dialects that carry bare messages and streams")]
pub(crate) fn of_wire(
    schema: &Schema,
    message: MessageIndex,
    bytes: &[u8],
    settings: &Settings,
) -> Result<Vec<u8>, Status> {
    write(&decode(schema, message, bytes, settings)?)
}

#[cfg(test)]
mod tests;
