//! Workers, each a thread of its own, and their end.

use std::sync::mpsc;

use super::*;
use crate::Tasks;

/// Which worker runs a task that is spawned on `index`.
fn thread_of(workers: &Workers, tasks: &Tasks, index: usize) -> String {
    let (tell, told) = mpsc::sync_channel(1);
    tasks.spawn_on(workers.handle(index), async move {
        tokio::task::yield_now().await;
        tell.send(thread::current().name().unwrap_or_default().to_owned()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[test]
fn every_worker_is_a_thread_of_its_own() {
    let (workers, tasks) = (Workers::start(3).unwrap(), Tasks::new());
    let names: Vec<_> = (0..3).map(|index| thread_of(&workers, &tasks, index)).collect();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    assert!(Workers::start(0).unwrap().len() >= 1);
    assert!(Workers::start(WORKERS_MAX + 1).is_err());
}

#[test]
fn connections_go_where_the_fewest_are_and_take_turns() {
    let workers = Workers::start(3).unwrap();
    let mut seats: Vec<_> = (0..6).map(|_| workers.seat(workers.least()).unwrap()).collect();
    assert_eq!(seats.iter().map(WorkerSeat::worker).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    seats.retain(|seat| seat.worker() != 1);
    assert_eq!(workers.least(), 1);
    let seat = workers.seat(1);
    assert_eq!((workers.least(), workers.open(1)), (1, 1), "one is still fewer than two");
    drop(seat);
    drop(seats);
    assert_eq!((0..3).map(|index| workers.open(index)).sum::<usize>(), 0);
}

#[test]
fn a_task_that_panics_does_not_cost_the_worker() {
    let (workers, tasks) = (Workers::start(1).unwrap(), Tasks::new());
    tasks.spawn_on(workers.handle(0), async { panic!("on purpose") });
    assert_eq!(thread_of(&workers, &tasks, 0), "worker-0");
}

#[test]
fn dropping_them_drops_their_tasks_and_ends_their_threads() {
    struct OnDrop(mpsc::SyncSender<thread::ThreadId>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let (workers, tasks) = (Workers::start(2).unwrap(), Tasks::new());
    let (tell, told) = mpsc::sync_channel(2);
    let threads: Vec<_> =
        workers.threads.iter().map(|worker| worker.thread.as_ref().unwrap().thread().id()).collect();
    for index in 0..2 {
        let kept = OnDrop(tell.clone());
        tasks.spawn_on(workers.handle(index), async move {
            let _kept = kept;
            std::future::pending::<()>().await;
        });
    }
    let running = workers.running.clone();
    drop(workers);
    assert_eq!(*running.lock(), 0, "the drop waited");
    assert_eq!(tasks.running(), 0);
    let dropped: Vec<_> = told.try_iter().collect();
    assert!(threads.iter().all(|thread| dropped.contains(thread)), "each by its own worker");
}

#[test]
fn a_worker_that_hangs_does_not_hold_the_end() {
    let (workers, tasks) = (Workers::start(1).unwrap(), Tasks::new());
    let (release, hold) = mpsc::sync_channel::<()>(0);
    let (tell, told) = mpsc::sync_channel(0);
    tasks.spawn_on(workers.handle(0), async move {
        tell.send(()).unwrap();
        hold.recv().unwrap();
    });
    told.recv().unwrap();
    let running = workers.running.clone();
    drop(workers);
    assert_eq!(*running.lock(), 1, "left behind");
    release.send(()).unwrap();
    assert!(running.wait(Duration::from_secs(10)), "and ends by itself");
}

#[test]
fn the_last_hold_may_be_let_go_by_a_worker() {
    let (workers, tasks) = (Workers::start(1).unwrap(), Tasks::new());
    let (running, handle) = (workers.running.clone(), workers.handle(0).clone());
    let (release, hold) = oneshot::channel::<()>();
    tasks.spawn_on(&handle, async move {
        hold.await.unwrap();
        drop(workers);
    });
    release.send(()).unwrap();
    assert!(running.wait(STOP_MAX), "without waiting for itself");
}
