//! Query parameters: dotted names, repeated ones, `limits[key]` for maps.

use std::borrow::Cow;

use buffa_descriptor::{FieldKind, MapKey, MessageIndex, ScalarType};
use highball_core::Status;
use percent_encoding::percent_decode_str;

use super::bind::{self, Change, New, Target};
use crate::{Schema, Settings, error};

/// Reads the parameters for `message`. `taken` are the fields that the path or the body has: a parameter for one of them, or
/// for a field inside one, is not a parameter of this method.
///
/// # Errors
/// INVALID_ARGUMENT that names the parameter: it is unknown, is no text of its type, or stands twice and may not.
pub(crate) fn read(
    schema: &Schema,
    message: MessageIndex,
    query: &str,
    taken: &[Vec<u32>],
    settings: &Settings,
) -> Result<Vec<Change>, Status> {
    let mut changes: Vec<Change> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, text) = (decode(name)?, decode(text)?);
        let (field, key) = split_key(&name);
        let is_free = |target: &Target| !taken.iter().any(|taken| target.numbers.starts_with(taken));
        let Some(target) = bind::find(schema, message, field).filter(is_free) else {
            if settings.ignore_unknown_fields {
                continue;
            }
            return Err(error::invalid(&name, format!("there is no parameter {:?}", shorten(&name))));
        };
        let change = change(schema, &name, &text, key, &target)?;
        let is_again = |known: &Change| known.numbers == target.numbers && matches!(known.value, New::Set(_));
        if changes.iter().any(is_again) {
            return Err(error::invalid(&name, format!("parameter {:?} stands twice", shorten(&name))));
        }
        changes.push(Change { numbers: target.numbers, value: change });
    }
    Ok(changes)
}

fn change(
    schema: &Schema,
    name: &str,
    text: &str,
    key: Option<&str>,
    target: &Target,
) -> Result<New, Status> {
    let not_textual = || {
        let message =
            format!("parameter {:?} is no single value: send it in a body, or its fields", shorten(name));
        error::invalid(name, message)
    };
    let (FieldKind::Singular(kind) | FieldKind::List(kind) | FieldKind::Map { value: kind, .. }) =
        target.kind;
    if !bind::is_textual(schema, kind) {
        return Err(not_textual());
    }
    let value = bind::parse(schema, kind, name, text)?;
    match (target.kind, key) {
        (FieldKind::Singular(_), None) => Ok(New::Set(value)),
        (FieldKind::List(_), None) => Ok(New::Append(value)),
        (FieldKind::Map { key: kind, .. }, Some(key)) => {
            let key = map_key(kind, key).ok_or_else(|| {
                error::invalid(name, format!("parameter {:?} has a key of another type", shorten(name)))
            })?;
            Ok(New::Insert(key, value))
        }
        _ => Err(not_textual()),
    }
}

/// `limits[a.b]` is `limits` by the key `a.b`.
fn split_key(name: &str) -> (&str, Option<&str>) {
    let keyed = name.strip_suffix(']').and_then(|name| name.split_once('['));
    keyed.map_or((name, None), |(field, key)| (field, Some(key)))
}

fn map_key(kind: ScalarType, text: &str) -> Option<MapKey> {
    Some(match kind {
        ScalarType::String => MapKey::String(text.to_owned()),
        ScalarType::Bool => MapKey::Bool(text.parse().ok()?),
        ScalarType::Int32 | ScalarType::Sint32 | ScalarType::Sfixed32 => MapKey::I32(text.parse().ok()?),
        ScalarType::Int64 | ScalarType::Sint64 | ScalarType::Sfixed64 => MapKey::I64(text.parse().ok()?),
        ScalarType::Uint32 | ScalarType::Fixed32 => MapKey::U32(text.parse().ok()?),
        ScalarType::Uint64 | ScalarType::Fixed64 => MapKey::U64(text.parse().ok()?),
        ScalarType::Double | ScalarType::Float | ScalarType::Bytes => return None,
    })
}

