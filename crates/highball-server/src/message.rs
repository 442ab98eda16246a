//! Reading and writing the messages of the services this crate answers itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use buffa::Message;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use highball_core::envelope::{PREFIX_SIZE_BYTES, seal};
use highball_core::{Body, BodyError, Code, Status};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;

/// The inbound messages of one RPC. The walk has already bounded each message, so the buffer holds one message at most
/// plus the DATA frame it ended in.
#[derive(Debug)]
pub(crate) struct Inbound {
    body: Body,
    buffer: BytesMut,
}

impl Inbound {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message, or `None` when the caller is done. Cancel safe: bytes already read stay in the buffer.
    pub(crate) async fn next<M: Message>(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.buffered()? {
                return M::decode_from_slice(&message)
                    .map(Some)
                    .map_err(|_| Status::new(Code::Internal, "the request message could not be decoded"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => {
                    return Err(Status::new(Code::Cancelled, "the request stream was interrupted"));
                }
                None => return Ok(None),
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<BytesMut>, Status> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX_SIZE_BYTES>() else {
            return Ok(None);
        };
        let [compressed, a, b, c, d] = *prefix;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err(Status::new(Code::Unimplemented, "this service takes uncompressed messages only"));
        }
        if rest.len() < size {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_SIZE_BYTES);
        Ok(Some(self.buffer.split_to(size)))
    }

    /// The only message of a unary RPC.
    pub(crate) async fn unary<M: Message>(mut self) -> Result<M, Status> {
        let violation = || Status::new(Code::Internal, "cardinality violation: expected one request message");
        let message = self.next().await?.ok_or_else(violation)?;
        match self.next::<M>().await? {
            None => Ok(message),
            Some(_) => Err(violation()),
        }
    }
}

/// A response that ends with `outcome`: one message, or the status.
pub(crate) fn unary<M: Message + 'static>(outcome: Result<M, Status>) -> Response<Body> {
    match outcome {
        Ok(message) => stream(futures_util::stream::once(std::future::ready(Ok(message)))),
        Err(status) => status.into_response(),
    }
}

/// A response that streams `messages` and ends OK, or with the first status among them.
pub(crate) fn stream<M: Message>(
    messages: impl Stream<Item = Result<M, Status>> + Send + 'static,
) -> Response<Body> {
    let envelopes = messages.map(|message| message.map(|message| seal(&message.encode_to_vec()))).boxed();
    let mut response = Response::new(Body::new(Outbound { envelopes, ended: false }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

struct Outbound {
    envelopes: BoxStream<'static, Result<Bytes, Status>>,
    ended: bool,
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match std::task::ready!(self.envelopes.poll_next_unpin(cx)) {
            Some(Ok(envelope)) => return Poll::Ready(Some(Ok(Frame::data(envelope)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.ended = true;
        Poll::Ready(Some(Ok(Frame::trailers(status.to_trailers()))))
    }
}
