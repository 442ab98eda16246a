//! The sockets that are listened on at present.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use highball_core::Peer;

use super::error::HandoverError;
use super::predecessor::{SOCKET, SOCKET_WITH_FILE};
use crate::platform::ListeningSocket;
use crate::{Io, ListenAddr, Listener};

/// As many as there are listeners.
#[derive(Default)]
pub(super) struct Held {
    sockets: Mutex<Sockets>,
    handed_over: AtomicBool,
    /// A predecessor still serves.
    waits_for_turn: AtomicBool,
}

#[derive(Default)]
struct Sockets {
    next_id: u64,
    open: Vec<Socket>,
}

struct Socket {
    id: u64,
    fd: OwnedFd,
    name: &'static str,
}

impl Held {
    /// A descriptor of each, with its name, in the order in which they were bound.
    pub(super) fn sockets(&self) -> Result<Vec<(&'static str, OwnedFd)>, HandoverError> {
        let sockets = self.lock();
        if sockets.open.is_empty() {
            return Err(HandoverError::NoSocket);
        }
        let copies = sockets.open.iter().map(|socket| Ok((socket.name, socket.fd.try_clone()?)));
        copies.collect::<io::Result<_>>().map_err(HandoverError::Start)
    }

    pub(super) fn hand_over(&self, done: bool) {
        self.handed_over.store(done, Ordering::Release);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    pub(super) fn wait_for_turn(&self, waits: bool) {
        self.waits_for_turn.store(waits, Ordering::Release);
    }

    pub(super) fn waits_for_turn(&self) -> bool {
        self.waits_for_turn.load(Ordering::Acquire)
    }

    fn remember(&self, socket: ListeningSocket<'_>) -> io::Result<u64> {
        let fd = socket.fd.try_clone_to_owned()?;
        let name = if socket.owns_file { SOCKET_WITH_FILE } else { SOCKET };
        let mut sockets = self.lock();
        sockets.next_id += 1;
        let id = sockets.next_id;
        sockets.open.push(Socket { id, fd, name });
        Ok(id)
    }

    fn forget(&self, id: u64) {
        self.lock().open.retain(|socket| socket.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener whose socket can be passed on for as long as it listens.
pub(super) struct Passable {
    listener: Box<dyn Listener>,
    held: Arc<Held>,
    /// Without one there is no socket.
    id: Option<u64>,
}

impl Passable {
    pub(super) fn new(listener: Box<dyn Listener>, held: &Arc<Held>) -> io::Result<Self> {
        let id = listener.socket().map(|socket| held.remember(socket)).transpose()?;
        Ok(Self { listener, held: held.clone(), id })
    }
}

impl Listener for Passable {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>> {
        self.listener.poll_accept(cx)
    }

    fn local_addr(&self) -> ListenAddr {
        self.listener.local_addr()
    }

    fn socket(&self) -> Option<ListeningSocket<'_>> {
        self.listener.socket()
    }

    fn keep_file(&mut self) {
        self.listener.keep_file();
    }
}

impl Drop for Passable {
    fn drop(&mut self) {
        // Clients find the process that serves by this file.
        if self.held.is_handed_over() || self.held.waits_for_turn() {
            self.listener.keep_file();
        }
        // The second descriptor would keep the kernel taking connections.
        if let Some(id) = self.id {
            self.held.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Os, Platform as _};

    async fn unix(dir: &tempfile::TempDir, held: &Arc<Held>) -> (Passable, std::path::PathBuf) {
        let path = dir.path().join("x.sock");
        let listener = Os.bind(&ListenAddr::Unix(path.clone())).await.unwrap();
        (Passable::new(listener, held).unwrap(), path)
    }

    #[tokio::test]
    async fn what_is_not_listened_on_any_more_is_not_passed_and_not_kept_open() {
        let held = Arc::new(Held::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let tcp = Passable::new(Os.bind(&any).await.unwrap(), &held).unwrap();
        let addr = tcp.local_addr();
        let names: Vec<_> = held.sockets().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [SOCKET]);
        assert!(Os.bind(&addr).await.is_err());
        drop(tcp);
        assert!(matches!(held.sockets(), Err(HandoverError::NoSocket)));
        Os.bind(&addr).await.expect("the port is free again");
    }

    #[tokio::test]
    async fn the_file_of_a_unix_socket_stays_only_when_it_was_handed_over() {
        let (dir, held) = (tempfile::tempdir().unwrap(), Arc::new(Held::default()));
        let (listener, path) = unix(&dir, &held).await;
        drop(listener);
        assert!(!path.exists(), "an ordinary end takes it along");
        let (listener, path) = unix(&dir, &held).await;
        let passed = held.sockets().unwrap();
        assert_eq!(passed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [SOCKET_WITH_FILE]);
        held.hand_over(true);
        drop(listener);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_successor_in_vain_leaves_the_file_of_a_unix_socket_to_its_predecessor() {
        let (dir, held) = (tempfile::tempdir().unwrap(), Arc::new(Held::default()));
        held.wait_for_turn(true);
        let (listener, path) = unix(&dir, &held).await;
        drop(listener);
        assert!(path.exists());
        held.wait_for_turn(false);
        let (listener, path) = unix(&dir, &held).await;
        drop(listener);
        assert!(!path.exists(), "once it serves, it is its own");
    }
}
