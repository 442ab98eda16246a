//! Hosts gRPC services.
//!
//! Give [`Server::new`] a tower service - a tonic `Routes`, a connectrpc service, your own - and it is hosted with limits,
//! deadlines, health, reflection behind a setting, metrics, one log line per RPC and a drain that always ends.
//!
//! ```text
//! listener -> accept -> net::http::drive -> rpc::handle -> your service
//!                                             |  recognise, record, deadline, admit, limit, guard, normalise
//! admin    -> accept -> net::http::drive -> /livez /readyz /metrics
//! ```
//!
//! Invariants: every RPC ends its record exactly once, with the status that was sent to its caller; a panic of the service is INTERNAL
//! and costs neither the connection nor the process; a response always ends with a status; a drain ends at the latest
//! [`Settings::lame_duck`] + [`Settings::drain_timeout`] + three seconds after the signal.
//!
//! Absent on purpose: it calls nobody (that is the channel), reads no argv, environment or settings file, and touches no
//! socket itself (that is net). What of the launch checklist is open, [`BoundServer::open_boxes`] says at every start. After the
//! signal was handled once, the process's own handling of SIGTERM and SIGINT stays replaced: what runs after
//! [`BoundServer::run_until_signal`] should be short.

mod accept;
mod admin;
mod admit;
mod builder;
mod checklist;
mod entrance;
mod health;
mod hosted;
mod keys;
mod leave;
mod limit;
mod limits;
mod message;
mod method_limits;
mod methods;
mod rate;
mod record;
mod reflection;
mod renew;
mod response;
mod rpc;
mod run;
mod settings;
mod stop;
mod upgrade;

pub use admin::AdminPages;
pub use admit::{AdaptiveConcurrency, Priority};
pub use builder::{Server, ServerError};
pub use checklist::{NotReady, OpenBox, Profile};
pub use health::{Dependency, Health};
pub use leave::DrainReport;
pub use limits::LimitInForce;
pub use method_limits::MethodSettings;
pub use methods::DescriptorError;
pub use rate::{Budgets, FailedTokens, Rates};
pub use run::BoundServer;
pub use settings::{Settings, SettingsError};

/// The messages of health and reflection, generated from `proto/`.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, clippy::pedantic)]
#[allow(elided_lifetimes_in_paths, let_underscore_drop, unused_qualifications)]
mod builtin {
    include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
}
