//! The edge between real sockets: backends that die, leave, lie and stall behind it, and clients that hide nothing in front.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod backend;
#[path = "../channel/peer.rs"]
#[allow(dead_code, reason = "the channel's tests need more of it")]
mod peer;
mod process;
#[path = "../channel/scripted.rs"]
#[allow(dead_code, reason = "the channel's tests need more of it")]
mod scripted;
mod world;

mod again;
mod crowd;
mod heads;
mod made;
mod mirroring;
mod pages;
mod quotas;
mod reload;
mod review;
mod routing;
mod secure;
mod simulated;

mod cancel;
mod deadlines;
mod deaths;
mod down;
mod goaway;
mod messages;
mod slow;
mod split;
mod statuses;

use std::time::Duration;

/// Unary; the descriptors do not say that it may be repeated.
const GET: &str = "/shop.v1.Shop/Get";
/// Server streaming.
const WATCH: &str = "/shop.v1.Shop/Watch";
/// Client streaming.
const UPLOAD: &str = "/shop.v1.Shop/Upload";
/// Bidirectional.
const CHAT: &str = "/shop.v1.Shop/Chat";
/// Unary, without side effects, as its descriptors say.
const HELLO: &str = "/greeter.Greeter/SayHello";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
