//! Bytes in and out.
//!
//! The only room that touches a socket. It owns the [`Platform`] (the one way to the outside), [`listen`]ing on TCP and
//! Unix sockets, the HTTP connection driver ([`http`]), the phases of a [`drain`], and the owners of [`tasks`].
//!
//! ```text
//!   Platform::bind -> Listener::poll_accept -> Io ---> http::drive(io, service) ---> service(Request<Incoming>)
//!                                                        |  told by Draining, ends by itself or by force
//! ```
//!
//! Invariants: everything that is spawned has an owner that stops it when dropped; a connection always ends, at the
//! latest when the drain is forced; time is `tokio::time`, so that the whole room runs under a simulated clock.
//! It does not know what an RPC is beyond the connection it came over.

mod address;
pub mod caps;
pub mod client;
mod connect;
pub mod dial;
pub mod drain;
pub mod fetch;
pub mod h2;
pub mod handover;
pub mod http;
mod inbound;
mod inbox;
pub mod listen;
pub mod names;
mod outbox;
pub mod platform;
pub mod proxy_protocol;
mod silence;
mod stream_task;
pub mod systemd;
pub mod tasks;
pub mod tls;
pub mod workers;

pub use address::Address;
pub use caps::Caps;
pub use connect::ConnectOptions;
pub use dial::{DialError, Dialer, Dialled};
pub use drain::{Drain, Draining, Phase};
pub use fetch::{FetchError, Fetcher};
pub use handover::Handover;
pub use inbound::Incoming;
pub use inbox::{TooMuchUnfinished, Unfinished};
pub use listen::{ListenAddr, ListenError};
pub use names::{Lookup, LookupError};
pub use platform::{Io, Listener, Os, Platform};
pub use stream_task::{Life, LifeLimit, Room};
pub use tasks::{Spawner, Tasks};
pub use tls::{ClientTls, ServerTls};
pub use workers::Workers;
