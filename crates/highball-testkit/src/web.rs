//! A web server for the length of a test: what an issuer, a token endpoint or a registry is to us.
//!
//! Everything here panics when it fails, as in [`pki`](crate::pki).

#![expect(clippy::unwrap_used, reason = "see above")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_net::{ListenAddr, Os, Platform as _, Spawner, Tasks};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::pki::Pair;

type Answer = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// A running web server on a loopback port. Dropping it stops it, connections included.
#[derive(Debug)]
pub struct Web {
    addr: SocketAddr,
    scheme: &'static str,
    asked: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl Web {
    /// Serves HTTPS with this certificate, HTTP/2 and HTTP/1.1.
    pub async fn https<F>(pair: &Pair, answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        Self::start(Some(acceptor(pair, &["h2", "http/1.1"])), answer).await
    }

    /// Serves HTTPS with this certificate to clients that agree on one of these protocols.
    pub async fn https_speaking<F>(
        pair: &Pair,
        alpn: &[&str],
        answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        Self::start(Some(acceptor(pair, alpn)), answer).await
    }

    /// Serves HTTP in plaintext.
    pub async fn http<F>(answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        Self::start(None, answer).await
    }

    async fn start<F>(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let answer: Answer = Arc::new(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(answer(request))
        });
        let mut listener = Os.bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let ListenAddr::Tcp(addr) = listener.local_addr() else { panic!("a TCP address was bound") };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tasks = Tasks::new();
        let spawner = tasks.spawner();
        tasks.spawn(async move {
            loop {
                let (io, _) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
                accepted(&spawner, io, tls.clone(), answer.clone());
            }
        });
        Self { addr, scheme, asked, _tasks: tasks }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `https://localhost:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.addr.port())
    }

    /// Requests that reached the answer.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn accepted(spawner: &Spawner, io: Box<dyn highball_net::Io>, tls: Option<TlsAcceptor>, answer: Answer) {
    spawner.spawn(async move {
        match tls {
            // A client that does not trust us, or asks for another protocol, is the test's business.
            Some(tls) => {
                if let Ok(io) = tls.accept(io).await {
                    serve(io, answer).await;
                }
            }
            None => serve(io, answer).await,
        }
    });
}

async fn serve(io: impl highball_net::Io, answer: Answer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            #[expect(clippy::disallowed_methods, reason = "the client is the test's own")]
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let response = answer(Request::from_parts(head, body)).await;
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    // A client that goes away is the test's business.
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await.ok();
}

fn acceptor(pair: &Pair, alpn: &[&str]) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
