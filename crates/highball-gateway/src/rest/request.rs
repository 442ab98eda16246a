//! The request message, made of body, path and query.

use std::sync::Arc;

use buffa_descriptor::{DynamicMessage, FieldKind, MessageIndex, SingularKind, Value};
use bytes::Bytes;
use highball_core::{Body, Code, Status};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::Route;
use super::bind::{self, Change, New};
use crate::{BodyRule, Schema, Settings, grpc, json};

/// The message that is bytes, not JSON.
pub(super) const HTTP_BODY: &str = "google.api.HttpBody";

/// What the path holds for a variable. One that may hold slashes keeps `%2F`, so that a slash of a name is told from one
/// between names (google/api/http.proto). `None` when it is not UTF-8.
pub(super) fn decode(raw: &str, keeps_slashes: bool) -> Option<String> {
    let kept =
        if keeps_slashes { raw.replace("%2F", "%252F").replace("%2f", "%252f") } else { raw.to_owned() };
    percent_decode_str(&kept).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Whether the body may be JSON: it says so, or says nothing.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let name =
        value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name == "application/json" || name.starts_with("application/") && name.ends_with("+json")
}

/// Adds metadata that hides behind a prefix, where that is wanted.
pub(super) fn metadata(mut head: Parts, settings: &Settings) -> Parts {
    if settings.grpc_gateway_headers {
        let prefixed = |(name, value): (&HeaderName, &http::HeaderValue)| {
            let bare = name.as_str().strip_prefix("grpc-metadata-")?;
            Some((HeaderName::try_from(bare).ok()?, value.clone()))
        };
        let found: Vec<_> = head.headers.iter().filter_map(prefixed).collect();
        for (name, value) in found {
            head.headers.append(name, value);
        }
    }
    head
}

/// Reads the body and makes the message, when it is polled.
pub(super) fn message(
    schema: &Schema,
    settings: &Settings,
    route: &Arc<Route>,
    head: &Parts,
    body: Body,
    changes: Vec<Change>,
) -> impl Future<Output = Result<Vec<u8>, Status>> + Send + 'static {
    let (schema, settings, route) = (schema.clone(), settings.clone(), Arc::clone(route));
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    async move {
        let text = match route.rule.body {
            BodyRule::None => Bytes::new(),
            BodyRule::Whole | BodyRule::Field(_) => {
                grpc::collect(body, settings.message_size_bytes_max).await?
            }
        };
        let made = make(&schema, &settings, &route, &content_type, &text, changes)?;
        if made.len() > settings.message_size_bytes_max {
            let message = format!("the request is larger than {} bytes", settings.message_size_bytes_max);
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        Ok(made)
    }
}

fn make(
    schema: &Schema,
    settings: &Settings,
    route: &Route,
    content_type: &str,
    text: &[u8],
    changes: Vec<Change>,
) -> Result<Vec<u8>, Status> {
    let new = |message| DynamicMessage::new(Arc::clone(schema.pool()), message);
    let read = |message: MessageIndex| match schema.name_of(message) {
        HTTP_BODY => Ok(raw(new(message), content_type, text)),
        _ if text.is_empty() => Ok(new(message)),
        _ => json::read(schema, message, text, settings),
    };
    let input = route.method.input();
    let mut request = match (&route.rule.body, &route.body) {
        (BodyRule::Whole, _) => read(input)?,
        (BodyRule::Field(name), Some(target)) => match target.kind {
            FieldKind::Singular(SingularKind::Message(inner)) => {
                let value = read(inner)?;
                let mut request = new(input);
                let value = New::Set(Value::Message(value));
                bind::apply(&mut request, Change { numbers: target.numbers.clone(), value });
                request
            }
            _ if text.is_empty() => new(input),
            _ => json::read_field(schema, input, name, text, settings)?,
        },
        _ => new(input),
    };
    for change in changes {
        bind::apply(&mut request, change);
    }
    if route.rule.verb == "PATCH" {
        fill_mask(schema, route, text, &mut request);
    }
    json::encode(&request)
}

fn raw(mut message: DynamicMessage, content_type: &str, data: &[u8]) -> DynamicMessage {
    let content_type = New::Set(Value::String(content_type.to_owned()));
    bind::apply(&mut message, Change { numbers: vec![1], value: content_type });
    bind::apply(&mut message, Change { numbers: vec![2], value: New::Set(Value::Bytes(data.to_vec())) });
    message
}

/// A PATCH whose message has one `FieldMask`, and whose caller did not fill it, changes what its body names.
fn fill_mask(schema: &Schema, route: &Route, text: &[u8], request: &mut DynamicMessage) {
    let Some(FieldKind::Singular(SingularKind::Message(inner))) = route.body.as_ref().map(|body| body.kind)
    else {
        return;
    };
    let fields = schema.pool().message(route.method.input()).fields();
    let mut masks = fields.iter().filter_map(|field| match field.kind() {
        FieldKind::Singular(SingularKind::Message(mask))
            if schema.name_of(mask) == "google.protobuf.FieldMask" =>
        {
            Some((field.number(), mask))
        }
        _ => None,
    });
    let (Some((number, mask)), None) = (masks.next(), masks.next()) else { return };
    if request.field_by_number(number).is_some() {
        return;
    }
    // It was read once already, with all bounds.
    let Ok(serde_json::Value::Object(body)) = serde_json::from_slice(text) else { return };
    let mut paths = Vec::new();
    leaves(schema, inner, &body, "", &mut paths);
    if let Some(mask) = bind::mask(schema, mask, paths.iter().map(String::as_str)) {
        bind::apply(request, Change { numbers: vec![number], value: New::Set(Value::Message(mask)) });
    }
}

/// The fields that `body` names; of those that are messages with fields of their own, theirs.
fn leaves(
    schema: &Schema,
    message: MessageIndex,
    body: &serde_json::Map<String, serde_json::Value>,
    prefix: &str,
    paths: &mut Vec<String>,
) {
    for (name, value) in body {
        let Some(field) = schema.pool().message(message).field_by_name(name) else { continue };
        let path = format!("{prefix}{}", field.name());
        match (field.kind(), value) {
            (FieldKind::Singular(SingularKind::Message(inner)), serde_json::Value::Object(more))
                if !more.is_empty() && !schema.name_of(inner).starts_with("google.protobuf.") =>
            {
                leaves(schema, inner, more, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}
