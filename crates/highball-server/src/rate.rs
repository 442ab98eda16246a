//! How often one caller may call.

mod failures;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highball_core::caller::Token;
use highball_core::{Caller, Code, Method, Rpc, Status};
use highball_telemetry::{Event, Limit, Telemetry};
use tokio::time::Instant;

pub use failures::FailedTokens;
pub(crate) use failures::Failures;

/// Rates of callers. A caller is told by its certificate, else its token, else its Unix user, else its address.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// RPCs a caller may make each second, over time. Not below [`PER_SECOND_MIN`](Self::PER_SECOND_MIN).
    pub per_second: f64,
    /// RPCs a caller may make at once after a pause.
    pub burst: u32,
    /// What a method costs: `package.Service/Method` or `package.Service/*`, and how many RPCs one of it counts for. The
    /// exact name wins; everything else costs 1. A weight above the burst can never be paid.
    pub weights: Vec<(String, u32)>,
    /// Callers that are remembered at once; default 100,000. A caller who has not called for long enough to have its full
    /// burst again is forgotten first. When all are busy, new callers share one budget.
    pub callers_max: usize,
}

impl Rates {
    /// About one RPC a day. Whoever wants less than that wants a rule; and times much longer do not fit a clock.
    pub const PER_SECOND_MIN: f64 = 0.000_01;

    /// `per_second` and `burst` for every caller, every method costing 1.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst, weights: Vec::new(), callers_max: 100_000 }
    }

    /// What cannot work, for the list of all problems.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let least = Self::PER_SECOND_MIN;
        if !(self.per_second.is_finite() && self.per_second >= least) {
            problems.push(format!("rates.per_second is {}; set it to {least} or more", self.per_second));
        }
        if self.burst == 0 || self.callers_max == 0 {
            problems.push("rates.burst and rates.callers_max must be at least 1".to_owned());
        }
        for (method, weight) in &self.weights {
            if *weight > self.burst {
                problems.push(format!(
                    "rates.weights: {method} costs {weight}, more than the burst of {}; raise the burst",
                    self.burst
                ));
            }
        }
        problems
    }
}

/// Budgets by the generic cell rate algorithm: one instant per caller, the moment at which its budget is full again. The
/// clock is tokio's, so that it stands still in a simulation; that is why no library keeps it.
#[derive(Debug)]
pub struct Budgets {
    rates: Rates,
    interval: Duration,
    weights: HashMap<String, u32>,
    hasher: RandomState,
    recent: Recent,
    /// By the hash of the caller. Its key is random and secret, so nobody can aim at the budget of another; that two of
    /// 100,000 callers share one by accident has a chance of one in three billion.
    shards: Vec<Mutex<Shard>>,
    /// The budget of all callers who find no place.
    shared: Mutex<Instant>,
    telemetry: Telemetry,
}

const SHARDS: usize = 16;

/// The hashes of the tokens that were charged last, by where they are in memory: hashing issuer and subject with a
/// secret takes longer than all the rest. It keeps these tokens alive, sixteen at most, so that no other can be where
/// they are.
#[derive(Debug, Default)]
struct Recent([Mutex<Option<(Arc<Token>, u64)>>; SHARDS]);

impl Recent {
    fn hash(&self, token: &Arc<Token>, hash: impl FnOnce() -> u64) -> u64 {
        // Allocations are a multiple of 16 bytes, mostly of more.
        let place = (Arc::as_ptr(token).addr() >> 6) % SHARDS;
        // Whoever finds it taken is quicker by hashing.
        let Ok(mut recent) = self.0[place].try_lock() else { return hash() };
        match &*recent {
            Some((known, hash)) if Arc::ptr_eq(known, token) => *hash,
            _ => {
                let hash = hash();
                *recent = Some((token.clone(), hash));
                hash
            }
        }
    }
}

/// When budgets are full again, by callers' hashes.
type Shard = HashMap<u64, Instant, BuildHasherDefault<Hashed>>;

