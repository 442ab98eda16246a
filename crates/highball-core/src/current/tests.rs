//! Scopes, what is inherited, and what counts as work for nobody.

#![expect(clippy::disallowed_methods, reason = "tasks of tests, which are awaited or end with the runtime")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use http::uri::PathAndQuery;
use tokio::time::{advance, sleep};

use super::*;
use crate::{Caller, Connection, DeadlineOrigin, Dialect, Method, MethodKind, Peer};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Seen(Mutex<Vec<Waste>>);

impl Observer for Seen {
    fn wasted(&self, waste: Waste) {
        self.0.lock().unwrap().push(waste);
    }
}

impl Seen {
    fn take(&self) -> Vec<Waste> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn rpc(allowed: Option<Duration>) -> Rpc {
    let started = Instant::now();
    Rpc {
        method: Method::parse(&PathAndQuery::from_static("/shop.v1.Orders/Get")).unwrap(),
        kind: MethodKind::Unary,
        dialect: Dialect::Grpc,
        deadline: allowed.map(|allowed| Deadline::after(started, allowed, DeadlineOrigin::Caller)),
        caller: Caller::default(),
        started,
        connection: Arc::new(Connection { id: 1, peer: Peer::Unix(None), caller: Caller::default() }),
    }
}

/// An RPC with `allowed` to go, and what was observed of it.
fn begun(allowed: Option<Duration>) -> (Current, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (Current::new(rpc(allowed), None, seen.clone()).shared(), seen)
}

/// The time the current RPC was allowed.
fn allowed() -> Option<Duration> {
    deadline().map(|deadline| deadline.allowed())
}

#[tokio::test(start_paused = true)]
async fn scopes_nest_and_end_with_the_poll_that_opened_them() {
    let (outer, inner) = (begun(Some(SECOND)).0, begun(Some(2 * SECOND)).0);
    assert!(capture().is_none());
    outer.within(|| {
        assert_eq!(allowed(), Some(SECOND));
        inner.within(|| assert_eq!(allowed(), Some(2 * SECOND)));
        assert_eq!(allowed(), Some(SECOND));
        catch_unwind(AssertUnwindSafe(|| inner.within(|| panic!("a handler")))).unwrap_err();
        assert_eq!(allowed(), Some(SECOND));
    });
    assert!(capture().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_sees_the_rpc_it_inherits_and_its_neighbours_do_not() {
    let (current, _) = begun(Some(SECOND));
    let inheriting = current.within(|| {
        tokio::spawn(inherit(async {
            sleep(SECOND / 2).await;
            allowed()
        }))
    });
    let plain = current.within(|| tokio::spawn(async { allowed() }));
    assert_eq!(inheriting.await.unwrap(), Some(SECOND));
    assert_eq!(plain.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn work_in_time_is_not_begun_late_is_dropped_when_time_is_up_and_free_without_a_deadline() {
    let (current, _) = begun(Some(SECOND));
    let quick = scope(Some(current.clone()), in_time(async { 7 }));
    assert_eq!(quick.await.unwrap(), 7);
    let slow = scope(Some(current.clone()), in_time(sleep(2 * SECOND)));
    let expired = slow.await.unwrap_err();
    assert_eq!(expired.0.at(), Instant::now());
    assert_eq!(expired.to_string(), "deadline exceeded: 1s set by the caller's grpc-timeout");
    let late = scope(Some(current), in_time(async { panic!("begun") }));
    late.await.unwrap_err();

    in_time(sleep(100 * SECOND)).await.unwrap();
    scope(Some(begun(None).0), in_time(sleep(100 * SECOND))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_end_is_heard_by_who_waits_and_by_who_comes_later() {
    let (current, _) = begun(Some(SECOND));
    let waiting = tokio::spawn({
        let current = current.clone();
        async move { current.over().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && !current.is_over());
    current.ended(Code::Ok, Instant::now());
    waiting.await.unwrap();
    current.over().await;
    assert!(current.is_over());
    let (current, _) = begun(Some(SECOND));
    advance(SECOND).await;
    assert!(current.is_over(), "nobody waits beyond the deadline");
}

#[tokio::test(start_paused = true)]
async fn work_beyond_the_deadline_is_measured_from_the_deadline_or_its_later_start() {
    let (current, seen) = begun(Some(SECOND));
    let (in_time, early) = (current.work(), current.work());
    advance(SECOND / 2).await;
    drop(in_time);
    assert_eq!(seen.take(), []);
    advance(SECOND).await;
    let late = current.work();
    // The server notices a little later.
    current.ended(Code::DeadlineExceeded, Instant::now());
    advance(SECOND).await;
    drop((early, late));
    let deadline = |time| Waste { after: Abandoned::Deadline, time };
    assert_eq!(seen.take(), [deadline(SECOND * 3 / 2), deadline(SECOND)]);
}

#[tokio::test(start_paused = true)]
async fn work_for_a_caller_who_went_away_is_measured_and_work_after_an_answer_is_not() {
    let (current, seen) = begun(Some(10 * SECOND));
    let work = current.work();
    current.ended(Code::Cancelled, Instant::now());
    advance(3 * SECOND).await;
    drop(work);
    assert_eq!(seen.take(), [Waste { after: Abandoned::Cancellation, time: 3 * SECOND }]);

    let (current, seen) = begun(Some(SECOND));
    let work = current.work();
    current.ended(Code::Ok, Instant::now());
    current.ended(Code::Cancelled, Instant::now());
    advance(3 * SECOND).await;
    drop(work);
    assert_eq!(seen.take(), []);
}

#[test]
fn a_silence_is_what_was_said_last_and_nothing_before() {
    let (current, _) = begun(None);
    assert_eq!(current.silence(), None);
    for silence in [SECOND, Duration::ZERO] {
        current.clone().allow_silence(silence);
        assert_eq!(current.silence(), Some(silence));
    }
    current.allow_silence(Duration::MAX);
    assert!(current.silence().unwrap() > 100 * 365 * 24 * 3600 * SECOND);
}

#[test]
fn a_record_is_completed_before_it_is_shared_and_found_in_a_request() {
    let mut own = Current::new(rpc(None), None, Arc::new(Seen::default()));
    let caller =
        Caller { process: Some(crate::caller::Process { uid: 7, gid: 7, pid: None }), ..Caller::default() };
    own.complete().unwrap().0.caller = caller.clone();
    let mut request = http::Request::new(());
    assert!(Rpc::of(request.extensions()).is_none());
    request.extensions_mut().insert(own.shared());
    assert!(own.complete().is_none(), "others have seen it");
    assert_eq!(Rpc::of(request.extensions()).unwrap().caller, caller);
}

#[test]
fn a_handle_that_is_lent_comes_back_and_none_leaves_the_scope_as_it_is() {
    let (current, _) = begun(Some(SECOND));
    let mut handle = Some(current.clone());
    let panicked = || {
        assert_eq!(allowed(), Some(SECOND));
        assert_eq!(Current::lend(&mut None, allowed), Some(SECOND));
        panic!("a handler")
    };
    catch_unwind(AssertUnwindSafe(|| Current::lend(&mut handle, panicked))).unwrap_err();
    assert!(capture().is_none() && handle.is_some());
}
