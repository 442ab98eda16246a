//! The real hyper, h2 and walk over simulated sockets and simulated time: a seed replays a partition.

mod keepalive;
mod names;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highball::{Body, ListenAddr, Server};
use highball_testkit::sim::Turmoil;
use highball_testkit::{Client, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::Request;
use turmoil::net::TcpStream;

const PORT: u16 = 50051;
const CALLS: u32 = 60;
/// Calls during which the server cannot be reached.
const PARTITION: std::ops::Range<u32> = 20..40;
/// Time a call gets, by `grpc-timeout` and by the client's own clock.
const PATIENCE: Duration = Duration::from_millis(200);

/// The server on the simulated host that calls this.
fn listen(server: Server) -> Server {
    let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
    server.with_platform(Arc::new(Turmoil)).listen(ListenAddr::Tcp(anywhere))
}

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, line: impl std::fmt::Display) {
    log.lock().expect("no test thread panicked").push(format!("{:?} {line}", turmoil::elapsed()));
}

/// One call, on a new connection if there is none.
async fn call(client: &mut Option<Client>) -> String {
    if client.is_none() {
        match TcpStream::connect(("server", PORT)).await {
            Ok(io) => *client = Some(Client::over(io).await),
            Err(error) => return format!("no connection: {error}"),
        }
    }
    let Some(client) = client else { unreachable!("set above") };
    client.call("/shop.v1.Shop/Get", &[("grpc-timeout", "200m")], &[b"ping"]).await.status().to_string()
}

/// One whole simulated world; what happened in it, line by line.
fn run(seed: u64) -> Vec<String> {
    let log = Log::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(40))
        .simulation_duration(Duration::from_secs(120))
        .build();
    let served = log.clone();
    sim.host("server", move || {
        let served = served.clone();
        async move {
            let answer = move |_: Request<Body>| {
                let served = served.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    note(&served, "served");
                    stub::messages(&[b"pong"])
                }
            };
            let server = Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS);
            listen(server).bind().await?.run(std::future::pending()).await;
            Ok(())
        }
    });
    let seen = log.clone();
    sim.client("client", async move {
        let mut client = None;
        for n in 0..CALLS {
            match n {
                n if n == PARTITION.start => turmoil::partition("client", "server"),
                n if n == PARTITION.end => turmoil::repair("client", "server"),
                _ => {}
            }
            let outcome = match tokio::time::timeout(PATIENCE, call(&mut client)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    // Simulated TCP does not retransmit across a partition: this connection is lost, as it would be to
                    // anybody who does not want to wait for the kernel.
                    client = None;
                    "gave up".to_owned()
                }
            };
            note(&seen, format!("call {n}: {outcome}"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    });
    sim.run().expect("the simulation ends by itself");
    let log = log.lock().expect("no test thread panicked");
    log.clone()
}

#[test]
fn a_partition_replays_identically_from_its_seed() {
    let first = run(7);
    assert_eq!(first, run(7), "the same seed is the same world");
    assert_ne!(first, run(8), "another seed is another world");
    let outcomes: Vec<&String> = first.iter().filter(|line| line.contains("call ")).collect();
    assert_eq!(outcomes.len(), CALLS as usize);
    let failed =
        |line: &str| ["gave up", "DEADLINE_EXCEEDED", "no connection"].iter().any(|what| line.contains(what));
    for (n, line) in (0..).zip(&outcomes) {
        match n {
            0..20 => assert!(line.contains("OK"), "before the partition: {line}"),
            20..40 => assert!(failed(line), "during the partition: {line}"),
            _ => assert!(line.contains("OK"), "after the partition, on a new connection: {line}"),
        }
    }
}