/// As forms encode: `+` is a space.
fn decode(text: &str) -> Result<String, Status> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    let decoded = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| error::invalid("", "the query is not UTF-8"))
}

/// What a caller sent, short enough to be sent back.
pub(super) fn shorten(text: &str) -> &str {
    text.get(..text.floor_char_boundary(200)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, testing};
    use buffa_descriptor::DynamicMessage;
    use std::sync::Arc;

    fn check(query: &str) -> Result<String, String> {
        let schema = testing::schema();
        let message = schema.pool().message_index("shop.v1.ListRequest").unwrap();
        // `by_name` stands in the path.
        let changes = read(&schema, message, query, &[vec![16]], &Settings::default());
        let mut request = DynamicMessage::new(Arc::clone(schema.pool()), message);
        for change in changes.map_err(|status| status.message().to_owned())? {
            bind::apply(&mut request, change);
        }
        Ok(String::from_utf8(json::write(&request).unwrap()).unwrap())
    }

    #[test]
    fn parameters_become_fields() {
        for (query, want) in [
            ("", "{}"),
            ("page_size=5", r#"{"pageSize":5}"#),
            ("pageSize=5&&", r#"{"pageSize":5}"#),
            ("status=STATUS_OPEN&status=2", r#"{"status":["STATUS_OPEN","STATUS_DONE"]}"#),
            ("tags=a+b&tags=c%2Bd&tags=", r#"{"tags":["a b","c+d",""]}"#),
            ("since=2026-01-31T12:00:00Z", r#"{"since":"2026-01-31T12:00:00Z"}"#),
            ("within=1.5s", r#"{"within":"1.500s"}"#),
            ("fields=createdAt,parent.lead_time", r#"{"fields":"createdAt,parent.leadTime"}"#),
            ("paid=false", r#"{"paid":false}"#),
            ("cents_min=-7", r#"{"centsMin":"-7"}"#),
            ("note=", r#"{"note":""}"#),
            (
                "nested.nested.page_size=1&nested.tags=x",
                r#"{"nested":{"tags":["x"],"nested":{"pageSize":1}}}"#,
            ),
            ("limits[a.b]=1&limits%5Bc%5D=2", r#"{"limits":{"a.b":1,"c":2}}"#),
            ("token=_-8", r#"{"token":"/+8="}"#),
            (
                "rate=NaN&deep=true&big=18446744073709551615",
                r#"{"rate":"NaN","deep":true,"big":"18446744073709551615"}"#,
            ),
        ] {
            assert_eq!(check(query).as_deref(), Ok(want), "{query}");
        }
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named() {
        let deep = "nested.".repeat(40) + "tags=x";
        for (query, want) in [
            ("nope=1", "there is no parameter \"nope\""),
            ("nested.nope=1", "there is no parameter \"nested.nope\""),
            ("tags.x=1", "there is no parameter \"tags.x\""),
            ("by_name=1", "there is no parameter \"by_name\""),
            (&deep, "there is no parameter"),
            ("page_size=x", "parameter \"page_size\" takes a whole number of 32 bits"),
            ("page_size=1&pageSize=2", "parameter \"pageSize\" stands twice"),
            ("status=OPEN", "parameter \"status\" takes one of STATUS_UNSPECIFIED, STATUS_OPEN, STATUS_DONE"),
            ("since=today", "parameter \"since\" takes a time such as"),
            ("nested=1", "parameter \"nested\" is no single value"),
            ("limits=1", "parameter \"limits\" is no single value"),
            ("tags=%ff", "the query is not UTF-8"),
            ("deep=yes", "parameter \"deep\" takes true or false"),
            ("rate=1e999", "parameter \"rate\" takes a number"),
        ] {
            let error = check(query).unwrap_err();
            assert!(error.starts_with(want), "{query}: {error}");
        }
    }
}
