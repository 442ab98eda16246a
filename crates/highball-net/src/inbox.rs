//! What a connection has received of messages that are not whole yet: counted, and bounded over all its streams.
//!
//! A service holds what it has of a message until the rest comes, and reading it gives the client more window. A client that
//! begins a large message on each of its streams, and ends none, would have it hold all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Life;
use crate::stream_task::Accounts;

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct Inbox {
    size_bytes_max: usize,
    held: AtomicUsize,
}

impl Inbox {
    pub(crate) fn new(size_bytes_max: usize) -> Self {
        Self { size_bytes_max, held: AtomicUsize::new(0) }
    }
}

/// The part of one stream in the account of its connection. Dropping it gives the part back.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// `None` outside of a connection: then nothing is bounded.
    accounts: Option<Arc<Accounts>>,
    held: usize,
}

/// The messages of one connection that are not whole yet are too many bytes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuchUnfinished {
    /// The setting, in bytes.
    pub size_bytes_max: usize,
}

impl Unfinished {
    /// The part of the stream whose task is running; see [`Life`].
    #[must_use]
    pub fn of_stream() -> Self {
        Self { accounts: Life::accounts(), held: 0 }
    }

    /// The stream has so many bytes of a message that is not whole; 0 between messages.
    ///
    /// # Errors
    /// [`TooMuchUnfinished`] when the connection then has more than
    /// [`unfinished_size_bytes_max`](crate::http::Settings::unfinished_size_bytes_max). The stream that notices must end.
    pub fn set(&mut self, size_bytes: usize) -> Result<(), TooMuchUnfinished> {
        if size_bytes == self.held {
            return Ok(());
        }
        let Some(account) = self.accounts.as_ref().map(|accounts| &accounts.inbox) else { return Ok(()) };
        let before = std::mem::replace(&mut self.held, size_bytes);
        if size_bytes < before {
            account.held.fetch_sub(before - size_bytes, Ordering::Relaxed);
            return Ok(());
        }
        let more = size_bytes - before;
        let size_bytes_max = account.size_bytes_max;
        let fits = account.held.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= size_bytes_max;
        if fits { Ok(()) } else { Err(TooMuchUnfinished { size_bytes_max }) }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Giving back cannot fail.
        self.set(0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_of_a_connection_share_one_bound_and_give_back() {
        let accounts = Accounts::new(1, 100);
        let part = || Unfinished { accounts: Some(accounts.clone()), held: 0 };
        let (mut one, mut other) = (part(), part());
        assert_eq!(one.set(60), Ok(()));
        assert_eq!(other.set(40), Ok(()));
        assert_eq!(other.set(41), Err(TooMuchUnfinished { size_bytes_max: 100 }));
        drop(other);
        assert_eq!(one.set(100), Ok(()));
        assert_eq!(one.set(0), Ok(()), "a whole message is the service's business");
        assert_eq!(part().set(100), Ok(()));
        drop(one);
        assert_eq!(accounts.inbox.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn outside_of_a_connection_nothing_is_bounded() {
        assert_eq!(Unfinished::of_stream().set(usize::MAX), Ok(()));
    }
}
