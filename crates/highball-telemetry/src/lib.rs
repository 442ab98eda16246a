//! What happened.
//!
//! A fact is one [`Event`]; its log line and its metrics are derived from it in one place, so they cannot disagree.
//! Rooms report facts to a [`Telemetry`]; nobody else writes an access log line or spells a metric name ([`names`]).
//!
//! ```
//! use highball_telemetry::{Event, Limit, Telemetry};
//!
//! let telemetry = Telemetry::new();
//! telemetry.report(&Event::LimitHit { limit: Limit::ConcurrentRpcs });
//! assert!(telemetry.render().contains("limit_hits_total{limit=\"concurrent_rpcs\"} 1"));
//! ```
//!
//! Invariants: label sets are closed: a method the descriptors do not list is `_OTHER`, so a scanner cannot grow the
//! registry. Metering an RPC takes no lock. It opens no socket; the log goes to
//! standard output through a bounded queue that drops and counts rather than blocks.

mod channel;
pub mod concurrency;
mod edge;
pub mod event;
mod limit;
pub mod log;
mod meter;
pub mod metrics;
pub mod names;
pub mod panics;
pub mod tokens;
pub mod trace;

pub use channel::{CallMeter, ChannelEvent, Ejection, Retry};
pub use concurrency::Occupancy;
pub use edge::{EdgeEvent, RouteMeter};
pub use event::{Event, RpcEnd};
pub use limit::Limit;
pub use meter::MethodMeter;
pub use metrics::{Counter, Telemetry};
pub use tokens::{JwksRefresh, Tokens};
pub use trace::TraceId;
