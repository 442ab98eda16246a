//! Why there is no successor.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a successor did not take over, in one sentence for the operator. The process goes on as if nobody had asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandoverError {
    /// Another one already did.
    Done,
    /// This process has not taken over from its own predecessor yet.
    NotServing,
    /// This is process 1, with which its container ends.
    FirstProcess,
    /// Nothing is listened on.
    NoSocket,
    /// The program cannot be started.
    Start(io::Error),
    /// It ended before it was ready.
    Exited(ExitStatus),
    /// It closed the connection between the two, and lived on; a program that knows nothing of a predecessor does.
    Closed,
    /// It was not ready in time.
    Silent(Duration),
    /// The service manager could not be told of it.
    Supervisor(io::Error),
}

impl HandoverError {
    /// The cause in one word, for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotServing => "not_serving",
            Self::FirstProcess => "first_process",
            Self::NoSocket => "no_socket",
            Self::Start(_) => "start",
            Self::Exited(_) => "exited",
            Self::Closed => "closed",
            Self::Silent(_) => "silent",
            Self::Supervisor(_) => "supervisor",
        }
    }
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("a successor has already taken over"),
            Self::NotServing => f.write_str("this process has not taken over from its own predecessor yet"),
            Self::FirstProcess => f.write_str(
                "this is process 1, with which its container ends: start another container instead",
            ),
            Self::NoSocket => f.write_str("there is no listening socket to pass on"),
            Self::Start(error) => write!(f, "the successor cannot be started: {error}"),
            Self::Exited(status) => {
                write!(f, "the successor ended before it was ready: {status}; its log says why")
            }
            Self::Closed => f.write_str("the successor does not take over from a predecessor"),
            Self::Silent(max) => write!(f, "the successor was not ready within {max:?}"),
            Self::Supervisor(error) => write!(f, "the service manager cannot be told: {error}"),
        }
    }
}

impl Error for HandoverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(error) | Self::Supervisor(error) => Some(error),
            _ => None,
        }
    }
}
