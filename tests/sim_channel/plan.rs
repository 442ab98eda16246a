//! What shall happen in a world: its load and its faults.

use std::time::Duration;

use highball::Code;
use highball_testkit::sim::Random;

use crate::config::{Config, Method};

/// Everything that two runs of a seed have in common.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Servers there are.
    pub(crate) hosts: usize,
    /// Those the name leads to at first; in the end it leads to all.
    pub(crate) named: Vec<usize>,
    pub(crate) channels: usize,
    pub(crate) config: Config,
    /// Messages take 1 ms to this long.
    pub(crate) latency_max: Duration,
    /// How old connections grow.
    pub(crate) age_max: Duration,
    /// Streams a server takes on one connection.
    pub(crate) streams_max: u32,
    /// Of each channel.
    pub(crate) idle_timeout: Duration,
    pub(crate) endpoint_calls_max: usize,
    pub(crate) waiting_calls_max: usize,
    pub(crate) connections_max: usize,
    /// In the order in which they happen.
    pub(crate) faults: Vec<(Duration, Fault)>,
    pub(crate) calls: Vec<Call>,
    /// When everything is whole again.
    pub(crate) healed: Duration,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) at: Duration,
    pub(crate) channel: usize,
    pub(crate) method: Method,
    pub(crate) deadline: Option<Duration>,
    pub(crate) wait_for_ready: bool,
    /// The caller gives up then.
    pub(crate) dropped_after: Option<Duration>,
    /// Bytes of each message of a request.
    pub(crate) message_bytes: usize,
}

/// Something goes wrong, or right again.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Partition(usize),
    Repair(usize),
    Hold(usize),
    Release(usize),
    /// Messages to and from this server take so long.
    Latency(usize, Duration),
    Crash(usize),
    Bounce(usize),
    /// Drains, and starts again so long after it has ended.
    Restart(usize, Duration),
    Mood(usize, Mood),
    Health(usize, bool),
    Names(Vec<usize>),
    NoNames,
    NamesAgain,
}

/// What the code of a service does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    Well,
    Slow(Duration),
    /// So many of a hundred calls fail.
    Failing(Code, u64),
    /// Answers begin and break off.
    Breaking,
    Hanging,
}

/// How long a drawn world is in turmoil.
const TURMOIL: Duration = Duration::from_secs(5);

impl Plan {
    /// Servers that are well, and no calls yet.
    pub(crate) fn calm(seed: u64, hosts: usize, config: Config) -> Self {
        Self {
            seed,
            hosts,
            named: (0..hosts).collect(),
            channels: 1,
            config,
            latency_max: Duration::from_millis(10),
            age_max: Duration::from_secs(1800),
            streams_max: 1000,
            idle_timeout: Duration::from_secs(1800),
            endpoint_calls_max: 1024,
            waiting_calls_max: 10_000,
            connections_max: 1,
            faults: Vec::new(),
            calls: Vec::new(),
            healed: TURMOIL,
        }
    }

