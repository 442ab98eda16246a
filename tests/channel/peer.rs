//! A peer that the test writes: one closure for its connections, or one for its RPCs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use highball::Code;
use highball::core::envelope::seal;
use http::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::scripted::{fail, head, status};

/// Listens until it is dropped; then all of its connections break.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Does `serve` with each connection; the number counts them from 0.
    pub(crate) async fn start<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at("127.0.0.1:0".parse().unwrap(), serve).await
    }

    /// The same at a chosen address.
    pub(crate) async fn at<F>(
        addr: SocketAddr,
        serve: impl Fn(usize, TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (made, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, closing) = (made.clone(), open.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                io.set_nodelay(true).unwrap();
                let nth = counted.fetch_add(1, Ordering::SeqCst);
                closing.fetch_add(1, Ordering::SeqCst);
                let (served, closing) = (serve(nth, io), closing.clone());
                connections.spawn(async move {
                    served.await;
                    closing.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, made, open, task }
    }

    /// Speaks HTTP/2 and answers each RPC with `each`; health checks are UNIMPLEMENTED.
    pub(crate) async fn rpcs<F>(each: impl Fn(Rpc) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(move |_, io| serve(io, Builder::new(), each.clone())).await
    }

    pub(crate) fn target(&self) -> String {
        format!("static:///{}", self.addr)
    }

    /// Connections so far.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One RPC, to be answered.
pub(crate) struct Rpc {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
}

impl Rpc {
    pub(crate) fn fail(self, code: Code) {
        fail(self.respond, code, None);
    }

    /// One message and OK.
    pub(crate) fn succeed(mut self) {
        let mut stream = self.respond.send_response(head(), false).unwrap();
        stream.send_data(seal(b"done"), false).unwrap();
        stream.send_trailers(status(Code::Ok)).unwrap();
    }

    /// Reads the whole request.
    pub(crate) async fn read(&mut self) -> usize {
        let (mut size, body) = (0, self.request.body_mut());
        while let Some(Ok(data)) = body.data().await {
            size += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        size
    }
}

pub(crate) fn is_health(request: &Request<RecvStream>) -> bool {
    request.uri().path().starts_with("/grpc.health")
}

/// HTTP/2 to the end of the connection.
pub(crate) async fn serve<F>(io: TcpStream, builder: Builder, each: impl Fn(Rpc) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_all(io, builder, move |rpc| {
        let answered = if is_health(&rpc.request) { Err(rpc) } else { Ok(each(rpc)) };
        async move {
            match answered {
                Ok(answered) => answered.await,
                Err(health) => health.fail(Code::Unimplemented),
            }
        }
    })
    .await;
}

/// The same, health checks included.
pub(crate) async fn serve_all<F>(io: TcpStream, builder: Builder, each: impl Fn(Rpc) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake(io).await else { return };
    let mut rpcs = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        rpcs.spawn(each(Rpc { request, respond }));
    }
}

/// A stream for a server that closes it, and what to do then: read what is still coming. Closing a socket with unread bytes in
/// it resets the connection, and the client loses what it has not read yet, such as the GOAWAY that names its last stream.
pub(crate) fn linger(io: TcpStream) -> (TcpStream, impl Future<Output = ()>) {
    let io = io.into_std().unwrap();
    let mut rest = TcpStream::from_std(io.try_clone().unwrap()).unwrap();
    let drained = async move {
        let mut nowhere = tokio::io::sink();
        let read = tokio::io::copy(&mut rest, &mut nowhere);
        drop(tokio::time::timeout(Duration::from_secs(1), read).await);
    };
    (TcpStream::from_std(io).unwrap(), drained)
}

/// Waits until something holds that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, waited).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
