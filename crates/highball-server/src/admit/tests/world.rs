//! A service of a known capacity behind [`Admission`], in virtual time and from a seed: every number is the same in every
//! run, and no timer runs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::caller::Caller;
use highball_core::{Code, Connection, Deadline, DeadlineOrigin, Dialect, Method, MethodKind, Peer, Rpc};
use highball_net::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Os, Platform};
use highball_telemetry::{Occupancy, Telemetry};
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::admit::{Admission, Lane, Permit, Priority};
use crate::{AdaptiveConcurrency, MethodSettings, Settings};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A unary method of normal priority.
pub(super) const GET: Lane = lane(Priority::Normal, Some(0));
/// Another one.
pub(super) const LIST: Lane = lane(Priority::Normal, Some(1));

pub(super) const fn lane(priority: Priority, unary: Option<usize>) -> Lane {
    Lane { priority, unary }
}

/// Random bits from a seed.
#[derive(Debug)]
pub(super) struct Seed(AtomicU64);

impl Seed {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }

    /// Between 0 and 1.
    pub(super) fn uniform(&self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed around `mean`, as service times often are.
    pub(super) fn exponential(&self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.uniform()).ln())
    }
}

impl Platform for Seed {
    fn bind<'a>(&'a self, _: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect<'a>(&'a self, _: &'a Address, _: ConnectOptions) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        Os.lookup(name)
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        Os.lookup_txt(name)
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(super) fn fixed(max: usize) -> Settings {
    Settings { concurrent_rpcs_max: max, ..Settings::default() }
}

pub(super) fn adaptive() -> Settings {
    Settings { adaptive_concurrency: Some(AdaptiveConcurrency::default()), ..Settings::default() }
}

/// With a critical method, so that something is kept free for it.
pub(super) fn with_critical(settings: Settings) -> Settings {
    let pay = MethodSettings { priority: Some(Priority::Critical), ..MethodSettings::default() };
    Settings { methods: vec![pay], ..settings }
}

pub(super) fn admission(settings: &Settings, seed: Arc<Seed>) -> Admission {
    let unary = ["a.B/Get", "a.B/List"].map(str::to_owned);
    Admission::new(settings, &unary, Telemetry::new(), seed)
}

pub(super) fn rpc(started: Instant, allowed: Option<Duration>) -> Rpc {
    let method = Method::parse(&PathAndQuery::from_static("/a.B/Get")).expect("a literal");
    let connection = Connection { id: 1, peer: Peer::Unix(None), caller: Caller::default() };
    Rpc {
        method,
        kind: MethodKind::Unary,
        dialect: Dialect::Grpc,
        deadline: allowed.map(|allowed| Deadline::after(started, allowed, DeadlineOrigin::Caller)),
        caller: Caller::default(),
        started,
        connection: Arc::new(connection),
    }
}

/// What became of RPCs.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Latencies of those that were served, in the order in which they ended.
    pub(super) latencies: Vec<Duration>,
    pub(super) refused: u32,
    /// The lowest and highest limit that was in force.
    pub(super) limits: (u64, u64),
}

impl Tally {
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
    }

    /// How many ended within `patience`.
    pub(super) fn good(&self, patience: Duration) -> usize {
        self.latencies.iter().filter(|latency| **latency <= patience).count()
    }
}

/// One stream of calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) lane: Lane,
    pub(super) per_second: f64,
    /// How long one keeps a worker busy, on average.
    pub(super) work: Duration,
}

pub(super) struct World {
    pub(super) admission: Admission,
    pub(super) seed: Arc<Seed>,
    pub(super) now: Instant,
    /// Workers take one RPC at a time, first come first served, and do not notice when a caller has left.
    pub(super) workers: usize,
    /// Whether service times vary.
    pub(super) noisy: bool,
    /// When callers leave.
    pub(super) deadline: Option<Duration>,
    free: BinaryHeap<Reverse<Instant>>,
    ends: BTreeMap<(Instant, u64), (Permit, Rpc, Code)>,
    count: u64,
}

