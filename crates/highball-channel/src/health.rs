//! Watching the health of a backend on its own connection (gRFC A17).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use buffa::encoding::{Tag, WireType, decode_varint, encode_varint, skip_field};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt as _};
use highball_core::backoff::Backoff;
use highball_core::envelope::{PREFIX_SIZE_BYTES, seal};
use highball_core::{Body, Code, Status};
use highball_net::Platform;
use highball_net::client::Connection;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};

use crate::connector::Head;

const PATH: &str = "/grpc.health.v1.Health/Watch";

/// Longest answer that is a health status: a tag and a number. Leaves room for fields of later versions.
const MESSAGE_SIZE_BYTES_MAX: usize = 1024;

/// Whose health decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `healthCheckConfig.serviceName`; empty for the server as a whole.
    pub(crate) service: String,
    /// Whether the service config asked for it. If nobody did, a server that does not know the name is taken as healthy:
    /// many servers have a health service and register nothing under the empty name.
    pub(crate) configured: bool,
}

/// What the backend says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// SERVING.
    Healthy,
    /// Anything else, or the stream broke.
    Unhealthy(String),
    /// It has no health service, or takes one stream at a time: healthy for as long as the connection lives.
    Unsupported,
}

/// A stream of health, which never ends.
pub(crate) struct Watch(BoxStream<'static, Heard>);

impl Watch {
    /// Nobody asked.
    pub(crate) fn none() -> Self {
        Self(futures_util::stream::pending().boxed())
    }

    /// Watches on `connection` until it is dropped. A broken stream is begun again after a backoff, at once if it had said
    /// anything.
    pub(crate) fn start(
        connection: Connection,
        wanted: Wanted,
        head: Head,
        backoff: Backoff,
        platform: Arc<dyn Platform>,
    ) -> Self {
        let watcher = Watcher { connection, wanted, head, backoff, platform, stream: None, over: false };
        let stream = futures_util::stream::unfold(watcher, |mut watcher| async move {
            let heard = watcher.next().await;
            Some((heard, watcher))
        });
        Self(stream.boxed())
    }

    /// The next change. Cancel safe.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.0.next().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

struct Watcher {
    connection: Connection,
    wanted: Wanted,
    head: Head,
    backoff: Backoff,
    platform: Arc<dyn Platform>,
    stream: Option<Messages>,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Heard {
        if self.over {
            return std::future::pending().await;
        }
        let told = match &mut self.stream {
            Some(stream) => stream.next().await,
            None => self.begin().await,
        };
        match told {
            Ok(status) => {
                self.backoff.reset();
                self.read(status)
            }
            Err(status) if status.code() == Code::Unimplemented => {
                self.over = true;
                Heard::Unsupported
            }
            Err(status) => {
                let spoke = self.stream.take().is_some_and(|stream| stream.spoke);
                if !spoke {
                    tokio::time::sleep(self.backoff.next(self.platform.random())).await;
                }
                Heard::Unhealthy(format!("health watch: {}", status.code()))
            }
        }
    }

    fn read(&self, status: u64) -> Heard {
        match status {
            1 => Heard::Healthy,
            2 => Heard::Unhealthy("health: NOT_SERVING".to_owned()),
            3 if !self.wanted.configured => Heard::Healthy,
            3 => Heard::Unhealthy("health: SERVICE_UNKNOWN".to_owned()),
            _ => Heard::Unhealthy("health: UNKNOWN".to_owned()),
        }
    }

    async fn begin(&mut self) -> Result<u64, Status> {
        // The watch would take the place of every call.
        if self.connection.streams_max() < 2 {
            return Err(Status::new(Code::Unimplemented, "the server takes one stream at a time"));
        }
        let lost = || Status::new(Code::Unavailable, "the health watch found no connection");
        let slot = loop {
            match self.connection.reserve() {
                Some(slot) => break slot,
                None => self.connection.room().await,
            }
        };
        let request = Request::post(self.head.uri(PATH))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(Body::new(Full::new(request(&self.wanted.service))))
            .map_err(|_| lost())?;
        let response = slot.send(request).await.map_err(|_| lost())?;
        let mut stream = Messages::new(response)?;
        let first = stream.next().await;
        self.stream = Some(stream);
        first
    }
}

/// `HealthCheckRequest { string service = 1; }`, sealed.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        encode_varint(service.len() as u64, &mut message);
        message.put_slice(service.as_bytes());
    }
    seal(&message)
}

/// The statuses of one watch.
struct Messages {
    body: Body,
    buffer: BytesMut,
    spoke: bool,
}

impl Messages {
    fn new(response: Response<Body>) -> Result<Self, Status> {
        if let Some(status) = Status::from_headers(response.headers()) {
            return Err(status);
        }
        if response.status() != http::StatusCode::OK {
            return Err(Status::new(Code::from_http(response.status()), "the health watch was refused"));
        }
        Ok(Self { body: response.into_body(), buffer: BytesMut::new(), spoke: false })
    }

    /// Cancel safe: what was read stays in the buffer.
    async fn next(&mut self) -> Result<u64, Status> {
        loop {
            if let Some(message) = self.buffered()? {
                self.spoke = true;
                return status_of(&message).ok_or_else(malformed);
            }
            let frame = Pin::new(&mut self.body).frame().await;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.buffer.extend_from_slice(&data),
                Some(Ok(Err(frame))) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(Status::from_headers(&trailers).unwrap_or_else(malformed));
                }
                Some(Err(_)) | None => {
                    return Err(Status::new(Code::Unavailable, "the health watch was interrupted"));
                }
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<BytesMut>, Status> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX_SIZE_BYTES>() else {
            return Ok(None);
        };
        let [compressed, a, b, c, d] = *prefix;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 || size > MESSAGE_SIZE_BYTES_MAX {
            return Err(malformed());
        }
        if rest.len() < size {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(PREFIX_SIZE_BYTES + size);
        Ok(Some(message.split_off(PREFIX_SIZE_BYTES)))
    }
}

fn malformed() -> Status {
    Status::new(Code::Internal, "the health watch sent something else than a health status")
}

/// `HealthCheckResponse { ServingStatus status = 1; }`: the number, 0 when it is absent.
fn status_of(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = Tag::decode(&mut message).ok()?;
        match (tag.field_number(), tag.wire_type()) {
            (1, WireType::Varint) => status = decode_varint(&mut message).ok()?,
            _ => skip_field(tag, &mut message).ok()?,
        }
    }
    Some(status)
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
