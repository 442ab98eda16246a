//! Who calls, and may they.
//!
//! This room verifies bearer tokens ([`token`]), knows who calls ([`Authenticator`]) and decides what they may call
//! ([`policy`]). [`Guard`] is the two steps as one. What the connection proved (a client certificate, a Unix user) comes
//! from the listener, in a [`Caller`](highball_core::Caller); the token is added here. [`credentials`] are the other side: what
//! a channel presents with its calls.
//!
//! ```text
//!   headers ── Authenticator::authenticate ──> Caller ── Policy::authorise ──> the name of the rule that allowed it
//!                     │                                        │
//!                     └───────────────> Denial <───────────────┘   status for the peer; reason and rule for the audit log
//! ```
//!
//! It opens no socket: keys at a URL come through [`highball_net::fetch`], and [`token::JwksSource`] is where another fetcher
//! plugs in. It logs and counts nothing: a [`Denial`] carries the reason, [`Verifier::watch_keys`] tells what happens to the
//! keys, [`Credentials::watch`](credentials::Credentials::watch) what happens to credentials, and the reports hold the counts.
//!
//! ```
//! use highball_auth::{Authenticator, Guard, policy};
//! use highball_core::{Caller, Method};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let guard = Guard::new(Authenticator::anonymous(), policy::Policy::try_from(&policy::Settings::default()).unwrap());
//! let headers = http::HeaderMap::new();
//! let health = Method::parse(&"/grpc.health.v1.Health/Check".parse().unwrap()).unwrap();
//! let other = Method::parse(&"/shop.v1.Orders/Get".parse().unwrap()).unwrap();
//! assert!(guard.check(&health, &headers, Caller::default()).await.is_ok());
//! assert_eq!(guard.check(&other, &headers, Caller::default()).await.unwrap_err().reason.name(), "policy");
//! # }
//! ```
//!
//! Invariants: the peer never learns why; a token is accepted only by a key of its algorithm, with an `exp` that has not
//! passed; what nobody allowed is denied.

mod authenticator;
mod bearer;
pub mod credentials;
mod denial;
pub mod duration;
mod guard;
pub mod policy;
mod settings;
pub mod token;

#[cfg(test)]
mod testing;

pub use authenticator::Authenticator;
pub use denial::{Denial, Reason};
pub use guard::{Admitted, Guard};
pub use policy::{Decision, Policy};
pub use settings::{Settings, SettingsError};
pub use token::{Verifier, World};