    /// Anything that may happen.
    pub(crate) fn draw(seed: u64) -> Self {
        let random = Random::new(seed);
        let hosts = random.of(1..5) as usize;
        let mut plan = Self::calm(seed, hosts, Config::draw(&random));
        plan.channels = random.of(1..3) as usize;
        plan.latency_max = random.millis(2..40);
        if random.percent(30) {
            plan.age_max = random.millis(1200..4000);
        }
        if random.percent(20) {
            plan.streams_max = random.of(1..5) as u32;
        }
        if random.percent(30) {
            plan.named = subset(&random, hosts);
        }
        if random.percent(20) {
            plan.idle_timeout = random.millis(200..1500);
        }
        // Enough for the hedges of one call.
        if random.percent(20) {
            plan.endpoint_calls_max = random.of(5..8) as usize;
        }
        if random.percent(20) {
            plan.waiting_calls_max = random.of(5..8) as usize;
        }
        if random.percent(30) {
            plan.connections_max = random.of(2..4) as usize;
        }
        for _ in 0..random.of(1..5) {
            let host = random.of(0..hosts as u64) as usize;
            let from = random.millis(100..4000);
            let until = from + random.millis(100..2000);
            plan.draw_fault(&random, host, from, until.min(TURMOIL));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        let load = random.fork();
        plan.calls = (0..load.of(20..80)).map(|id| plan.draw_call(&load, id)).collect();
        plan
    }

    /// The same, with all calls on one channel.
    pub(crate) fn with_one_channel(mut self) -> Self {
        self.channels = 1;
        self.calls.iter_mut().for_each(|call| call.channel = 0);
        self
    }

    fn draw_fault(&mut self, random: &Random, host: usize, from: Duration, until: Duration) {
        let (begin, end) = match random.of(0..10) {
            0 => (Fault::Partition(host), Fault::Repair(host)),
            1 => (Fault::Hold(host), Fault::Release(host)),
            2 => {
                (Fault::Latency(host, random.millis(50..400)), Fault::Latency(host, Duration::from_millis(5)))
            }
            3 => (Fault::Crash(host), Fault::Bounce(host)),
            4 => (Fault::Restart(host, random.millis(0..600)), Fault::Mood(host, Mood::Well)),
            5 | 6 => {
                // Trouble is seldom alone.
                let mood = mood(random);
                for other in subset(random, self.hosts) {
                    self.faults.push((from, Fault::Mood(other, mood)));
                    self.faults.push((until, Fault::Mood(other, Mood::Well)));
                }
                (Fault::Mood(host, mood), Fault::Mood(host, Mood::Well))
            }
            7 => {
                let mut at = from;
                let mut up = false;
                while at < until {
                    self.faults.push((at, Fault::Health(host, up)));
                    up = !up;
                    at += random.millis(50..500);
                }
                (Fault::Health(host, false), Fault::Health(host, true))
            }
            8 => (Fault::Names(subset(random, self.hosts)), Fault::Names(subset(random, self.hosts))),
            _ => (Fault::NoNames, Fault::NamesAgain),
        };
        self.faults.extend([(from, begin), (until, end)]);
    }

    fn draw_call(&self, random: &Random, id: u64) -> Call {
        // Every other call is under way when something happens.
        let (fault, _) = &self.faults[random.of(0..self.faults.len() as u64) as usize];
        let at = if random.percent(50) {
            fault.saturating_sub(random.millis(0..80))
        } else {
            random.millis(0..TURMOIL.as_millis() as u64)
        };
        Call {
            id,
            at,
            channel: random.of(0..self.channels as u64) as usize,
            method: random.choose(&Method::ALL),
            deadline: random.percent(75).then(|| random.millis(20..3000)),
            wait_for_ready: random.percent(40),
            dropped_after: random.percent(10).then(|| random.millis(0..500)),
            // Some are too large to be kept for another attempt.
            message_bytes: if random.percent(10) { 100 << 10 } else { random.of(0..4000) as usize },
        }
    }

    /// A unary call every `step` for as long as the turmoil lasts, on each channel in turn.
    pub(crate) fn load(&mut self, step: Duration, deadline: Option<Duration>) {
        let count = self.healed.as_millis() / step.as_millis();
        self.calls = (0..count as u32)
            .map(|n| Call {
                id: u64::from(n),
                at: step * n,
                channel: n as usize % self.channels,
                method: Method::Get,
                deadline,
                wait_for_ready: false,
                dropped_after: None,
                message_bytes: 10,
            })
            .collect();
    }
}

/// Some of all, at least one.
fn subset(random: &Random, hosts: usize) -> Vec<usize> {
    let one = random.of(0..hosts as u64) as usize;
    (0..hosts).filter(|host| *host == one || random.percent(50)).collect()
}

fn mood(random: &Random) -> Mood {
    match random.of(0..5) {
        0 => Mood::Slow(random.millis(200..1500)),
        1 => Mood::Hanging,
        2 => Mood::Breaking,
        _ => {
            let code =
                random.choose(&[Code::Unavailable, Code::Internal, Code::ResourceExhausted, Code::NotFound]);
            Mood::Failing(code, random.choose(&[20, 60, 100]))
        }
    }
}
