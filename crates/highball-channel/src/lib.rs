//! Calls gRPC services through real load balancing.
//!
//! ```text
//!  resolver ── service config ── policy ── backends ── publishes ──▶ Picture (picker, config)
//!      └──────────── manager: the only writer ───────┘                  │ one atomic load
//!                                                     call::run ── pick ── attempt ── backend's connection
//! ```
//!
//! [`endpoint`] says where a service can be reached, [`backend`] is one endpoint with its connections and what is known of it,
//! [`balancer`] holds the policies that choose among backends, [`service_config`] what the service's owner wants
//! (grpc `doc/service_config.md`).

mod answer;
mod attempt;
pub mod backend;
pub mod balancer;
mod builder;
mod call;
mod channel;
mod connector;
pub mod endpoint;
pub mod explain;
mod health;
pub mod health_check;
mod hedge;
mod idempotency;
mod manager;
mod messages;
mod options;
mod orca;
mod outlier;
mod picture;
mod record;
mod replay;
mod reports;
pub mod resolver;
mod retry;
pub mod service_config;
mod settings;
pub mod state;
mod subchannel;
pub mod target;
mod throttle;

pub use builder::{Builder, ChannelError};
pub use channel::{Channel, WaitForReady};
pub use endpoint::{Address, Attributes, Endpoint};
pub use idempotency::DescriptorsError;
pub use options::CallOptions;
pub use resolver::{ResolveError, Resolver};
pub use service_config::{ServiceConfig, ServiceConfigError};
pub use settings::Settings;
pub use state::State;
pub use target::{Target, TargetError};