/// The hash of what is a hash already. The shard is chosen by its lowest bits, the place in the table by others.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0.rotate_right(SHARDS.ilog2())
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Budgets {
    /// Full budgets for everybody. `rates` must be without [problems](Rates::problems). Refusals are reported to `telemetry`.
    #[must_use]
    pub fn new(rates: Rates, telemetry: Telemetry) -> Self {
        Self {
            interval: Duration::from_secs_f64(1.0 / rates.per_second),
            weights: rates.weights.iter().cloned().collect(),
            rates,
            hasher: RandomState::new(),
            recent: Recent::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shared: Mutex::new(Instant::now()),
            telemetry,
        }
    }

    /// Takes the price of one RPC from the caller's budget, as of its arrival.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED naming the setting and when to come back.
    pub fn take(&self, rpc: &Rpc) -> Result<(), Status> {
        let caller = || rpc.caller.key(&rpc.connection.peer);
        let key = match &rpc.caller {
            Caller { certificate: None, token: Some(token), .. } => {
                self.recent.hash(token, || self.hasher.hash_one(caller()))
            }
            _ => self.hasher.hash_one(caller()),
        };
        let spent = self.spend_by_hash(key, self.weight(&rpc.method), rpc.started);
        spent.map_err(|wait| self.refuse(wait))
    }

    /// The same from a budget that is kept under another key than the caller.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_from(&self, key: impl Hash, rpc: &Rpc) -> Result<(), Status> {
        self.spend(key, self.weight(&rpc.method), rpc.started).map_err(|wait| self.refuse(wait))
    }

    #[cfg(test)]
    fn charge(&self, method: &Method, caller: impl Hash, now: Instant) -> Result<(), Status> {
        self.spend(caller, self.weight(method), now).map_err(|wait| self.refuse(wait))
    }

    /// Takes `weight` from a budget, or says how long to wait for it.
    fn spend(&self, caller: impl Hash, weight: u32, now: Instant) -> Result<(), Duration> {
        self.spend_by_hash(self.hasher.hash_one(caller), weight, now)
    }

    fn spend_by_hash(&self, key: u64, weight: u32, now: Instant) -> Result<(), Duration> {
        let price = self.interval * weight;
        let index = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let mut shard = lock(&self.shards[index]);
        if let Some(full) = shard.get_mut(&key) {
            self.pay(full, price, now)
        } else if self.has_place(&mut shard, now) {
            self.pay(shard.entry(key).or_insert(now), price, now)
        } else {
            drop(shard);
            self.pay(&mut lock(&self.shared), price, now)
        }
    }

    /// How long a budget that has nothing left needs for one more; takes nothing.
    fn short_of(&self, caller: impl Hash, now: Instant) -> Option<Duration> {
        let key = self.hasher.hash_one(caller);
        let index = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let shard = lock(&self.shards[index]);
        let full = match shard.get(&key) {
            Some(full) => *full,
            None if shard.len() < self.shard_callers_max() => return None,
            None => *lock(&self.shared),
        };
        self.pay(&mut { full }, self.interval, now).err()
    }

    /// How long an empty budget takes to be full.
    fn refill(&self) -> Duration {
        self.interval * self.rates.burst
    }

    fn shard_callers_max(&self) -> usize {
        self.rates.callers_max.div_ceil(SHARDS)
    }

    /// Whether a caller can be remembered, after forgetting others when there are too many.
    fn has_place(&self, shard: &mut Shard, now: Instant) -> bool {
        let max = self.shard_callers_max();
        if shard.len() >= max {
            // Whoever has the full burst again is the same as somebody unknown.
            shard.retain(|_, full| *full > now);
        }
        shard.len() < max
    }

    /// Moves the moment of a full budget, unless it would be too far away; then how long to wait.
    fn pay(&self, full: &mut Instant, price: Duration, now: Instant) -> Result<(), Duration> {
        let next = (*full).max(now) + price;
        let latest = now + self.refill();
        if next > latest {
            return Err(next - latest);
        }
        *full = next;
        Ok(())
    }

    fn refuse(&self, wait: Duration) -> Status {
        self.telemetry.report(&Event::LimitHit { limit: Limit::Rate });
        let Rates { per_second, burst, .. } = &self.rates;
        let sentence = format!("more than {per_second} RPCs a second after a burst of {burst} (rates)");
        Status::new(Code::ResourceExhausted, sentence).with_retry_after(wait)
    }

    fn weight(&self, method: &Method) -> u32 {
        if self.weights.is_empty() {
            return 1;
        }
        let exact = self.weights.get(method.full_name());
        let of_service = || self.weights.get(&format!("{}/*", method.service()));
        exact.or_else(of_service).copied().unwrap_or(1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    fn method(path: &'static str) -> Method {
        Method::parse(&PathAndQuery::from_static(path)).unwrap()
    }

    fn key(n: u8) -> String {
        format!("caller {n}")
    }

    fn budgets(rates: Rates) -> Budgets {
        Budgets::new(rates, Telemetry::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_then_the_rate() {
        let budgets = budgets(Rates::new(10.0, 3));
        let take = || budgets.charge(&method("/a.B/C"), key(1), Instant::now());
        for _ in 0..3 {
            take().unwrap();
        }
        let refused = take().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.retry_after(), Some(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(100)).await;
        take().unwrap();
        assert!(take().is_err());
        budgets.charge(&method("/a.B/C"), key(2), Instant::now()).expect("another caller has its own budget");
    }

    #[tokio::test(start_paused = true)]
    async fn a_method_costs_its_weight_and_the_exact_name_wins() {
        let weights = vec![("a.B/*".to_owned(), 2), ("a.B/Cheap".to_owned(), 1)];
        let budgets = budgets(Rates { weights, ..Rates::new(1.0, 5) });
        let take = |path| budgets.charge(&method(path), key(1), Instant::now());
        take("/a.B/Dear").unwrap();
        take("/a.B/Dear").unwrap();
        assert!(take("/a.B/Dear").is_err());
        take("/a.B/Cheap").unwrap();
        assert!(take("/c.D/E").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_beyond_the_table_share_one_budget_until_places_are_free() {
        let rates = Rates { callers_max: SHARDS, ..Rates::new(1.0, 1) };
        let budgets = budgets(rates);
        let take = |n| budgets.charge(&method("/a.B/C"), key(n), Instant::now());
        let served = (0..=250).filter(|n| take(*n).is_ok()).count();
        assert!(served <= SHARDS + 1, "{served} of 251 callers were served");
        assert!(budgets.shards.iter().all(|shard| lock(shard).len() <= 1));
        tokio::time::advance(Duration::from_secs(2)).await;
        take(251).expect("the others have their full burst again and are forgotten");
    }

    #[test]
    fn rates_that_cannot_work_are_said_to_be() {
        let rates = Rates { weights: vec![("a.B/C".to_owned(), 9)], ..Rates::new(0.0, 3) };
        let problems = rates.problems().join("; ");
        assert!(problems.contains("per_second") && problems.contains("a.B/C costs 9"), "{problems}");
        let problems = Rates::new(1e-30, 1).problems().join("; ");
        assert!(problems.contains("set it to 0.00001 or more"), "{problems}");
    }
}
