//! `sd_notify`: what the service manager is told.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixDatagram;

/// Bytes of a status that are told; `systemctl status` shows it on one line.
const STATUS_SIZE_BYTES_MAX: usize = 1024;

/// Tells the service manager how the process is (sd_notify(3)). Without one, everything here succeeds and does nothing.
///
/// One datagram for each message, and one socket for each datagram: nothing is held that a restart of the manager could
/// break.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notifier {
    to: Option<OsString>,
}

impl Notifier {
    /// `socket` is the value of `NOTIFY_SOCKET`, which systemd sets for `Type=notify` and for `WatchdogSec=`: a path, or a
    /// name in the abstract namespace after `@`.
    #[must_use]
    pub fn new(socket: Option<OsString>) -> Self {
        Self { to: socket.filter(|socket| !socket.is_empty()) }
    }

    /// Whether anybody is told.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    /// `READY=1`: addresses are bound and RPCs are served. Until then, units ordered after this one wait.
    ///
    /// # Errors
    /// The manager could not be told; with `Type=notify` it will stop the process after `TimeoutStartSec=`.
    ///
    /// # Cancel safety
    /// Dropped, the message is out or it is not; never a part of it.
    pub async fn ready(&self) -> io::Result<()> {
        self.tell("READY=1").await
    }

    /// `STOPPING=1`: the drain has begun.
    ///
    /// # Errors
    /// The manager could not be told, which changes only what it shows.
    ///
    /// # Cancel safety
    /// As for [`Notifier::ready`].
    pub async fn stopping(&self) -> io::Result<()> {
        self.tell("STOPPING=1").await
    }

    /// `MAINPID=`: from now on the unit is that process, which this one started. Its messages count, and its end is the end
    /// of the unit.
    ///
    /// # Errors
    /// The manager could not be told: it would take the end of this process for the end of the unit.
    ///
    /// # Cancel safety
    /// As for [`Notifier::ready`].
    pub async fn main_pid(&self, pid: u32) -> io::Result<()> {
        self.tell(&format!("MAINPID={pid}")).await
    }

    /// `STATUS=`: a line for people, at most 1 KiB; more is cut off, and line breaks become spaces.
    ///
    /// # Errors
    /// The manager could not be told, which changes only what it shows.
    ///
    /// # Cancel safety
    /// As for [`Notifier::ready`].
    pub async fn status(&self, text: &str) -> io::Result<()> {
        // A line break would begin another message, such as `READY=1`.
        let mut line = text.replace(['\n', '\r', '\0'], " ");
        line.truncate(line.floor_char_boundary(STATUS_SIZE_BYTES_MAX));
        self.tell(&format!("STATUS={line}")).await
    }

    /// Pings the manager (`WATCHDOG=1`) at once and then every half of `timeout`, for as long as `is_alive` says so;
    /// otherwise it keeps silent and asks again. When nothing was heard for all of `timeout`, the manager kills the process
    /// and starts it again. `timeout` comes from [`watchdog_timeout`].
    ///
    /// That the runtime turns is proved by the ping itself. `is_alive` must answer at once and should be about what a
    /// restart would cure: a store that hangs, not a database that is away.
    ///
    /// Without a manager it never resolves. Otherwise it resolves when a ping could not be sent: report the error, wait
    /// less than half of `timeout`, and call it again.
    ///
    /// # Cancel safety
    /// Dropping the future ends the pings, and so, soon, the process. Stop it last.
    pub async fn watchdog(&self, timeout: Duration, mut is_alive: impl FnMut() -> bool) -> io::Error {
        if !self.is_heard() {
            return std::future::pending().await;
        }
        loop {
            if is_alive()
                && let Err(error) = self.tell("WATCHDOG=1").await
            {
                return error;
            }
            // A timeout of a microsecond must not become a loop without a pause.
            tokio::time::sleep((timeout / 2).max(Duration::from_millis(1))).await;
        }
    }

    async fn tell(&self, message: &str) -> io::Result<()> {
        let Some(to) = &self.to else { return Ok(()) };
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.connect(&address(to)?)?;
        socket.set_nonblocking(true)?;
        let sent = UnixDatagram::from_std(socket.into())?.send(message.as_bytes()).await?;
        if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Other kinds of address, such as `vsock:` of virtual machines, are an error and not silence.
fn address(to: &OsStr) -> io::Result<SockAddr> {
    match to.as_bytes() {
        [b'/', ..] => SockAddr::unix(to),
        [b'@', name @ ..] => SockAddr::unix(OsString::from_vec([b"\0", name].concat())),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "NOTIFY_SOCKET is neither a path nor @NAME")),
    }
}

/// After how long without a ping the manager gives this process up; `None` when it does not watch.
///
/// `usec` and `pid` are the values of `WATCHDOG_USEC`, microseconds, and `WATCHDOG_PID`: when that names another process,
/// the variables were meant for it.
#[must_use]
pub fn watchdog_timeout(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let usec = usec.and_then(|usec| usec.parse().ok()).filter(|usec| ours && *usec > 0)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests;
