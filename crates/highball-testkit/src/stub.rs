//! A service made of closures.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use highball_core::envelope::seal;
use highball_core::{Body, BodyError, Code, Status};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::util::{ServiceFn, service_fn};

/// A service whose every method is `answer`.
pub fn service<A, F>(
    answer: A,
) -> ServiceFn<
    impl Fn(Request<Body>) -> futures_util::future::BoxFuture<'static, Result<Response<Body>, Infallible>> + Clone,
>
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    service_fn(move |request| {
        let answer = answer.clone();
        let future: futures_util::future::BoxFuture<'static, Result<Response<Body>, Infallible>> =
            Box::pin(async move { Ok(answer(request).await) });
        future
    })
}

/// A response of these messages, ending OK.
#[must_use]
pub fn messages(messages: &[&[u8]]) -> Response<Body> {
    let sealed: Vec<_> = messages.iter().map(|message| Ok(Frame::data(seal(message)))).collect();
    let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
    frames(stream::iter(sealed).chain(stream::iter([Ok(end)])))
}

/// A response of these frames, whatever they are.
#[must_use]
pub fn frames(
    frames: impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
