//! Accept loops: one per listener, owning nothing but the order in which connections come.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use highball_core::{Body, Connection, Peer};
use highball_net::http::{self as connection, End};
use highball_net::{Draining, Io, Listener, Spawner};
use highball_telemetry::{Event, Telemetry};
use http::{Request, Response};
use hyper::body::Incoming;

/// Pause after a failed accept. Running out of file descriptors does not get better by asking faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an accept loop does with connections, shared by all listeners of a role.
pub(crate) struct Acceptor<S> {
    pub(crate) settings: connection::Settings,
    pub(crate) telemetry: Telemetry,
    pub(crate) draining: Draining,
    pub(crate) connections: Spawner,
    pub(crate) ends: Arc<Ends>,
    pub(crate) service: S,
}

/// How many connections are open, and how many had to be cut.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) open: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// Numbers connections across all listeners of the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<S, F> Acceptor<S>
where
    S: Fn(Arc<Connection>, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    /// Accepts until the drain begins; then takes in what the kernel had already accepted for us, and stops listening.
    pub(crate) async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>) {
        loop {
            tokio::select! {
                accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)) => match accepted {
                    Ok((io, peer)) => self.clone().spawn(io, peer),
                    Err(error) => {
                        let listener = listener.local_addr().to_string();
                        self.telemetry.report(&Event::AcceptFailed { listener: &listener, error: &error.to_string() });
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.draining.begun() => break,
            }
        }
        // These clients believe they are connected; closing on them would be an error they cannot explain.
        while let Some(Ok((io, peer))) = std::future::poll_fn(|cx| listener.poll_accept(cx)).now_or_never() {
            self.clone().spawn(io, peer);
        }
    }

    fn spawn(self: Arc<Self>, io: Box<dyn Io>, peer: Peer) {
        let owner = self.connections.clone();
        owner.spawn(async move { self.connection(io, peer).await });
    }

    async fn connection(&self, io: Box<dyn Io>, peer: Peer) {
        let connection = Arc::new(Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer,
        });
        let open = Open::new(self, connection.clone());
        let service = self.service.clone();
        let serve = move |request: Request<Incoming>| service(connection.clone(), request.map(Body::new));
        let end = connection::drive(io, &self.settings, &self.draining, serve).await;
        open.close(&end);
    }
}

/// A connection that is counted as open until it is closed, or dropped with its task.
struct Open<'a> {
    telemetry: &'a Telemetry,
    ends: &'a Ends,
    connection: Arc<Connection>,
    error: Option<String>,
}

impl<'a> Open<'a> {
    fn new<S>(acceptor: &'a Acceptor<S>, connection: Arc<Connection>) -> Self {
        let peer = connection.peer.to_string();
        acceptor.telemetry.report(&Event::ConnectionOpened {
            id: connection.id,
            peer: &peer,
        });
        acceptor.ends.open.fetch_add(1, Ordering::Relaxed);
        // Until it is known how it ended, it was cut.
        let error = Some("aborted".to_owned());
        Self {
            telemetry: &acceptor.telemetry,
            ends: &acceptor.ends,
            connection,
            error,
        }
    }

    fn close(mut self, end: &End) {
        self.error = match end {
            End::Orderly => None,
            End::Failed(error) => Some(error.to_string()),
            End::Cut => {
                self.ends.cut.fetch_add(1, Ordering::Relaxed);
                Some("cut by the drain".to_owned())
            }
        };
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.ends.open.fetch_sub(1, Ordering::Relaxed);
        self.telemetry.report(&Event::ConnectionClosed {
            id: self.connection.id,
            error: self.error.as_deref(),
        });
    }
}
