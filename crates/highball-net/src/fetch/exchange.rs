//! One request and its response over a fresh connection.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;

use super::error::Cause;
use super::target::Target;
use crate::dial::Dialled;
use crate::tls::Alpn;
use crate::{Spawner, Tasks};

/// Bytes of an HTTP/1 response head, and of an HTTP/2 header list.
const HEAD_SIZE_BYTES_MAX: u32 = 64 << 10;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("highball/", env!("CARGO_PKG_VERSION")));

pub(super) async fn exchange(
    dialled: Dialled,
    target: &Target,
    mut request: Request<Bytes>,
    body_size_bytes_max: usize,
) -> Result<Response<Bytes>, Cause> {
    // Owns the connection, which ends with this future.
    let tasks = Tasks::new();
    let io = TokioIo::new(dialled.io);
    request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
    let http2 = dialled.session.is_some_and(|session| session.alpn == Alpn::Http2);
    let response = if http2 {
        let (mut sender, connection) = http2::Builder::new(OnTasks(tasks.spawner()))
            .max_header_list_size(HEAD_SIZE_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(Cause::Http)?;
        tasks.spawn(ended(connection));
        sender.send_request(request.map(Full::new)).await
    } else {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_SIZE_BYTES_MAX as usize)
            .handshake(io)
            .await
            .map_err(Cause::Http)?;
        tasks.spawn(ended(connection));
        sender.send_request(http1_form(request, target).map(Full::new)).await
    };
    let (head, body) = response.map_err(Cause::Http)?.into_parts();
    Ok(Response::from_parts(head, read(body, body_size_bytes_max).await?))
}

/// What ends a connection early is told by the response, too.
async fn ended(connection: impl Future<Output = hyper::Result<()>>) {
    connection.await.ok();
}

/// RFC 9112, section 3.2: the path in the request line, the authority in `host`.
fn http1_form(mut request: Request<Bytes>, target: &Target) -> Request<Bytes> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    if let Ok(host) = HeaderValue::from_str(target.authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// The whole body, or none of it.
async fn read(mut body: Incoming, max: usize) -> Result<Bytes, Cause> {
    // What is announced too large is not even begun.
    if body.size_hint().lower() > max as u64 {
        return Err(Cause::TooLarge(max));
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Cause::Http)?.into_data() else { continue };
        if data.len() > max - whole.len() {
            return Err(Cause::TooLarge(max));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// hyper's HTTP/2 client spawns; here it spawns under the request.
#[derive(Clone)]
struct OnTasks(Spawner);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for OnTasks {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
