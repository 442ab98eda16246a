//! Handing the listening sockets to a new process: an upgrade of the binary that no caller notices.
//!
//! ```text
//! old: serves .. starts new, with the sockets ........ hears ready, tells systemd MAINPID, says go .. drains, ends
//! new:           adopts them, waits until it is ready, says ready .................... hears go .. accepts, serves
//! ```
//!
//! The sockets are the same for both, so nothing that connects in between is lost: the kernel keeps it for whoever accepts.
//! Until the word go, everything stays as it was: a successor that cannot start, that ends or that says nothing for
//! [`READY_MAX`] is killed and reported, and the old process goes on. A successor whose predecessor dies before the word go
//! serves at once.
//!
//! The sockets are passed as systemd passes them: at descriptor 3 and after, told by `LISTEN_FDS` and `LISTEN_FDNAMES`.
//! `LISTEN_PID` cannot be known before the process exists and is left out, which [`ListenFd`](crate::systemd::ListenFd)
//! takes for its own. The last descriptor is the one the two talk over.
//!
//! What ends with its first process cannot be upgraded so: a container whose process 1 this is. There the orchestrator
//! starts another container.

mod error;
mod held;
mod predecessor;
mod successor;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::systemd::Notifier;
use crate::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Platform};

pub use error::HandoverError;
use held::{Held, Passable};
pub use predecessor::{Predecessor, TakeOver, inherited};
use successor::Successor;

/// How long a successor may take to be ready, unless it is said otherwise.
pub const READY_MAX: Duration = Duration::from_secs(60);

/// What is started as the successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// The program at `path` with `args`. A name without a slash is looked for as a shell does.
    pub fn new(path: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { path: path.into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// The same command line as this process's, which is `args`, the name first. What lies under that name by then is
    /// started: the new binary. (`/proc/self/exe` would be the old one.) `None` for an empty command line.
    pub fn again(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut args = args.into_iter();
        Some(Self { path: args.next()?.into(), args: args.collect() })
    }
}

/// A platform that remembers the sockets it listens on, and can pass them to a successor.
///
/// The successor gets the environment of this process, its working directory and its three standard streams. A socket that
/// is not listened on any more is not passed. Simulated sockets are none, and are not passed either.
pub struct Handover {
    below: Arc<dyn Platform>,
    program: Program,
    ready_max: Duration,
    notifier: Notifier,
    predecessor: Mutex<Option<Predecessor>>,
    held: Arc<Held>,
    /// One successor at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Handover {
    /// Sockets come from `below`; the successor is `program`.
    #[must_use]
    pub fn new(below: Arc<dyn Platform>, program: Program) -> Self {
        Self {
            below,
            program,
            ready_max: READY_MAX,
            notifier: Notifier::default(),
            predecessor: Mutex::default(),
            held: Arc::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// This process is itself a successor, as [`inherited`] found out.
    #[must_use]
    pub fn with_predecessor(self, predecessor: Option<Predecessor>) -> Self {
        self.held.wait_for_turn(predecessor.is_some());
        Self { predecessor: Mutex::new(predecessor), ..self }
    }

    /// Tells the service manager which process is the service from now on. Otherwise systemd takes the end of this one for
    /// the end of the unit, and kills the successor.
    #[must_use]
    pub fn with_notifier(self, notifier: Notifier) -> Self {
        Self { notifier, ..self }
    }

    /// How long the successor may take until it is ready. Default [`READY_MAX`].
    #[must_use]
    pub fn with_ready_max(self, ready_max: Duration) -> Self {
        Self { ready_max, ..self }
    }

    /// Starts the successor and passes it every socket that is listened on; its process id, once it is ready to serve and
    /// was told to. Drain then: [`Drain::hand_over`](crate::Drain::hand_over). The files of Unix sockets are the
    /// successor's from now on. A second call waits for the first.
    ///
    /// # Errors
    /// [`HandoverError`]. The successor is killed, and everything is as it was before.
    ///
    /// # Cancel safety
    /// Dropping the future kills the successor, and everything is as it was before.
    pub async fn pass_on(&self) -> Result<u32, HandoverError> {
        let _turn = self.turn.lock().await;
        if self.held.is_handed_over() {
            return Err(HandoverError::Done);
        }
        // The predecessor would take this one's end for a failure, and go on beside the successor.
        if !self.is_serving() {
            return Err(HandoverError::NotServing);
        }
        if process::id() == 1 {
            return Err(HandoverError::FirstProcess);
        }
        let mut successor = Successor::start(&self.program, self.held.sockets()?)?;
        let ready = timeout(self.ready_max, successor.ready()).await;
        let ready = ready.unwrap_or(Err(HandoverError::Silent(self.ready_max)));
        let told = match ready {
            Ok(pid) => self.notifier.main_pid(pid).await.map_err(HandoverError::Supervisor).map(|()| pid),
            Err(error) => Err(error),
        };
        let pid = match told {
            Ok(pid) => pid,
            Err(error) => {
                successor.kill().await;
                return Err(error);
            }
        };
        self.held.hand_over(true);
        if let Err(error) = successor.go().await {
            self.held.hand_over(false);
            successor.kill().await;
            // If this cannot be told either, the manager restarts the unit: the better end of a bad day.
            self.notifier.main_pid(process::id()).await.ok();
            return Err(error);
        }
        Ok(pid)
    }

    /// Takes over from the predecessor, if this process has one: waits until `ready`, says so, and waits until the
    /// predecessor lets go. Accept only then: a connection that comes earlier is better served by the predecessor. Without
    /// one, or once it is gone, it resolves at once. The first call does that, all others resolve at once.
    ///
    /// # Cancel safety
    /// Dropping the future gives up: the predecessor keeps serving, and kills this process.
    pub async fn take_over(&self, ready: impl Future<Output = ()>) -> TakeOver {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(predecessor) = predecessor else { return TakeOver::Nobody };
        let how = predecessor.replace(ready).await;
        self.held.wait_for_turn(false);
        how
    }

    /// Whether the sockets are this process's: there is no predecessor, or not any more. Who ends before that leaves the
    /// sockets, and the files of Unix sockets, as they were, and accepts nothing.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.held.waits_for_turn()
    }
}

impl Platform for Handover {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async {
            let listener = self.below.bind(addr).await?;
            Ok(Box::new(Passable::new(listener, &self.held)?) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        self.below.connect(address, options)
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        self.below.lookup(name)
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        self.below.lookup_txt(name)
    }

    fn wall_clock(&self) -> SystemTime {
        self.below.wall_clock()
    }

    fn random(&self) -> u64 {
        self.below.random()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("program", &self.program).finish_non_exhaustive()
    }
}
