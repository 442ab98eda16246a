//! Under systemd: sockets that outlive the process, and a word about how it is.
//!
//! * [`inherited()`] and [`Activated`]: socket activation. systemd listens, this process serves. A restart refuses nobody:
//!   while the old process drains and the new one starts, connections wait in the kernel.
//! * [`Notifier`]: `Type=notify` and `WatchdogSec=`.
//!
//! The environment is read by the binary, which passes the values on; nothing here looks at it.

mod activated;
mod inherited;
mod notifier;

pub use activated::Activated;
pub(crate) use inherited::passed;
pub use inherited::{ActivationError, Inherited, inherited};
pub use notifier::{Notifier, watchdog_timeout};

/// The descriptors that systemd passed, as the crate `listenfd` finds them.
///
/// `ListenFd::from_env()` reads `LISTEN_PID` and `LISTEN_FDS`, and then removes both so that no child takes them for its
/// own. Changing the environment is safe only while nobody else reads it: call it first in `main`, before the runtime and
/// every other thread.
pub use listenfd::ListenFd;
