//! The process that is to take over, as its predecessor sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::error::HandoverError;
use super::predecessor::{GO, READY, TALK};
use super::{Program, error};

/// Where passed descriptors begin (sd_listen_fds(3)).
const FIRST_FD: i32 = 3;

/// How long a process that closed its end may take to end, so that its exit status can be told.
const END_MAX: Duration = Duration::from_secs(1);

/// A process that is killed when it is dropped, until it was told to go.
pub(super) struct Successor {
    child: Child,
    talk: UnixStream,
    gone: bool,
}

impl Successor {
    pub(super) fn start(
        program: &Program,
        sockets: Vec<(&'static str, OwnedFd)>,
    ) -> Result<Self, HandoverError> {
        Self::spawn(program, sockets).map_err(error::HandoverError::Start)
    }

    fn spawn(program: &Program, sockets: Vec<(&'static str, OwnedFd)>) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let talk = UnixStream::from_std(ours)?;
        let passed: Vec<_> = sockets.into_iter().chain([(TALK, theirs.into())]).collect();
        let names: Vec<_> = passed.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .env("LISTEN_FDS", passed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // Each of these was about the process that read it.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_PIDFDID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            .env_remove("WATCHDOG_PID");
        let place = |((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd };
        let mappings = passed.into_iter().zip(FIRST_FD..).map(place).collect();
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        // With the command go our copies: the end of the successor must be seen as the end of the conversation.
        Ok(Self { child: command.spawn()?, talk, gone: false })
    }

    /// Waits until it says that it is ready; its process id. Cancel safe in that it can be dropped.
    pub(super) async fn ready(&mut self) -> Result<u32, HandoverError> {
        let mut said = [0; READY.len()];
        let heard = tokio::select! {
            // One that ended is not ready, whatever it said.
            biased;
            status = self.child.wait() => return Err(ended(status)),
            heard = self.talk.read_exact(&mut said) => heard.is_ok() && said == *READY,
        };
        match self.child.id() {
            Some(pid) if heard => Ok(pid),
            _ => match timeout(END_MAX, self.child.wait()).await {
                Ok(status) => Err(ended(status)),
                Err(_) => Err(HandoverError::Closed),
            },
        }
    }

    /// Tells it to serve. From now on it lives on its own.
    pub(super) async fn go(&mut self) -> Result<(), HandoverError> {
        // A few bytes into an empty buffer: it does not wait.
        self.talk.write_all(GO).await.map_err(|_| HandoverError::Closed)?;
        self.gone = true;
        Ok(())
    }

    /// Kills it and waits for its end.
    pub(super) async fn kill(&mut self) {
        // Fails when it has ended, and then there is nothing to wait for.
        self.child.start_kill().ok();
        timeout(END_MAX, self.child.wait()).await.ok();
    }
}

fn ended(status: io::Result<std::process::ExitStatus>) -> HandoverError {
    status.map_or_else(HandoverError::Start, HandoverError::Exited)
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.gone {
            // As in `kill`; the runtime collects it.
            self.child.start_kill().ok();
        }
    }
}
