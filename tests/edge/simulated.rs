//! An edge in simulated time: a partition between it and one of three backends, under load.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highball::telemetry::Telemetry;
use highball::{Code, ListenAddr, Server};
use highball_edge::Edge;
use highball_edge::settings::read;
use highball_testkit::sim::{Names, Random, Turmoil};
use highball_testkit::{Client, leaks, stub};
use highball_tests::SHOP_DESCRIPTORS;
use tokio::sync::Notify;
use tokio::time::sleep;
use turmoil::net::TcpStream;

use super::GET;
use super::backend::answered;

const PORT: u16 = 50051;
const CUT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(40);
/// What callers ask for.
const DEADLINE: &str = "2S";
/// An edge asks a silent backend for a sign of life after ten seconds, and gives it one more.
const FOUND_OUT: Duration = Duration::from_secs(12);

/// What happened, line by line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: std::fmt::Arguments<'_>) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{at:?} {line}"));
    }
}

/// One call: when it began, and how it ended.
#[derive(Debug, Clone)]
struct Call {
    began: Duration,
    code: Code,
    /// Backends that saw it.
    seen: Vec<usize>,
}

#[derive(Clone, Default)]
struct Book {
    log: Log,
    calls: Arc<Mutex<BTreeMap<u64, Call>>>,
    seen: Arc<Mutex<BTreeMap<u64, Vec<usize>>>>,
    telemetries: Arc<Mutex<Vec<Telemetry>>>,
}

/// The lines of the log, and every call.
fn run(seed: u64, route: &str) -> (Vec<String>, Vec<Call>) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .simulation_duration(Duration::from_secs(120))
        .tcp_capacity(1024)
        .enable_random_order()
        .build();
    let (book, random, over) = (Book::default(), Random::new(seed), Arc::<Notify>::default());
    for nth in 0..3 {
        let (book, random) = (book.clone(), random.fork());
        sim.host(format!("b{nth}"), move || backend(nth, book.clone(), random.fork()));
    }
    let (kept, forked, told) = (book.clone(), random.fork(), over.clone());
    let file = format!(
        "[[listeners]]\naddress = '0.0.0.0:{PORT}'\n[clusters.shop]\ntarget = 'dns:///shop:{PORT}'\n\
         connect_timeout = '1s'\nkeepalive_time = '10s'\nkeepalive_timeout = '1s'\noutlier = false\n\
         [[routes]]\ncluster = 'shop'\n{route}\n[limits]\nlame_duck = '0s'\n"
    );
    sim.host("edge", move || edge(file.clone(), kept.clone(), forked.fork(), told.clone()));
    let caller = book.clone();
    sim.client("client", async move {
        let calls = load(&caller).await;
        over.notify_one();
        sleep(Duration::from_secs(5)).await;
        caller.calls.lock().unwrap().extend(calls);
        Ok(())
    });
    let (mut cut, mut whole) = (false, false);
    while !sim.step().unwrap() {
        if !cut && sim.elapsed() >= CUT {
            cut = true;
            sim.partition("edge", "b1");
        }
        if !whole && sim.elapsed() >= WHOLE {
            whole = true;
            sim.repair("edge", "b1");
        }
    }
    // What backends have is what a drain leaves; the edge has drained.
    for telemetry in &*book.telemetries.lock().unwrap() {
        leaks::check(telemetry);
    }
    let seen = book.seen.lock().unwrap().clone();
    let calls = book.calls.lock().unwrap().clone().into_iter();
    let calls = calls.map(|(id, call)| Call { seen: seen.get(&id).cloned().unwrap_or_default(), ..call });
    let calls = calls.collect();
    let lines = book.log.0.lock().unwrap().clone();
    (lines, calls)
}

async fn backend(nth: usize, book: Book, random: Random) -> turmoil::Result {
    let kept = book.clone();
    let answer = move |request: http::Request<highball::Body>| {
        let book = kept.clone();
        async move {
            let id = request.headers()["x-call"].to_str().unwrap().parse().unwrap();
            book.log.note(format_args!("b{nth} sees {id}"));
            book.seen.lock().unwrap().entry(id).or_default().push(nth);
            answered(request, format!("b{nth}").as_bytes()).await
        }
    };
    let platform = Turmoil.with_names(Names::new()).with_random(random);
    let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
    let server = Server::new(stub::service(answer))
        .with_descriptors(SHOP_DESCRIPTORS)
        .with_platform(Arc::new(platform))
        .listen(ListenAddr::Tcp(anywhere));
    server.bind().await?.run(std::future::pending()).await;
    Ok(())
}

