//! A gRPC response, message by message.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use highball_core::{Body, Code, Status};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;

use super::Frames;

/// Reads the messages of a response at the pace of whoever asks for them: nothing is read ahead but what came in the same
/// piece of the body.
#[derive(Debug)]
pub(crate) struct Messages {
    body: Body,
    frames: Frames,
    trailers: Option<HeaderMap>,
    /// What the head says, when there is no more than that.
    head: Option<Ending>,
    http: StatusCode,
}

/// What comes next of a response.
#[derive(Debug)]
pub(crate) enum Next {
    /// A message, without its envelope.
    Message(Bytes),
    /// No more messages.
    End(Ending),
}

/// How a response ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// OK or not.
    pub(crate) status: Status,
    /// The trailers as they came; empty when the head said everything.
    pub(crate) trailers: HeaderMap,
}

impl Messages {
    /// The head's metadata, raw, and what follows. `size_bytes_max` bounds one message.
    pub(crate) fn of(response: Response<Body>, size_bytes_max: usize) -> (HeaderMap, Self) {
        let (parts, body) = response.into_parts();
        let head =
            Status::from_headers(&parts.headers).map(|status| Ending { status, trailers: HeaderMap::new() });
        let frames = Frames::new(size_bytes_max);
        (parts.headers, Self { body, frames, trailers: None, head, http: parts.status })
    }

    /// The next message or the end. After the end, the end again with status UNKNOWN.
    ///
    /// Cancel safe: a message that was not returned stays for the next call.
    pub(crate) async fn next(&mut self) -> Next {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next), for bodies.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.frames.pop() {
                Ok(Some((0, message))) => return Poll::Ready(Next::Message(message)),
                Ok(Some(_)) => {
                    return self.fail(Code::Internal, "the response is compressed, and nobody asked for it");
                }
                Ok(None) => {}
                Err(oversized) => {
                    return self.fail(Code::ResourceExhausted, &format!("response: {oversized}"));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(_)) => return self.fail(Code::Internal, "the response broke off"),
                None => return Poll::Ready(Next::End(self.end())),
            }
        }
    }

    fn end(&mut self) -> Ending {
        let trailers = self.trailers.take();
        let status = trailers.as_ref().and_then(Status::from_headers);
        // Trailers say how it went, even where the head said so too early.
        match (status, self.head.take()) {
            (Some(status), _) if status.code() == Code::Ok && !self.frames.is_empty() => Ending {
                status: Status::new(Code::Internal, "the response ends inside a message"),
                trailers: HeaderMap::new(),
            },
            (Some(status), _) => Ending { status, trailers: trailers.unwrap_or_default() },
            (None, Some(head)) => head,
            (None, None) => {
                let code = match self.http {
                    StatusCode::OK => Code::Unknown,
                    other => Code::from_http(other),
                };
                let status = Status::new(code, "the response ended without a status");
                Ending { status, trailers: HeaderMap::new() }
            }
        }
    }

    fn fail(&mut self, code: Code, message: &str) -> Poll<Next> {
        self.body = Body::empty();
        self.frames = Frames::new(0);
        Poll::Ready(Next::End(Ending { status: Status::new(code, message), trailers: HeaderMap::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    async fn read(response: Response<Body>) -> (Vec<Bytes>, Ending) {
        let (_, mut messages) = Messages::of(response, 16);
        let mut found = Vec::new();
        loop {
            match messages.next().await {
                Next::Message(message) => found.push(message),
                Next::End(ending) => return (found, ending),
            }
        }
    }

    #[tokio::test]
    async fn messages_come_one_by_one_and_then_the_trailers() {
        let response = testing::answer(&[b"a", b"", b"bc"], &Status::new(Code::NotFound, "gone"));
        let (messages, ending) = read(response).await;
        assert_eq!(messages, ["a", "", "bc"]);
        assert_eq!(ending.status, Status::new(Code::NotFound, "gone"));
    }

    #[tokio::test]
    async fn a_head_that_says_everything_is_an_ending() {
        let (messages, ending) = read(Status::new(Code::Aborted, "no").into_response()).await;
        assert!(messages.is_empty());
        assert_eq!(ending.status, Status::new(Code::Aborted, "no"));
    }

    #[tokio::test]
    async fn a_response_that_is_no_grpc_is_never_ok() {
        for (http, data, want) in [
            (200, &b""[..], Code::Unknown),
            (503, b"", Code::Unavailable),
            (200, &[0, 0, 0, 0, 17], Code::ResourceExhausted),
            (200, &[1, 0, 0, 0, 0], Code::Internal),
        ] {
            let body = Body::new(http_body_util::Full::new(Bytes::from_static(data)));
            let response = Response::builder().status(http).body(body).unwrap();
            assert_eq!(read(response).await.1.status.code(), want, "{http} {data:?}");
        }
    }
}
