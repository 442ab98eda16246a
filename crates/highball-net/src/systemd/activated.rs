//! Inherited sockets as a [`Platform`].

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Inherited;
use crate::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Platform, listen};

/// A platform that was started with sockets: who binds the address of one gets that one, and everybody else what the
/// platform below gives. A server needs no other setting than the addresses it would listen on anyway.
///
/// Each socket is given out once. Dropping the listener closes this process's hold only: while systemd has the socket, the
/// kernel goes on taking connections, up to the unit's `Backlog=`, and they wait for the next process. The file of a Unix
/// socket, and its mode, belong to the unit.
pub struct Activated {
    below: Arc<dyn Platform>,
    waiting: Mutex<Vec<Inherited>>,
}

impl Activated {
    /// `sockets`, and for everything else `below`.
    #[must_use]
    pub fn new(below: Arc<dyn Platform>, sockets: Vec<Inherited>) -> Self {
        Self { below, waiting: Mutex::new(sockets) }
    }

    /// The sockets nobody has bound yet, with their names. After the server has bound, each of these is a mistake to
    /// report: its clients connect, and wait for ever.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<(String, ListenAddr)> {
        self.waiting().iter().map(|socket| (socket.name().to_owned(), socket.addr().clone())).collect()
    }

    /// Closes the sockets nobody has bound, and tells which they were: for a successor that was started so as not to listen
    /// there any more.
    #[must_use]
    pub fn release(&self) -> Vec<(String, ListenAddr)> {
        let released = self.unclaimed();
        self.waiting().clear();
        released
    }

    fn claim(&self, wanted: &ListenAddr) -> Option<Inherited> {
        let mut waiting = self.waiting();
        let found = waiting.iter().position(|socket| socket.serves(wanted));
        // Any port is the one that the predecessor was given.
        let found = found.or_else(|| waiting.iter().position(|socket| socket.serves_any_port(wanted)))?;
        Some(waiting.remove(found))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Inherited>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for Activated {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        match self.claim(addr) {
            Some(inherited) => Box::pin(async { adopt(inherited) }),
            None => self.below.bind(addr),
        }
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

impl fmt::Debug for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activated").field("unclaimed", &self.unclaimed()).finish_non_exhaustive()
    }
}

fn adopt(inherited: Inherited) -> io::Result<Box<dyn Listener>> {
    let (addr, socket, owns_file) = inherited.into_parts();
    // Once more for descriptors that did not come through `listenfd`: a child must not hold a server's port.
    socket.set_cloexec(true)?;
    listen::adopt(addr, socket, owns_file)
}

#[cfg(test)]
mod tests;
