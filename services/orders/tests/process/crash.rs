//! `kill -9` in the middle of ten thousand orders.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::caller::{Caller, Failure, numbered};
use crate::program::Program;
use crate::rows;

const ORDERS: usize = 10_000;
const CLIENTS: usize = 32;

/// One request in so many has no key. When it gets no answer, only a look at the rows can tell whether to repeat it.
const KEYLESS: usize = 8;

/// Bounds the whole test; it takes a fraction of this.
const LIMIT: Duration = Duration::from_secs(120);

/// The key of a request that has one.
fn key(number: usize) -> Option<String> {
    (!number.is_multiple_of(KEYLESS)).then(|| format!("key-{number}"))
}

async fn create(caller: &Caller, number: usize) -> Result<String, Failure> {
    let (order, key) = (numbered(number, CLIENTS), key(number));
    caller.create(&order, key.as_deref()).await.map(|order| order.id)
}

/// What became of the requests that were sent.
#[derive(Default)]
struct Sent {
    answered: BTreeMap<usize, String>,
    unanswered: Vec<usize>,
}

/// All clients together send `requests`, each on a connection of its own and one after the other, until all are sent or
/// the program is gone. `answered` hears the count of answers.
async fn send(addr: SocketAddr, requests: &[usize], answered: impl Fn(usize)) -> Sent {
    let (next, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = async || {
        let caller = Caller::connect(addr).await;
        let mut sent = Sent::default();
        while let Some(&number) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            match create(&caller, number).await {
                Ok(id) => {
                    sent.answered.insert(number, id);
                    answered(answers.fetch_add(1, Ordering::Relaxed) + 1);
                }
                Err(Failure::Refused(status)) => panic!("request {number}: {status}"),
                Err(Failure::NotSent | Failure::Lost(_)) => {
                    sent.unanswered.push(number);
                    break;
                }
            }
        }
        sent
    };
    let mut all = Sent::default();
    for sent in join_all((0..CLIENTS).map(|_| client())).await {
        all.answered.extend(sent.answered);
        all.unanswered.extend(sent.unanswered);
    }
    all
}

/// Every answered order is what was ordered.
async fn read_back(addr: SocketAddr, answered: &BTreeMap<usize, String>) {
    let answered: Vec<(&usize, &String)> = answered.iter().collect();
    let readers = answered.chunks(answered.len().div_ceil(CLIENTS)).map(async |some| {
        let caller = Caller::connect(addr).await;
        for (number, id) in some {
            let order = caller.get(id).await;
            let order = order.unwrap_or_else(|failure| panic!("request {number}: {failure}"));
            let wanted = numbered(**number, CLIENTS);
            assert_eq!((order.user_id, order.items), (wanted.user_id, wanted.items));
        }
    });
    join_all(readers).await;
}

/// Repeats what got no answer and has a key, twice: both times it must be the same order.
async fn retry(addr: SocketAddr, unanswered: &[usize]) -> BTreeMap<usize, String> {
    let caller = Caller::connect(addr).await;
    let mut retried = BTreeMap::new();
    for &number in unanswered.iter().filter(|number| key(**number).is_some()) {
        let id = create(&caller, number).await.unwrap();
        assert_eq!(create(&caller, number).await.unwrap(), id);
        retried.insert(number, id);
    }
    retried
}

/// Exactly one row for each request that was answered, with the identifier of the answer.
fn check(rows: &BTreeMap<usize, Vec<String>>, answered: &BTreeMap<usize, String>) {
    for (number, id) in answered {
        let found = rows.get(number).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(found, std::slice::from_ref(id), "request {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_loses_no_answered_order_and_retries_make_no_second_one() {
    let done = tokio::time::timeout(LIMIT, kill_and_finish()).await;
    println!("{}", done.unwrap_or_else(|_| panic!("not within {LIMIT:?}")));
}

/// The whole story; answers when the program was killed.
async fn kill_and_finish() -> String {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<usize> = (0..ORDERS).collect();
    let moment = 3_500 + usize::try_from(RandomState::new().hash_one(0) % 1_000).unwrap();
    let victim = Program::start(dir.path()).await;
    let (addr, enough) = (victim.addr(), Notify::new());
    let tell = |answers| {
        if answers == moment {
            enough.notify_one();
        }
    };
    let (sent, killed) = tokio::join!(send(addr, &all, tell), async {
        enough.notified().await;
        victim.kill().await
    });
    let report = format!(
        "killed after {moment} of {} answers, {} requests under way",
        sent.answered.len(),
        sent.unanswered.len()
    );
    assert_eq!(killed.status.code(), None, "a signal ended it; {report}");
    assert!((moment..ORDERS).contains(&sent.answered.len()), "{report}");

    let program = Program::start(dir.path()).await;
    read_back(program.addr(), &sent.answered).await;
    let retried = retry(program.addr(), &sent.unanswered).await;
    program.stop().await;

    let rows = rows::read(dir.path()).await;
    let mut answers = sent.answered;
    answers.extend(retried);
    check(&rows, &answers);
    // What else there is was under way without a key when the program died.
    for (number, ids) in rows.iter().filter(|(number, _)| !answers.contains_key(number)) {
        let was_under_way = sent.unanswered.contains(number) && key(*number).is_none();
        assert!(was_under_way && ids.len() == 1, "request {number}: {ids:?}; {report}");
    }

    let rest: Vec<usize> = all.iter().copied().filter(|number| !rows.contains_key(number)).collect();
    let program = Program::start(dir.path()).await;
    let sent = send(program.addr(), &rest, |_| {}).await;
    assert_eq!((sent.answered.len(), sent.unanswered.len()), (rest.len(), 0));
    program.stop().await;
    answers.extend(sent.answered);

    let rows = rows::read(dir.path()).await;
    check(&rows, &answers);
    assert_eq!(rows.len(), ORDERS, "{report}");
    let orders: usize = rows.values().map(Vec::len).sum();
    assert_eq!(orders, ORDERS, "{report}");
    report
}
