//! The token that a connection showed last.
//!
//! Most connections show the same token with every RPC. Comparing it is an order of magnitude cheaper than hashing it for
//! the memory of all tokens, and less work for an attacker to make us do.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use highball_core::caller::Token;
use tokio::time::Instant;

/// How long a token is known without a look at the wall clock: that long a clock that was set goes unnoticed. A removed
/// key and the token's own end are noticed at once.
const KNOWN: Duration = Duration::from_secs(1);

/// Longer tokens are not kept, so that 10,000 connections keep 20 MiB of them at most.
const SIZE_BYTES_MAX: usize = 2 << 10;

/// The verified token that one connection showed last; goes with the connection. Unlike the memory of all tokens it holds
/// the token itself, as the header compression of HTTP/2 does for the same connection.
#[derive(Default)]
pub struct Shown(Mutex<Option<Last>>);

struct Last {
    bytes: Box<[u8]>,
    token: Arc<Token>,
    generation: u64,
    until: Instant,
}

impl Shown {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who the token belongs to, if it is the one that was verified a moment ago by the same keys.
    pub(crate) fn recall(&self, bytes: &[u8], generation: u64, now: Instant) -> Option<Arc<Token>> {
        // Another RPC of the connection is looking: the memory of all tokens has it, too.
        let last = match self.0.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let last = last.as_ref()?;
        let known = last.generation == generation && now < last.until && same(&last.bytes, bytes);
        known.then(|| last.token.clone())
    }

    /// Keeps a token that was verified and is good for `left`.
    pub(crate) fn keep(
        &self,
        bytes: &[u8],
        token: &Arc<Token>,
        generation: u64,
        now: Instant,
        left: Duration,
    ) {
        if bytes.len() > SIZE_BYTES_MAX {
            return;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match last.take() {
            Some(known) if *known.bytes == *bytes => known.bytes,
            _ => bytes.into(),
        };
        *last = Some(Last { bytes, token: token.clone(), generation, until: now + left.min(KNOWN) });
    }
}

/// Takes as long wherever the first difference is: behind a proxy, a connection carries the RPCs of many callers.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}
