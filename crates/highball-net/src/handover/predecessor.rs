//! The process that this one replaces, as its successor sees it.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::systemd::{ActivationError, Inherited, ListenFd, passed};

/// The name of a passed socket, in `LISTEN_FDNAMES`.
pub(super) const SOCKET: &str = "highball.socket";
/// That of a Unix socket whose file is passed as well: whoever listens last removes it.
pub(super) const SOCKET_WITH_FILE: &str = "highball.socket-with-file";
/// That of the connection between the two processes.
pub(super) const TALK: &str = "highball.handover";

/// What the successor says.
pub(super) const READY: &[u8; 6] = b"ready\n";
/// What the predecessor says.
pub(super) const GO: &[u8; 3] = b"go\n";

/// The process that serves until this one does. Dropping it gives up, and then it kills this process.
#[derive(Debug)]
pub struct Predecessor(StdStream);

/// The sockets that this process was started with, by systemd or by a predecessor, and the predecessor if there is one.
///
/// As [`systemd::inherited`](crate::systemd::inherited), which knows nothing of predecessors. `names` is the value of
/// `LISTEN_FDNAMES`.
///
/// # Errors
/// As there.
pub fn inherited(
    fds: ListenFd,
    names: Option<&str>,
) -> Result<(Vec<Inherited>, Option<Predecessor>), ActivationError> {
    let (mut sockets, mut predecessor) = (Vec::new(), None);
    for (name, fd) in passed(fds, names)? {
        match name {
            TALK => predecessor = Some(Predecessor(fd.into())),
            SOCKET => sockets.push(Inherited::new(name, fd)?.left_behind(false)),
            SOCKET_WITH_FILE => sockets.push(Inherited::new(name, fd)?.left_behind(true)),
            _ => sockets.push(Inherited::new(name, fd)?),
        }
    }
    Ok((sockets, predecessor))
}

/// How a process came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// It has no predecessor.
    Nobody,
    /// Its predecessor let go.
    Passed,
    /// Its predecessor was gone before it let go.
    Abandoned,
}

impl Predecessor {
    /// Waits until `ready`, says so, and waits for the word go.
    pub(super) async fn replace(self, ready: impl Future<Output = ()>) -> TakeOver {
        match self.agreed(ready).await {
            Ok(true) => TakeOver::Passed,
            // Whatever became of it, it does not answer any more.
            Ok(false) | Err(_) => TakeOver::Abandoned,
        }
    }

    async fn agreed(self, ready: impl Future<Output = ()>) -> io::Result<bool> {
        self.0.set_nonblocking(true)?;
        let mut talk = UnixStream::from_std(self.0)?;
        let mut said = [0; GO.len()];
        tokio::select! {
            () = ready => {}
            // It says nothing before we do.
            _ = talk.read(&mut said) => return Ok(false),
        }
        talk.write_all(READY).await?;
        talk.read_exact(&mut said).await?;
        Ok(said == *GO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::io::Write as _;

    /// Not blocking: both processes of a test are on one thread.
    fn stream(theirs: StdStream) -> UnixStream {
        theirs.set_nonblocking(true).unwrap();
        UnixStream::from_std(theirs).unwrap()
    }

    #[tokio::test]
    async fn a_successor_says_ready_and_waits_for_the_word_go() {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        theirs.write_all(GO).unwrap();
        // Said too early, by nobody we know.
        assert_eq!(Predecessor(ours).replace(pending()).await, TakeOver::Abandoned);
        let (ours, theirs) = StdStream::pair().unwrap();
        let mut theirs = stream(theirs);
        let replaced = Predecessor(ours).replace(ready(()));
        let (how, ()) = tokio::join!(replaced, async {
            let mut said = [0; READY.len()];
            theirs.read_exact(&mut said).await.unwrap();
            assert_eq!(said, *READY);
            theirs.write_all(GO).await.unwrap();
        });
        assert_eq!(how, TakeOver::Passed);
    }

    #[tokio::test]
    async fn without_its_predecessor_a_successor_serves_at_once() {
        let (ours, theirs) = StdStream::pair().unwrap();
        drop(theirs);
        assert_eq!(Predecessor(ours).replace(pending()).await, TakeOver::Abandoned);
        let (ours, theirs) = StdStream::pair().unwrap();
        let mut theirs = stream(theirs);
        let (how, ()) = tokio::join!(Predecessor(ours).replace(ready(())), async {
            theirs.read_exact(&mut [0; READY.len()]).await.unwrap();
            drop(theirs);
        });
        assert_eq!(how, TakeOver::Abandoned);
    }
}
