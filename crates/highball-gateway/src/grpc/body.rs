//! Bodies of gRPC requests, made of what the caller's dialect sends while it sends it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_core::{Body, BodyError, Code, Status, envelope};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use super::Frames;

/// Why a request could not be translated. The body that found out ends with an error, so that whoever reads it stops; the
/// dialect answers with the status that is kept here, not with what became of that error behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault(Arc<OnceLock<Status>>);

impl Fault {
    /// The first fault, if there was one.
    pub(crate) fn get(&self) -> Option<&Status> {
        self.0.get()
    }

    /// Keeps `status`, unless there is one already, as the cause of the error it returns.
    fn set(&self, status: Status) -> BodyError {
        let status = self.0.get_or_init(|| status);
        BodyError::new(status.clone())
    }
}

/// A body of one message.
#[allow(dead_code, reason = "for the dialects that carry bare messages and streams")]
pub(crate) fn one(message: &[u8]) -> Body {
    Body::new(Full::new(envelope::seal(message)))
}

/// A body of one message that is made when somebody asks for it: after the caller was let in, within the deadline. An error
/// goes to `fault`.
pub(crate) fn later<F>(message: F, fault: Fault) -> Body
where
    F: Future<Output = Result<Vec<u8>, Status>> + Send + 'static,
{
    Body::of(Later { message: Some(message.boxed()), fault })
}

struct Later {
    message: Option<BoxFuture<'static, Result<Vec<u8>, Status>>>,
    fault: Fault,
}

impl HttpBody for Later {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(message) = &mut self.message else {
            return Poll::Ready(None);
        };
        let message = ready!(message.poll_unpin(cx));
        self.message = None;
        let sealed = message.map(|message| Frame::data(envelope::seal(&message)));
        Poll::Ready(Some(sealed.map_err(|status| self.fault.set(status))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none()
    }
}

/// The body of a stream of messages: each message of the caller's stream, which has a flag and a length before each, goes
/// through `map`. One message is held at a time, and nothing is read before somebody asks.
///
/// `map` gets flags and message; `Ok(None)` leaves it out. An error of `map`, a message beyond the limit and a stream that
/// ends inside a message go to the [`Fault`].
#[allow(dead_code, reason = "for the dialects that carry bare messages and streams")]
pub(crate) struct Inward<F> {
    body: Body,
    frames: Frames,
    map: F,
    fault: Fault,
    done: bool,
}

#[allow(dead_code, reason = "for the dialects that carry bare messages and streams")]
impl<F> Inward<F>
where
    F: FnMut(u8, Bytes) -> Result<Option<Bytes>, Status> + Send + Unpin + 'static,
{
    /// `size_bytes_max` bounds one message of the caller's stream.
    pub(crate) fn body(body: Body, size_bytes_max: usize, fault: Fault, map: F) -> Body {
        Body::of(Self { body, frames: Frames::new(size_bytes_max), map, fault, done: false })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            match self.frames.pop() {
                Ok(Some((flags, message))) => match (self.map)(flags, message).transpose() {
                    Some(mapped) => return Poll::Ready(Some(mapped)),
                    None => continue,
                },
                Ok(None) => {}
                Err(oversized) => {
                    let status = Status::new(Code::ResourceExhausted, format!("request: {oversized}"));
                    return Poll::Ready(Some(Err(status)));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Trailers of a request mean nothing to gRPC.
                Some(Ok(frame)) => frame.into_data().map_or((), |data| self.frames.push(data)),
                Some(Err(_)) => return Poll::Ready(Some(Err(broke_off()))),
                None if self.frames.is_empty() => return Poll::Ready(None),
                None => {
                    let message = "the request ends inside a message";
                    return Poll::Ready(Some(Err(Status::new(Code::InvalidArgument, message))));
                }
            }
        }
    }
}

impl<F> HttpBody for Inward<F>
where
    F: FnMut(u8, Bytes) -> Result<Option<Bytes>, Status> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let message = ready!(self.poll(cx));
        self.done = !matches!(message, Some(Ok(_)));
        Poll::Ready(message.map(|message| match message {
            Ok(message) => Ok(Frame::data(envelope::seal(&message))),
            Err(status) => Err(self.fault.set(status)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}

impl<F> fmt::Debug for Inward<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inward").field("done", &self.done).finish_non_exhaustive()
    }
}

/// Reads a whole body of at most `size_bytes_max`.
///
/// # Errors
/// RESOURCE_EXHAUSTED beyond the limit; CANCELLED when the caller stopped sending.
pub(crate) async fn collect(body: Body, size_bytes_max: usize) -> Result<Bytes, Status> {
    #[expect(clippy::disallowed_methods, reason = "`Limited` bounds it")]
    let collected = Limited::new(body, size_bytes_max).collect().await;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the request body is larger than {size_bytes_max} bytes");
            Err(Status::new(Code::ResourceExhausted, message))
        }
        Err(_) => Err(broke_off()),
    }
}

fn broke_off() -> Status {
    Status::new(Code::Cancelled, "the request broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn data(mut body: Body) -> Result<Vec<Bytes>, BodyError> {
        let mut found = Vec::new();
        while let Some(frame) = body.frame().await {
            found.push(frame?.into_data().unwrap());
        }
        Ok(found)
    }

    fn full(bytes: &'static [u8]) -> Body {
        Body::new(Full::new(Bytes::from_static(bytes)))
    }

    #[tokio::test]
    async fn every_message_of_a_stream_is_mapped_and_sealed() {
        let fault = Fault::default();
        let stream = full(&[0, 0, 0, 0, 1, b'a', 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'b']);
        let upper =
            |flags, message: Bytes| Ok((flags == 0).then(|| Bytes::from(message.to_ascii_uppercase())));
        let sent = data(Inward::body(stream, 8, fault.clone(), upper)).await.unwrap();
        assert_eq!(sent, [&[0, 0, 0, 0, 1, b'A'][..], &[0, 0, 0, 0, 1, b'B']]);
        assert!(fault.get().is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_translated_ends_the_body_and_is_kept() {
        let refuse = |_, _: Bytes| Err(Status::new(Code::InvalidArgument, "no"));
        let pass = |_, message| Ok(Some(message));
        let cases: [(Body, Fault, Code); 3] = [
            {
                let fault = Fault::default();
                let body = Inward::body(full(&[0, 0, 0, 0, 0]), 8, fault.clone(), refuse);
                (body, fault, Code::InvalidArgument)
            },
            {
                let fault = Fault::default();
                let body = Inward::body(full(&[0, 0, 0, 0, 9]), 8, fault.clone(), pass);
                (body, fault, Code::ResourceExhausted)
            },
            {
                let fault = Fault::default();
                let body = Inward::body(full(&[0, 0]), 8, fault.clone(), pass);
                (body, fault, Code::InvalidArgument)
            },
        ];
        for (body, fault, code) in cases {
            let error = data(body).await.unwrap_err();
            assert!(std::error::Error::source(&error).unwrap().is::<Status>());
            assert_eq!(fault.get().unwrap().code(), code);
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_not_read_to_its_end() {
        assert_eq!(collect(full(b"1234"), 4).await.unwrap(), "1234");
        let status = collect(full(b"12345"), 4).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
}
