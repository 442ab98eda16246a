//! Streams that the channel opens by itself on a backend's connection, and the messages they bring.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use highball_core::envelope::PREFIX_SIZE_BYTES;
use highball_core::{Body, Code, Status};
use highball_net::client::Connection;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};

use crate::connector::Head;

/// The messages of one server stream.
pub(crate) struct Messages {
    body: Body,
    buffer: BytesMut,
    size_bytes_max: usize,
    /// Whether it has brought one.
    pub(crate) spoke: bool,
}

impl Messages {
    /// Asks `path` with one message, which is sealed already. Waits for a place on the connection; `streams_min` is how many
    /// streams the peer must take at once so that calls have a place as well. No message may be longer than
    /// `size_bytes_max`.
    ///
    /// # Errors
    /// The status that ended the stream; UNIMPLEMENTED also when the peer takes too few streams.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub(crate) async fn open(
        connection: &Connection,
        streams_min: usize,
        request: Request<Bytes>,
        size_bytes_max: usize,
    ) -> Result<Self, Status> {
        if connection.streams_max() < streams_min {
            return Err(Status::new(Code::Unimplemented, "the server takes too few streams at a time"));
        }
        // One that takes no more streams is about to be let go, and this stream with it.
        let Some(slot) = connection.slot().await else { return std::future::pending().await };
        let request = request.map(|message| Body::new(Full::new(message)));
        let lost = |_| Status::new(Code::Unavailable, "there is no connection for the stream");
        let response = slot.send(request).await.map_err(lost)?;
        if let Some(status) = Status::from_headers(response.headers()) {
            return Err(status);
        }
        if response.status() != http::StatusCode::OK {
            return Err(Status::new(Code::from_http(response.status()), "the stream was refused"));
        }
        Ok(Self { body: response.into_body(), buffer: BytesMut::new(), size_bytes_max, spoke: false })
    }

    /// The next message, without its envelope.
    ///
    /// # Errors
    /// The status that ended the stream: OK, too.
    ///
    /// # Cancel safety
    /// What was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<BytesMut, Status> {
        loop {
            if let Some(message) = self.buffered()? {
                self.spoke = true;
                return Ok(message);
            }
            let frame = Pin::new(&mut self.body).frame().await;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.buffer.extend_from_slice(&data),
                Some(Ok(Err(frame))) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(Status::from_headers(&trailers).unwrap_or_else(malformed));
                }
                Some(Err(_)) | None => {
                    return Err(Status::new(Code::Unavailable, "the stream was interrupted"));
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
        if compressed != 0 || size > self.size_bytes_max {
            return Err(malformed());
        }
        if rest.len() < size {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(PREFIX_SIZE_BYTES + size);
        Ok(Some(message.split_off(PREFIX_SIZE_BYTES)))
    }
}

/// A request of the channel's own.
pub(crate) fn request(head: &Head, path: &'static str, message: Bytes) -> Request<Bytes> {
    let mut request = Request::new(message);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = head.uri(path);
    let headers = request.headers_mut();
    headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    request
}

/// What came is not what was asked for.
pub(crate) fn malformed() -> Status {
    Status::new(Code::Internal, "the stream brought something else than was asked for")
}
