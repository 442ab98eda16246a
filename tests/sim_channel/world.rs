//! One simulated world, from a plan to what it leaves behind.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use highball_testkit::sim::{Names, Random};
use turmoil::Sim;

use crate::client;
use crate::host::{self, Host};
use crate::ledger::{Book, Ledger};
use crate::plan::{Fault, Mood, Plan};

/// The step of simulated time. Coarse, so that a world is quick and much happens at once.
const TICK: Duration = Duration::from_millis(5);
const CLIENT: &str = "client";

/// What all hosts of a simulation share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) names: Names,
    pub(crate) hosts: Vec<Arc<Host>>,
}

/// A world that takes longer than this on the clock on the wall is stuck in a loop that never waits.
const STUCK: Duration = Duration::from_secs(300);

/// Runs a plan to its end.
pub(crate) fn run(plan: Plan) -> Book {
    let (over, waiting) = mpsc::sync_channel::<()>(1);
    std::thread::scope(|scope| {
        let seed = plan.seed;
        scope.spawn(move || {
            if waiting.recv_timeout(STUCK) == Err(mpsc::RecvTimeoutError::Timeout) {
                stuck(seed);
            }
        });
        let book = watched(plan);
        drop(over);
        book
    })
}

/// Nothing else could end such a world.
fn stuck(seed: u64) -> ! {
    // Not what is captured of a test, which nobody would see.
    writeln!(std::io::stderr(), "seed {seed} has been running for {STUCK:?}").ok();
    std::process::abort()
}

fn watched(plan: Plan) -> Book {
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.latency_max)
        .simulation_duration(Duration::from_secs(180))
        .tcp_capacity(1024)
        .enable_random_order()
        .build();
    let (ledger, random) = (Arc::<Ledger>::default(), Random::new(!plan.seed));
    let hosts: Vec<_> =
        (0..plan.hosts).map(|number| Host::new(number, &plan, ledger.clone(), random.fork())).collect();
    for host in &hosts {
        let software = host.clone();
        sim.host(host.name.as_str(), move || software.clone().run());
    }
    let world = Arc::new(World { plan, ledger, names: Names::new(), hosts });
    world.name(&world.plan.named);
    sim.client(CLIENT, client::run(world.clone()));
    world.live(&mut sim);
    world.ledger.close()
}

impl World {
    fn live(&self, sim: &mut Sim<'_>) {
        let mut faults: VecDeque<_> = self.plan.faults.clone().into();
        let mut healed = false;
        loop {
            while faults.front().is_some_and(|(at, _)| *at <= sim.elapsed()) {
                let Some((_, fault)) = faults.pop_front() else { break };
                self.ledger.note_at(sim.elapsed(), format_args!("{fault:?}"));
                self.strike(sim, &fault);
            }
            if !healed && self.plan.healed <= sim.elapsed() {
                healed = true;
                self.ledger.note_at(sim.elapsed(), "all is whole");
                self.heal(sim);
            }
            match sim.step() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => return self.ledger.violation(format_args!("the simulation broke: {error}")),
            }
        }
    }

    fn strike(&self, sim: &mut Sim<'_>, fault: &Fault) {
        match fault {
            Fault::Partition(host) => sim.partition(CLIENT, self.at(*host)),
            Fault::Repair(host) => sim.repair(CLIENT, self.at(*host)),
            Fault::Hold(host) => sim.hold(CLIENT, self.at(*host)),
            Fault::Release(host) => sim.release(CLIENT, self.at(*host)),
            Fault::Latency(host, latency) => sim.set_link_latency(CLIENT, self.at(*host), *latency),
            Fault::Crash(host) => sim.crash(self.at(*host)),
            Fault::Bounce(host) => {
                if !sim.is_host_running(self.at(*host)) {
                    sim.bounce(self.at(*host));
                }
            }
            Fault::Restart(host, pause) => self.hosts[*host].restart(*pause),
            Fault::Mood(host, mood) => self.hosts[*host].set_mood(*mood),
            Fault::Health(host, serving) => self.hosts[*host].set_serving(*serving),
            Fault::Names(hosts) => self.name(hosts),
            Fault::NoNames => self.names.fail("nobody answers"),
            Fault::NamesAgain => self.names.mend(),
        }
    }

    fn heal(&self, sim: &mut Sim<'_>) {
        for number in 0..self.plan.hosts {
            sim.release(CLIENT, self.at(number));
            self.strike(sim, &Fault::Latency(number, Duration::from_millis(5)));
            self.strike(sim, &Fault::Bounce(number));
            self.strike(sim, &Fault::Mood(number, Mood::Well));
            self.strike(sim, &Fault::Health(number, true));
        }
        self.names.mend();
        self.name(&(0..self.plan.hosts).collect::<Vec<_>>());
    }

    fn at(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    fn name(&self, hosts: &[usize]) {
        let hosts: Vec<String> = hosts.iter().map(|number| host::name(*number)).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.names.set("shop", &hosts);
    }
}