async fn edge(file: String, book: Book, random: Random, over: Arc<Notify>) -> turmoil::Result {
    let names = Names::new();
    names.set("shop", &["b0", "b1", "b2"]);
    let telemetry = Telemetry::new();
    book.telemetries.lock().unwrap().push(telemetry.clone());
    let settings = read::read(&file, Path::new("/")).unwrap().settings;
    let edge = Edge::new(settings)
        .with_platform(Arc::new(Turmoil.with_names(names).with_random(random)))
        .with_telemetry(telemetry)
        .with_descriptors(SHOP_DESCRIPTORS)
        .without_workers();
    let report = edge.bind().await?.run(over.notified()).await;
    book.log.note(format_args!("the edge has drained: {} finished, {} cut", report.finished, report.cut));
    std::future::pending().await
}

/// Four callers, each with a call every 100 ms.
async fn load(book: &Book) -> BTreeMap<u64, Call> {
    // Until the edge listens and has found its backends.
    sleep(Duration::from_secs(1)).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..4_u64 {
        let book = book.clone();
        callers.spawn(async move {
            let io = TcpStream::connect(("edge", PORT)).await.unwrap();
            let client = Arc::new(Client::over(io).await);
            let mut calls = tokio::task::JoinSet::new();
            let mut id = caller * 1_000_000;
            while turmoil::sim_elapsed().unwrap_or_default() < END {
                sleep(Duration::from_millis(100)).await;
                id += 1;
                let (client, book, id) = (client.clone(), book.clone(), id);
                calls.spawn(async move {
                    let began = turmoil::sim_elapsed().unwrap_or_default();
                    let headers = [("x-call", &*id.to_string()), ("grpc-timeout", DEADLINE)];
                    let code = client.call(GET, &headers, &[b"hello"]).await.code();
                    book.log.note(format_args!("{id} ends {code:?}"));
                    (id, Call { began, code, seen: Vec::new() })
                });
            }
            calls.join_all().await
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

#[test]
fn a_partition_from_one_of_three_backends_loses_only_what_was_sent_into_it() {
    let (_, calls) = run(7, "");
    let lost: Vec<&Call> = calls.iter().filter(|call| call.code != Code::Ok).collect();
    assert!(calls.len() > 1200 && !lost.is_empty(), "{} of {} lost", lost.len(), calls.len());
    for call in &lost {
        // No other backend has seen it: it was on its way to the one that is cut off, before that was found out.
        assert!(call.seen.iter().all(|backend| *backend == 1), "{call:?}");
        let span = CUT - Duration::from_secs(2)..CUT + FOUND_OUT;
        assert!(span.contains(&call.began), "{call:?}");
    }
    // A third of the calls of that time.
    let meanwhile = calls.iter().filter(|call| (CUT..CUT + FOUND_OUT).contains(&call.began)).count();
    assert!(lost.len() <= meanwhile / 2, "{} of {meanwhile} lost", lost.len());
    // Once it is whole, it is used again.
    let after = calls.iter().filter(|call| call.began > WHOLE + Duration::from_secs(15));
    assert!(after.clone().count() > 100 && after.clone().any(|call| call.seen == [1]));
}

#[test]
fn a_partition_loses_nothing_where_the_route_tries_elsewhere() {
    let retry = "retry = { attempts = 3, codes = ['UNAVAILABLE', 'DEADLINE_EXCEEDED'], per_attempt_timeout = '500ms', backoff = '10ms' }";
    let (_, calls) = run(11, retry);
    let lost: Vec<&Call> = calls.iter().filter(|call| call.code != Code::Ok).collect();
    assert!(calls.len() > 1200 && lost.is_empty(), "{} of {}: {lost:?}", lost.len(), calls.len());
}

#[test]
fn the_same_seed_makes_the_same_log() {
    let (one, two) = (run(42, "").0, run(42, "").0);
    assert!(one.len() > 1200);
    for (nth, (one, two)) in one.iter().zip(&two).enumerate() {
        assert_eq!(one, two, "line {nth}");
    }
    assert_eq!(one.len(), two.len());
    assert_ne!(one, run(43, "").0);
}
