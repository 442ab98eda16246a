//! Responses over plain HTTP.
//!
//! A unary method answers one JSON value. A stream is written as the caller asks by `accept`:
//!
//! | accept | form | an error after messages |
//! |---|---|---|
//! | `text/event-stream` | `data: {...}`, an empty line; `event: end` last | `event: error` with a `google.rpc.Status` |
//! | `application/json` | an array | its last element, `{"error": {...}}` |
//! | anything else | `application/x-ndjson`, a message a line | the last line, `{"error": {...}}` |
//!
//! Before the first message an error has its HTTP status, in every form. `google.api.HttpBody` is its bytes, with its content
//! type; an error after bytes breaks the response off, for there is no place to say it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use buffa_descriptor::{DynamicMessage, Value};
use bytes::Bytes;
use highball_core::{Body, BodyError, Code, Status};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::Full;

use super::Route;
use super::request::HTTP_BODY;
use crate::grpc::{self, Ending, Fault, Messages, Next};
use crate::{Schema, Settings, error, json};

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Lines,
    Array,
    Events,
    /// `google.api.HttpBody`.
    Raw,
}

impl Format {
    /// The first form among those that the caller accepts; lines when it names none of them.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut names = values.flat_map(|value| value.split(',')).filter_map(|one| one.split(';').next());
        let known = names.find_map(|name| match name.trim() {
            "text/event-stream" => Some(Self::Events),
            "application/json" => Some(Self::Array),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Lines),
            _ => None,
        });
        known.unwrap_or(Self::Lines)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Array => "application/json",
            Self::Events => "text/event-stream",
            Self::Raw => "application/octet-stream",
        }
    }

    fn message(self, text: &[u8], is_first: bool) -> Vec<u8> {
        match self {
            Self::Lines => [text, b"\n"].concat(),
            Self::Array if is_first => [b"[", text].concat(),
            Self::Array => [b",\n", text].concat(),
            Self::Events => [b"data: ", text, b"\n\n"].concat(),
            Self::Raw => text.to_vec(),
        }
    }

    fn end(self, is_first: bool) -> &'static [u8] {
        match self {
            Self::Array if is_first => b"[]",
            Self::Array => b"]",
            Self::Events => b"event: end\ndata: {}\n\n",
            Self::Lines | Self::Raw => b"",
        }
    }
}

/// What turns messages into text; lives as long as the response.
struct Writer {
    schema: Schema,
    settings: Settings,
    output: buffa_descriptor::MessageIndex,
    response_body: Option<u32>,
    is_raw: bool,
}

/// A message, written; with the content type that it brings itself.
struct Written {
    text: Vec<u8>,
    content_type: Option<String>,
}

impl Writer {
    fn write(&self, message: &[u8]) -> Result<Written, Status> {
        let message = json::decode(&self.schema, self.output, message, &self.settings)?;
        if self.is_raw {
            return Ok(raw(&message));
        }
        let text = match self.response_body {
            Some(number) => json::write_field(&message, number)?,
            None => json::write(&message)?,
        };
        Ok(Written { text, content_type: None })
    }
}

fn raw(message: &DynamicMessage) -> Written {
    let content_type = match message.field_by_number(1) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let text = match message.field_by_number(2) {
        Some(Value::Bytes(data)) => data.clone(),
        _ => Vec::new(),
    };
    Written { text, content_type }
}

/// Translates the gRPC response. Returns when there is something to say: the whole of a unary response, the first message of a
/// stream, or its error.
pub(super) async fn answer(
    schema: &Schema,
    settings: &Settings,
    route: &Route,
    accepted: Format,
    fault: &Fault,
    response: Response<Body>,
) -> Response<Body> {
    let (head, mut messages) = Messages::of(response, settings.message_size_bytes_max);
    let metadata = prefixed(grpc::outward(&head), settings.grpc_gateway_headers.then_some("grpc-metadata-"));
    let output = route.method.output();
    let is_raw = schema.name_of(output) == HTTP_BODY;
    let (schema, settings) = (schema.clone(), settings.clone());
    let writer = Writer { schema, settings, output, response_body: route.response_body, is_raw };
    let first = if route.method.is_server_streaming() {
        tokio::time::timeout(writer.settings.first_message_wait, messages.next()).await.ok()
    } else {
        Some(messages.next().await)
    };
    let refused =
        |status: &Status, metadata| error::response(&writer.schema, fault.get().unwrap_or(status), metadata);
    let first = match first {
        Some(Next::End(ending)) if ending.status.code() != Code::Ok => {
            let metadata = trailers(metadata, &ending.trailers);
            return refused(&ending.status, metadata);
        }
        Some(Next::Message(message)) => match writer.write(&message) {
            Ok(written) => First::Message(written),
            Err(status) => return refused(&status, metadata),
        },
        Some(Next::End(_)) => First::End,
        None => First::Later,
    };
    if route.method.is_server_streaming() {
        let format = if is_raw { Format::Raw } else { accepted };
        return stream(writer, format, first, messages, metadata);
    }
    let First::Message(written) = first else {
        return refused(&Status::new(Code::Internal, "the response has no message"), metadata);
    };
    match messages.next().await {
        Next::End(ending) if ending.status.code() == Code::Ok => {
            unary(written, trailers(metadata, &ending.trailers))
        }
        Next::End(ending) => refused(&ending.status, trailers(metadata, &ending.trailers)),
        Next::Message(_) => {
            refused(&Status::new(Code::Internal, "the response has more than one message"), metadata)
        }
    }
}

