//! How many connections there may be, in total and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highball_core::Peer;

/// Bounds on open connections. One instance is shared by all listeners of a server.
#[derive(Debug)]
pub struct Caps {
    total_max: usize,
    per_peer_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Addresses with at least one connection, so never more entries than connections.
    by_peer: HashMap<IpAddr, usize>,
}

/// Which bound refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The server has as many as it may.
    Total,
    /// This address has as many as it may.
    Peer,
}

impl Caps {
    /// At most `total_max` connections, and `per_peer_max` from one address. Unix sockets have no address and count in
    /// total only.
    #[must_use]
    pub fn new(total_max: usize, per_peer_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_peer_max, open: Mutex::default() })
    }

    /// Counts a connection until the seat is dropped.
    ///
    /// # Errors
    /// Which bound is reached. Close the connection at once: a client that is told can go elsewhere.
    pub fn admit(self: &Arc<Self>, peer: &Peer) -> Result<Seat, Full> {
        let mut seat = self.admit_unnamed()?;
        seat.name(peer)?;
        Ok(seat)
    }

    /// Counts a connection in total only, until it is known for whom it stands: behind a proxy, its header tells.
    ///
    /// # Errors
    /// [`Full::Total`].
    pub fn admit_unnamed(self: &Arc<Self>) -> Result<Seat, Full> {
        let mut open = self.lock();
        if open.total >= self.total_max {
            return Err(Full::Total);
        }
        open.total += 1;
        Ok(Seat { caps: self.clone(), addr: None })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Seat {
    caps: Arc<Caps>,
    addr: Option<IpAddr>,
}

impl Seat {
    /// Counts the connection for its peer as well.
    ///
    /// # Errors
    /// [`Full::Peer`].
    pub fn name(&mut self, peer: &Peer) -> Result<(), Full> {
        // One client must not pass for two by writing its IPv4 address as IPv6.
        let Peer::Tcp(addr) = peer else { return Ok(()) };
        let addr = addr.ip().to_canonical();
        let mut open = self.caps.lock();
        let of_peer = open.by_peer.get(&addr).copied().unwrap_or_default();
        if of_peer >= self.caps.per_peer_max {
            return Err(Full::Peer);
        }
        open.by_peer.insert(addr, of_peer + 1);
        drop(open);
        self.addr = Some(addr);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.caps.lock();
        open.total -= 1;
        let Some(addr) = self.addr else { return };
        if let Some(of_peer) = open.by_peer.get_mut(&addr) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.by_peer.remove(&addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(addr: &str) -> Peer {
        Peer::Tcp(addr.parse().unwrap())
    }

    #[test]
    fn connections_are_bounded_per_address_and_in_total() {
        let caps = Caps::new(3, 2);
        let first = caps.admit(&peer("10.0.0.1:1")).unwrap();
        let _second = caps.admit(&peer("10.0.0.1:2")).unwrap();
        assert_eq!(caps.admit(&peer("10.0.0.1:3")).unwrap_err(), Full::Peer);
        assert_eq!(caps.admit(&peer("[::ffff:10.0.0.1]:4")).unwrap_err(), Full::Peer);
        let _third = caps.admit(&peer("10.0.0.2:1")).unwrap();
        assert_eq!(caps.admit(&Peer::Unix(None)).unwrap_err(), Full::Total);
        drop(first);
        assert!(caps.admit(&peer("10.0.0.1:5")).is_ok());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let caps = Caps::new(10, 10);
        drop(caps.admit(&peer("10.0.0.1:1")).unwrap());
        let open = caps.lock();
        assert_eq!((open.total, open.by_peer.len()), (0, 0));
    }
}
