//! Backends that are killed, restarted and drained under load.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highball::{Code, Status};
use highball_testkit::Client;
use tokio::task::JoinSet;

use super::peer::until;
use super::process::Process;
use super::world::{File, World};
use super::{GET, HELLO, WATCH};

/// Callers of each kind, each with one call in flight at most.
const CALLERS: usize = 6;

/// What callers saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    /// Each answer is the process that gave it.
    answers: Mutex<Vec<u32>>,
    idempotent: AtomicU64,
    others: AtomicU64,
    /// Calls of methods that may be repeated, which failed.
    broken: Mutex<Vec<Status>>,
    /// Calls of others, which failed.
    lost: Mutex<Vec<Status>>,
}

struct Load {
    seen: Arc<Seen>,
    callers: JoinSet<()>,
}

impl Load {
    /// Callers on one connection to the edge, of these methods.
    async fn start(edge: &World, paths: &[&'static str]) -> Self {
        let (client, seen) = (Arc::new(edge.client().await), Arc::<Seen>::default());
        let mut callers = JoinSet::new();
        for path in paths {
            for caller in 0..CALLERS {
                callers.spawn(calls(client.clone(), path, caller, seen.clone()));
            }
        }
        Self { seen, callers }
    }

    /// Waits until this process has answered from now on.
    async fn answered_by(&self, process: &Process) {
        self.seen.answers.lock().unwrap().clear();
        until("the process answers", || self.seen.answers.lock().unwrap().contains(&process.pid())).await;
    }

    async fn stop(mut self) -> Arc<Seen> {
        self.seen.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        self.seen
    }
}

/// One call after the other; every second caller's are under way for a while.
async fn calls(client: Arc<Client>, path: &'static str, caller: usize, seen: Arc<Seen>) {
    let headers: &[(&str, &str)] = if caller.is_multiple_of(2) { &[("slow", "1")] } else { &[] };
    while !seen.over.load(Ordering::SeqCst) {
        let reply = client.call(path, headers, &[b"who?"]).await;
        let (count, failed) = match path {
            HELLO => (&seen.idempotent, &seen.broken),
            _ => (&seen.others, &seen.lost),
        };
        count.fetch_add(1, Ordering::SeqCst);
        let status = reply.status();
        if status.code() == Code::Ok {
            let pid = String::from_utf8_lossy(&reply.messages[0]).parse().unwrap();
            seen.answers.lock().unwrap().push(pid);
        } else {
            failed.lock().unwrap().push(status);
        }
        // A caller that fails at once must not fill the machine.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn take(statuses: &Mutex<Vec<Status>>) -> Vec<Status> {
    std::mem::take(&mut *statuses.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backend_costs_no_idempotent_call_and_of_others_what_was_in_flight() {
    let mut backends = Process::three().await;
    let edge = File::to(&Process::addrs(&backends)).ready().await;
    let load = Load::start(&edge, &[HELLO, GET, WATCH]).await;
    for backend in &backends {
        load.answered_by(backend).await;
    }
    let [doomed, _, steady] = &mut backends;
    doomed.kill().await;
    // What was in flight has failed by now, and the rest goes on.
    for _ in 0..20 {
        load.answered_by(steady).await;
    }
    let lost = take(&load.seen.lost);
    doomed.restart().await;
    load.answered_by(doomed).await;
    let seen = load.stop().await;
    let others = seen.others.load(Ordering::SeqCst);
    println!(
        "{} idempotent, none failed; {others} others, {} lost",
        seen.idempotent.load(Ordering::SeqCst),
        lost.len()
    );
    assert_eq!(take(&seen.broken), Vec::new());
    // Callers of two methods have one call in flight each.
    assert!(lost.len() <= 2 * CALLERS, "{lost:?}");
    for status in &lost {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the connection was lost"));
    }
    assert_eq!(take(&seen.lost), Vec::new(), "a restart loses nothing");
    edge.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_restarted_with_a_drain_one_after_the_other_cost_no_call_of_any_kind() {
    let mut backends = Process::three().await;
    let edge = File::to(&Process::addrs(&backends)).top("workers = 2").ready().await;
    let load = Load::start(&edge, &[HELLO, GET, WATCH]).await;
    for backend in &mut backends {
        load.answered_by(backend).await;
        assert!(backend.terminate().await.success());
        backend.restart().await;
        load.answered_by(backend).await;
    }
    let seen = load.stop().await;
    println!("{:?} idempotent, {:?} others", seen.idempotent, seen.others);
    assert_eq!((take(&seen.broken), take(&seen.lost)), (Vec::new(), Vec::new()));
    edge.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_killed_one_after_the_other_cost_no_idempotent_call() {
    let mut backends = Process::three().await;
    let edge = File::to(&Process::addrs(&backends)).top("workers = 2").ready().await;
    let load = Load::start(&edge, &[HELLO, HELLO]).await;
    for backend in &mut backends {
        load.answered_by(backend).await;
        backend.kill().await;
        backend.restart().await;
        load.answered_by(backend).await;
    }
    let seen = load.stop().await;
    println!("{:?} idempotent calls, 3 kills", seen.idempotent);
    assert_eq!(take(&seen.broken), Vec::new());
    edge.drained().await;
}
