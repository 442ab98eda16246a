//! Accept loops: one per listener, owning nothing but the order in which connections come.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use highball_auth::token::Shown;
use highball_core::{Body, Caller, Connection, Peer};
use highball_net::caps::{Caps, Full};
use highball_net::http::{self as connection, End};
use highball_net::listen::BACKLOG;
use highball_net::workers::WorkerSeat;
use highball_net::{Draining, Incoming, Io, Listener, Platform, Spawner, Workers};
use highball_telemetry::{Event, Limit, Telemetry};
use http::{Request, Response};
use tokio::time::{Instant, timeout_at};

use crate::entrance::{Entrance, Passed};

/// Pause after a failed accept. Running out of file descriptors does not get better by asking faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Once the drain has begun, the accept loop takes in what the kernel had accepted before, until nothing has come for this
/// long: the reactor needs a moment to deliver what is ready. It takes no more than a backlog holds.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// And for no longer than this: who is sent away may come back here at once, and the drain would wait for the last of them.
const SWEEP_MAX: Duration = Duration::from_millis(500);

/// What an accept loop does with connections, shared by all listeners of a role.
pub(crate) struct Acceptor<S> {
    pub(crate) settings: connection::Settings,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) caps: Arc<Caps>,
    pub(crate) telemetry: Telemetry,
    /// What its connections hear.
    pub(crate) draining: Draining,
    /// What the server hears, which for a port beside that for RPCs is more.
    pub(crate) server: Draining,
    pub(crate) connections: Spawner,
    /// Where connections are served; without any, on the runtime that accepts.
    pub(crate) workers: Option<Arc<Workers>>,
    pub(crate) ends: Arc<Ends>,
    pub(crate) service: S,
}

/// A connection as its RPCs see it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Arc<Connection>,
    /// The worker that serves it; 0 without workers.
    pub(crate) worker: usize,
    /// The token that its RPCs showed last.
    pub(crate) shown: Shown,
}

/// How many connections are open, and how many had to be cut.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) open: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// A connection that the kernel gave us, and the place at the worker that will serve it.
struct Accepted {
    io: Box<dyn Io>,
    peer: Peer,
    seat: Option<WorkerSeat>,
}

/// Numbers connections across all listeners of the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<S, F> Acceptor<S>
where
    S: Fn(Arc<Session>, Draining, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    /// Accepts until the drain begins; then takes in what the kernel had already accepted for us, and stops listening. What
    /// was handed over is the other process's, whatever the kernel holds.
    pub(crate) async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>, entrance: Entrance) {
        loop {
            tokio::select! {
                // Whoever is sent away must not come here again.
                biased;
                () = self.server.handed_over() => return,
                () = self.draining.begun() => break,
                accepted = std::future::poll_fn(|cx| self.poll_accept(&mut *listener, cx)) => match accepted {
                    Ok(accepted) => self.clone().spawn(accepted, entrance.clone()),
                    Err(error) => {
                        let listener = listener.local_addr().to_string();
                        self.telemetry.report(&Event::AcceptFailed { listener: &listener, error: &error.to_string() });
                        if is_shortage(&error) {
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                },
            }
        }
        // These clients believe they are connected; closing on them would be an error they cannot explain.
        let until = Instant::now() + SWEEP_MAX;
        for _ in 0..BACKLOG {
            let accept = std::future::poll_fn(|cx| self.poll_accept(&mut *listener, cx));
            match timeout_at(until.min(Instant::now() + SWEEP_PAUSE), accept).await {
                Ok(Ok(accepted)) => self.clone().spawn(accepted, entrance.clone()),
                Ok(Err(_)) => {}
                Err(_) => return,
            }
        }
    }

    fn poll_accept(&self, listener: &mut dyn Listener, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let worker = self.workers.as_ref().map(|workers| (workers, workers.least()));
        // A socket belongs to the reactor of the runtime that is entered when it is made, and that is during this poll.
        let _inside = worker.map(|(workers, worker)| workers.handle(worker).enter());
        let (io, peer) = ready!(listener.poll_accept(cx))?;
        let seat = worker.and_then(|(workers, worker)| workers.seat(worker));
        Poll::Ready(Ok(Accepted { io, peer, seat }))
    }

    fn spawn(self: Arc<Self>, accepted: Accepted, entrance: Entrance) {
        let Accepted { io, peer, seat: at } = accepted;
        // Behind a proxy the address is the proxy's; the connection is counted for its client once that is known.
        let seat = match &entrance.proxies {
            Some(_) => self.caps.admit_unnamed(),
            None => self.caps.admit(&peer),
        };
        match seat {
            Ok(mut seat) => {
                let (owner, workers) = (self.connections.clone(), self.workers.clone());
                let worker = at.as_ref().map(WorkerSeat::worker);
                let task = async move {
                    let _at = at;
                    let (limit, draining) = (self.settings.handshake_timeout, &self.draining);
                    let passing = entrance.pass(io, peer, &mut seat, limit, draining, &self.telemetry);
                    if let Some(Passed { io, peer, caller }) = passing.await {
                        self.connection(io, peer, caller, worker).await;
                    }
                };
                match workers.zip(worker) {
                    Some((workers, worker)) => owner.spawn_on(workers.handle(worker), task),
                    None => owner.spawn(task),
                }
            }
            // Dropped, and so closed, at once: a client that is told can go elsewhere.
            Err(full) => {
                let limit = match full {
                    Full::Total => Limit::Connections,
                    Full::Peer => Limit::ConnectionsPerPeer,
                };
                self.telemetry.report(&Event::LimitHit { limit });
            }
        }
    }

    async fn connection(&self, io: Box<dyn Io>, peer: Peer, caller: Caller, worker: Option<usize>) {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection { id, peer, caller });
        let open = Open::new(self, connection.clone(), worker);
        let service = self.service.clone();
        let session =
            Arc::new(Session { connection, worker: worker.unwrap_or_default(), shown: Shown::new() });
        let serve = move |request, draining| service(session.clone(), draining, request);
        let jitter = self.platform.random();
        let end = connection::drive(io, &self.settings, jitter, &self.draining, serve).await;
        open.close(&end);
    }
}

