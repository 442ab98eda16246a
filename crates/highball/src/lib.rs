//! The production layer for gRPC. The one name a user depends on; it only re-exports.
//!
//! * [`Server`] hosts a service: see its example.
//! * [`Channel`] calls one: a target, however many endpoints it has.
//! * [`Telemetry`], [`Health`] and [`Drain`] are what an application shares with its server: counters of its own, the
//!   readiness of what it depends on, and the news that a drain has begun.
//! * [`current`] is the RPC being handled, wherever its handler calls: the time that is left, the trace, the end.
//! * [`core`] holds the nouns, [`net`] the listeners, [`telemetry`] the log.
//!
//! ```
//! use std::sync::Arc;
//!
//! let (telemetry, health, drain) = (highball::Telemetry::new(), highball::Health::new(), Arc::new(highball::Drain::new()));
//! let orders = telemetry.counter("orders_created", "Orders created");
//! let database = health.ready_when("database");
//! let draining = drain.listen();
//! // ... the service gets `orders`, `database` and `draining`; the server the rest:
//! // Server::new(service).with_telemetry(telemetry).with_health(health).with_drain(drain)
//! # database.up();
//! # orders.inc();
//! # assert!(!draining.has_begun());
//! ```

pub use highball_auth as auth;
pub use highball_channel as channel;
pub use highball_core as core;
pub use highball_gateway as gateway;
pub use highball_net as net;
pub use highball_server as server;
pub use highball_telemetry as telemetry;

pub use highball_channel::{Channel, ChannelError, WaitForReady};
pub use highball_core::{Body, BodyError, Code, Current, Rpc, Status, current};
pub use highball_net::{Drain, Draining, ListenAddr};
pub use highball_server::{BoundServer, Dependency, DrainReport, Health, Server, ServerError, Settings};
pub use highball_telemetry::{Counter, Telemetry};