impl World {
    pub(super) fn new(settings: &Settings, workers: usize, seed: u64) -> Self {
        let seed = Seed::new(seed);
        let admission = admission(settings, seed.clone());
        let (free, ends, now) = (BinaryHeap::new(), BTreeMap::new(), Instant::now());
        Self { admission, seed, now, workers, noisy: false, deadline: None, free, ends, count: 0 }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        self.admission.adaptive.as_ref().map(|adaptive| adaptive.occupancy()).unwrap_or_default()
    }

    pub(super) fn limit(&self) -> u64 {
        self.occupancy().limit
    }

    pub(super) fn baseline(&self, lane: Lane) -> Option<Duration> {
        let adaptive = self.admission.adaptive.as_ref()?;
        adaptive.methods[lane.unary?].baseline()
    }

    /// One kind of call for some time.
    pub(super) fn run(&mut self, time: Duration, load: Load) -> Tally {
        self.run_all(time, &[load]).remove(0)
    }

    /// Several kinds of calls for some time, by a Poisson process each. What has not ended by then is left in flight.
    pub(super) fn run_all(&mut self, time: Duration, loads: &[Load]) -> Vec<Tally> {
        let until = self.now + time;
        let mut tallies = vec![Tally { limits: (u64::MAX, 0), ..Tally::default() }; loads.len()];
        let gap = |seed: &Seed, load: &Load| seed.exponential(SECOND.div_f64(load.per_second));
        let mut next: Vec<Instant> = loads.iter().map(|load| self.now + gap(&self.seed, load)).collect();
        while let Some((kind, at)) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at) {
            if at > until {
                break;
            }
            next[kind] = at + gap(&self.seed, &loads[kind]);
            self.end_before(at, loads, &mut tallies);
            self.now = at;
            let limit = self.limit();
            let (low, high) = tallies[kind].limits;
            tallies[kind].limits = (low.min(limit), high.max(limit));
            match self.admission.admit(loads[kind].lane) {
                Ok(permit) => self.serve(permit, &loads[kind]),
                Err(_) => tallies[kind].refused += 1,
            }
        }
        self.end_before(until, loads, &mut tallies);
        self.now = until;
        tallies
    }

    fn serve(&mut self, permit: Permit, load: &Load) {
        // Workers that are gone finish what they have.
        while self.free.len() > self.workers
            || self.free.peek().is_some_and(|Reverse(free)| *free <= self.now)
        {
            self.free.pop();
        }
        let work = if self.noisy { self.seed.exponential(load.work) } else { load.work };
        let begins = if self.free.len() < self.workers {
            self.now
        } else {
            self.free.pop().map_or(self.now, |Reverse(at)| at)
        };
        let done = begins + work;
        self.free.push(Reverse(done));
        let leaves = self.deadline.map(|deadline| self.now + deadline).filter(|at| *at < done);
        let (end, code) = leaves.map_or((done, Code::Ok), |at| (at, Code::DeadlineExceeded));
        self.count += 1;
        let mut rpc = rpc(self.now, self.deadline);
        rpc.connection = Arc::new(Connection {
            id: load.lane.unary.unwrap_or_default() as u64,
            ..(*rpc.connection).clone()
        });
        self.ends.insert((end, self.count), (permit, rpc, code));
    }

    fn end_before(&mut self, at: Instant, loads: &[Load], tallies: &mut [Tally]) {
        while let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= at) {
            let ((end, _), (permit, rpc, code)) = first.remove_entry();
            let took = end - rpc.started;
            permit.end(&rpc, code, took);
            let of = |load: &Load| load.lane.unary.unwrap_or_default() as u64 == rpc.connection.id;
            if code == Code::Ok
                && let Some(kind) = loads.iter().position(of)
            {
                tallies[kind].latencies.push(took);
            }
        }
    }
}
