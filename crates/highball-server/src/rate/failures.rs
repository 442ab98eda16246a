//! How often one address may show tokens that are refused.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use highball_auth::token::Shown;
use highball_auth::{Denial, Guard};
use highball_core::{Code, Peer, Rpc, Status};
use highball_telemetry::{Event, Limit, Telemetry};
use http::HeaderMap;
use tokio::time::Instant;

use super::{Budgets, Rates};

/// Rates of tokens that are refused after their signature was checked, by the address that sends them. A check costs tens of
/// microseconds of CPU, and whoever forges tokens decides how often. Beyond it, tokens that are not remembered as good are
/// not looked at, and their RPCs are RESOURCE_EXHAUSTED with the time to wait; good ones that are known go on, and so do RPCs
/// without a token. Behind a proxy that does not name its clients (PROXY protocol) all of them are one address. Unix sockets
/// have none, and are not limited. An IPv6 address counts as its /64, which is what one customer gets.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedTokens {
    /// Refused tokens an address may send each second, over time. Must be positive. Default 50: a few thousandths of one CPU.
    pub per_second: f64,
    /// Refused tokens it may send at once after a pause. Default 100.
    pub burst: u32,
}

impl Default for FailedTokens {
    fn default() -> Self {
        Self { per_second: 50.0, burst: 100 }
    }
}

impl FailedTokens {
    /// What cannot work, for the list of all problems.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let least = Rates::PER_SECOND_MIN;
        if !(self.per_second.is_finite() && self.per_second >= least) {
            problems
                .push(format!("failed_tokens.per_second is {}; set it to {least} or more", self.per_second));
        }
        if self.burst == 0 {
            problems
                .push("failed_tokens.burst is 0, so no token would be looked at; set it to 100".to_owned());
        }
        problems
    }
}

/// The budgets of addresses that failed lately. Bounded as those of callers are.
#[derive(Debug)]
pub(crate) struct Failures {
    budgets: Budgets,
    telemetry: Telemetry,
    started: Instant,
    /// Milliseconds after `started` at which every budget is full again: until somebody fails, an RPC pays for one load.
    all_full_at: AtomicU64,
}

impl Failures {
    pub(crate) fn new(rates: &FailedTokens, telemetry: Telemetry) -> Self {
        let budgets = Budgets::new(Rates::new(rates.per_second, rates.burst), telemetry.clone());
        Self { budgets, telemetry, started: Instant::now(), all_full_at: AtomicU64::new(0) }
    }

    /// Whether a token of this RPC may be looked at.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED naming the setting and when to come back.
    pub(crate) fn check(
        &self,
        guard: &Guard,
        rpc: &Rpc,
        headers: &HeaderMap,
        shown: &Shown,
    ) -> Result<(), Status> {
        if self.millis(rpc.started) >= self.all_full_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(address) = address(&rpc.connection.peer) else { return Ok(()) };
        let Some(wait) = self.budgets.short_of(address, rpc.started) else { return Ok(()) };
        if !guard.would_verify(headers, shown, rpc.started) {
            return Ok(());
        }
        self.telemetry.report(&Event::LimitHit { limit: Limit::FailedTokens });
        let sentence = "too many refused tokens from this address (failed_tokens)";
        Err(Status::new(Code::ResourceExhausted, sentence).with_retry_after(wait))
    }

    /// Takes the price of a refused token from the budget of its sender, if it cost a signature check.
    pub(crate) fn count(&self, rpc: &Rpc, denial: &Denial) {
        if !denial.reason.is_after_signature_check() {
            return;
        }
        let Some(address) = address(&rpc.connection.peer) else { return };
        // Whoever was looked at together with the one that took the last of it is over already.
        self.budgets.spend(address, 1, rpc.started).ok();
        let full = rpc.started + self.budgets.refill();
        self.all_full_at.fetch_max(self.millis(full), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a budget is kept under.
fn address(peer: &Peer) -> Option<IpAddr> {
    let Peer::Tcp(addr) = peer else { return None };
    Some(match addr.ip().to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_or_a_customers_network() {
        let of = |text: &str| address(&Peer::Tcp(text.parse().unwrap()));
        assert_eq!(of("10.0.0.1:1"), of("[::ffff:10.0.0.1]:2"));
        assert_ne!(of("10.0.0.1:1"), of("10.0.0.2:1"));
        assert_eq!(of("[2001:db8:1:2:3::1]:1"), of("[2001:db8:1:2:4::2]:2"));
        assert_ne!(of("[2001:db8:1:2::1]:1"), of("[2001:db8:1:3::1]:1"));
        assert_eq!(address(&Peer::Unix(None)), None);
    }
}