/// Whether the machine ran out of something, so that the next accept would fail as well. Other errors concern one
/// connection that is already gone.
fn is_shortage(error: &std::io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE, ENOBUFS on Linux.
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

/// A connection that is counted as open until it is closed, or dropped with its task.
struct Open<'a> {
    telemetry: &'a Telemetry,
    ends: &'a Ends,
    connection: Arc<Connection>,
    worker: Option<usize>,
    error: Option<String>,
    cut: bool,
}

impl<'a> Open<'a> {
    fn new<S>(acceptor: &'a Acceptor<S>, connection: Arc<Connection>, worker: Option<usize>) -> Self {
        let peer = connection.peer.to_string();
        acceptor.telemetry.report(&Event::ConnectionOpened { id: connection.id, peer: &peer, worker });
        acceptor.ends.open.fetch_add(1, Ordering::Relaxed);
        // Until it is known how it ended, it was cut.
        let error = Some("aborted".to_owned());
        let Acceptor { telemetry, ends, .. } = acceptor;
        Self { telemetry, ends, connection, worker, error, cut: true }
    }

    fn close(mut self, end: &End) {
        self.error = match end {
            End::Orderly => None,
            End::Failed(error) => Some(error.to_string()),
            End::Abusive(abuse) => {
                let Connection { id, peer, .. } = &*self.connection;
                let kind = abuse.name();
                self.telemetry.report(&Event::ConnectionAbused { id: *id, peer: &peer.to_string(), kind });
                Some(kind.to_owned())
            }
            End::Cut => Some("cut while in use".to_owned()),
        };
        self.cut = matches!(end, End::Cut);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.ends.open.fetch_sub(1, Ordering::Relaxed);
        self.ends.cut.fetch_add(u64::from(self.cut), Ordering::Relaxed);
        let (id, worker, error) = (self.connection.id, self.worker, self.error.as_deref());
        self.telemetry.report(&Event::ConnectionClosed { id, worker, error });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highball_core::{Code, Status};
    use highball_net::{Drain, ListenAddr, Os, Phase, Tasks};
    use tokio::time::{Sleep, sleep};

    /// Every few milliseconds somebody connects, and goes away.
    struct Crowd(std::pin::Pin<Box<Sleep>>);

    impl Listener for Crowd {
        fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>> {
            ready!(self.0.as_mut().poll(cx));
            self.0.set(sleep(SWEEP_PAUSE / 2));
            let (ours, _) = tokio::io::duplex(64);
            Poll::Ready(Ok((Box::new(ours), Peer::Tcp("127.0.0.1:1".parse().unwrap()))))
        }

        fn local_addr(&self) -> ListenAddr {
            "127.0.0.1:1".parse().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_does_not_wait_for_those_who_keep_coming() {
        let (drain, connections) = (Drain::new(), Tasks::new());
        let acceptor = Acceptor {
            settings: connection::Settings::default(),
            platform: Os::shared(),
            caps: Caps::new(100_000, 100_000),
            telemetry: Telemetry::new(),
            draining: drain.listen(),
            server: drain.listen(),
            connections: connections.spawner(),
            workers: None,
            ends: Arc::default(),
            service: |_, _, _| std::future::ready(Status::new(Code::Ok, "").into_response()),
        };
        drain.advance(Phase::Draining);
        let began = Instant::now();
        Arc::new(acceptor).run(Box::new(Crowd(Box::pin(sleep(SWEEP_PAUSE)))), Entrance::default()).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(began.elapsed() > SWEEP_PAUSE * 4, "{:?}", began.elapsed());
    }
}