enum First {
    Message(Written),
    End,
    /// It did not come in time.
    Later,
}

fn unary(written: Written, metadata: HeaderMap) -> Response<Body> {
    let content_type = written.content_type.as_deref().unwrap_or("application/json");
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = metadata;
    response.headers_mut().insert(CONTENT_TYPE, value(content_type));
    *response.body_mut() = Body::new(Full::new(Bytes::from(written.text)));
    response
}

fn stream(
    writer: Writer,
    format: Format,
    first: First,
    messages: Messages,
    metadata: HeaderMap,
) -> Response<Body> {
    let (mut content_type, mut waiting, mut is_done) = (None, None, false);
    match first {
        First::Message(written) => {
            content_type = written.content_type;
            waiting = Some(format.message(&written.text, true));
        }
        First::End => (waiting, is_done) = (Some(format.end(true).to_vec()), true),
        First::Later => {}
    }
    let is_first = waiting.is_none();
    let mut response =
        Response::new(Body::of(Stream { writer, format, messages, waiting, is_first, is_done }));
    *response.headers_mut() = metadata;
    let content_type = value(content_type.as_deref().unwrap_or(format.content_type()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if format == Format::Events {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn value(content_type: &str) -> HeaderValue {
    HeaderValue::try_from(content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// A stream, written as it is read.
struct Stream {
    writer: Writer,
    format: Format,
    messages: Messages,
    waiting: Option<Vec<u8>>,
    is_first: bool,
    is_done: bool,
}

impl Stream {
    fn fail(&mut self, status: &Status) -> Result<Vec<u8>, BodyError> {
        self.is_done = true;
        let error = error::to_json(&self.writer.schema, status);
        let element = serde_json::json!({ "error": error }).to_string();
        match self.format {
            Format::Raw => Err(BodyError::new(status.clone())),
            Format::Events => Ok(format!("event: error\ndata: {error}\n\n").into_bytes()),
            Format::Lines => Ok(self.format.message(element.as_bytes(), self.is_first)),
            Format::Array => {
                let mut text = self.format.message(element.as_bytes(), self.is_first);
                text.push(b']');
                Ok(text)
            }
        }
    }

    fn turn(&mut self, next: Next) -> Result<Vec<u8>, BodyError> {
        match next {
            Next::Message(message) => match self.writer.write(&message) {
                Ok(written) => {
                    let is_first = std::mem::take(&mut self.is_first);
                    Ok(self.format.message(&written.text, is_first))
                }
                Err(status) => self.fail(&status),
            },
            Next::End(Ending { status, .. }) if status.code() == Code::Ok => {
                self.is_done = true;
                Ok(self.format.end(self.is_first).to_vec())
            }
            Next::End(Ending { status, .. }) => self.fail(&status),
        }
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(text) = self.waiting.take() {
            return Poll::Ready(Some(Ok(Frame::data(text.into()))));
        }
        if self.is_done {
            return Poll::Ready(None);
        }
        let next = ready!(self.messages.poll_next(cx));
        Poll::Ready(Some(self.turn(next).map(|text| Frame::data(text.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.waiting.is_none()
    }
}

/// Trailing metadata that is known before the body goes out.
fn trailers(mut metadata: HeaderMap, trailers: &HeaderMap) -> HeaderMap {
    metadata.extend(prefixed(grpc::outward(trailers), Some("grpc-trailer-")));
    metadata
}

fn prefixed(metadata: HeaderMap, prefix: Option<&str>) -> HeaderMap {
    let Some(prefix) = prefix else { return metadata };
    let renamed = metadata.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(format!("{prefix}{name}")).ok()?, value.clone()))
    });
    renamed.collect()
}
