//! The one task that writes.
//!
//! Requests queue up while a commit is on its way to the disk; the next commit takes all of them. So a busy
//! database makes bigger commits rather than a longer queue. Each request has a savepoint, and one that fails
//! leaves the others alone.
//!
//! Other processes write to the same file, one at a time. Everything a write depends on is read inside its transaction.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use highball::core::Deadline;
use highball::current::{self, Current, Expired};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::identifiers::Identifiers;
use super::open::Database;
use super::sqlite::{self, Verdict};
use super::write::{self, Failure, Outcome, Rejection, Write};
use super::{Reports, Watchers, changes};
use crate::clock::Micros;

/// Requests that may wait. A call that finds the queue full waits for a place; its deadline ends the wait.
const QUEUE: usize = 1_024;

/// Requests of one commit.
const GROUP: usize = 256;

/// How often a database that failed is tried again while nobody asks for it.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How often to ask for the file while another process writes. SQLite's own waiting has steps of up to 100 ms, and a busy
/// neighbour is never idle for as long.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Why a write was not answered with an outcome.
#[derive(Debug, Clone, Error)]
pub(crate) enum WriteError {
    /// The rules say no.
    #[error(transparent)]
    Rejected(Rejection),
    /// The database failed, and nothing of this request was committed.
    #[error("the database failed to write")]
    Failed(#[source] Arc<sqlx::Error>),
    /// Another process held the file for too long. Nothing was written.
    #[error("the database is busy")]
    Busy,
    /// The deadline of the RPC passed. It was not written, unless its commit was on its way.
    #[error(transparent)]
    Expired(Expired),
    /// The service is closing and took no more requests.
    #[error("the service is closing")]
    Closed,
}

type Answer = oneshot::Sender<Result<Outcome, WriteError>>;

struct Job {
    write: Write,
    /// The RPC it is for.
    rpc: Option<Current>,
    answer: Answer,
}

/// Where calls put their writes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WriteQueue {
    jobs: mpsc::Sender<Job>,
}

impl WriteQueue {
    /// Writes, and returns when the change is on disk or the deadline of the RPC has passed.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped while it waits for a place, or before its commit began, writes nothing. Dropped
    /// later, the write happens and nobody hears of it: that is what `idempotency-key` is for.
    pub(crate) async fn write(&self, write: Write) -> Result<Outcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { write, rpc: current::capture(), answer };
        let written = async {
            self.jobs.send(job).await.map_err(|_| WriteError::Closed)?;
            answered.await.unwrap_or(Err(WriteError::Closed))
        };
        current::in_time(written).await.unwrap_or_else(|expired| Err(WriteError::Expired(expired)))
    }
}

/// Owns the writer task. Dropping it stops the task at once; [`close`](Self::close) lets it finish the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Writer {
    pub(super) fn start(
        database: Database,
        connection: SqliteConnection,
        watchers: Watchers,
        reports: Reports,
    ) -> (WriteQueue, Self) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        reports.database.up();
        let task = Task {
            queue,
            closing: closing.clone(),
            database,
            connection: Some(connection),
            identifiers: Identifiers::default(),
            watchers,
            reports,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        (WriteQueue { jobs }, Self { tasks, closing })
    }

    /// Takes no more requests, writes what is queued, and closes the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops the task at once: the commit under way is kept or undone as a whole, and what was
    /// queued is refused.
    pub(crate) async fn close(mut self) {
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Task {
    queue: mpsc::Receiver<Job>,
    closing: CancellationToken,
    database: Database,
    /// `None` after a failure, until it works again.
    connection: Option<SqliteConnection>,
    identifiers: Identifiers,
    watchers: Watchers,
    reports: Reports,
}

impl Task {
    async fn run(mut self) {
        let mut jobs = Vec::with_capacity(GROUP);
        loop {
            let closing = self.closing.clone();
            // Nothing is lost when a branch is dropped: `recv_many` takes no job before it is ready.
            tokio::select! {
                biased;
                () = closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                taken = self.queue.recv_many(&mut jobs, GROUP) => match taken {
                    0 => break,
                    _ => self.group(&mut jobs).await,
                },
                () = next_probe(self.connection.is_none()) => self.probe().await,
            }
        }
        self.reports.database.down("the database is closed");
        if let Some(connection) = self.connection.take()
            && let Err(cause) = connection.close().await
        {
            tracing::warn!(error = %cause, "the database was not closed cleanly; the next start repairs it");
        }
    }

    /// One commit: write, commit, wake the follower, count, answer. In this order.
    async fn group(&mut self, jobs: &mut Vec<Job>) {
        let (mut writes, mut answers) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for Job { write, rpc, answer } in jobs.drain(..) {
            if let Some(why) = abandoned(&answer, rpc.as_ref()) {
                self.reports.writes_dropped.inc();
                say(answer, Err(why));
            } else {
                writes.push((write, rpc));
                answers.push(answer);
            }
        }
        if writes.is_empty() {
            return;
        }
        let results = match self.commit(writes, &answers).await {
            Ok(results) => results,
            Err(cause) => {
                self.fell(&cause);
                let why = match sqlite::verdict(&cause) {
                    Verdict::Busy => WriteError::Busy,
                    _ => WriteError::Failed(Arc::new(cause)),
                };
                answers.into_iter().for_each(|answer| say(answer, Err(why.clone())));
                return;
            }
        };
        for outcome in results.iter().flatten() {
            self.report(outcome);
        }
        for (answer, result) in answers.into_iter().zip(results) {
            say(answer, result);
        }
    }

    /// Runs all writes in one transaction, but those for which nobody waits any more. An error means that nothing of the
    /// group is on disk.
    async fn commit(
        &mut self,
        writes: Vec<(Write, Option<Current>)>,
        answers: &[Answer],
    ) -> Result<Vec<Result<Outcome, WriteError>>, sqlx::Error> {
        // Taken out: on every early return, and when this future is dropped, the connection closes and
        // thereby rolls back.
        let was_down = self.connection.is_none();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.writer_options().connect().await?,
        };
        let mut results = Vec::with_capacity(writes.len());
        // Their work ends with the commit.
        let mut work = Vec::with_capacity(writes.len());
        begin(&mut connection, self.database.busy_timeout()).await?;
        self.identifiers.catch_up(&mut connection).await?;
        for ((write, rpc), answer) in writes.into_iter().zip(answers) {
            // To begin may have taken as long as somebody else held the file.
            if let Some(why) = abandoned(answer, rpc.as_ref()) {
                self.reports.writes_dropped.inc();
                results.push(Err(why));
                continue;
            }
            work.extend(rpc.as_ref().map(Current::work));
            let now = Micros::now();
            let id = self.identifiers.next(now);
            results.push(one(&mut connection, write, rpc, id, now).await?);
        }
        if results.iter().flatten().any(Outcome::is_change) {
            changes::prune(&mut connection).await?;
        }
        run(&mut connection, "COMMIT").await?;
        self.connection = Some(connection);
        if was_down {
            self.rose();
        }
        Ok(results)
    }

    fn report(&self, outcome: &Outcome) {
        match outcome {
            Outcome::OrderCreated(_) => self.reports.orders_created.inc(),
            Outcome::OrderMoved(_) => self.watchers.stir(),
            Outcome::UserCreated(_) => self.reports.users_created.inc(),
            Outcome::OrderKnown(_) | Outcome::UserKnown(_) | Outcome::UserUpdated(_) => {}
        }
    }

    /// Tries whether the database writes again. A transaction that changes nothing would not notice a full
    /// disk.
    async fn probe(&mut self) {
        let attempt = async {
            let mut connection = self.database.writer_options().connect().await?;
            let mark = "INSERT INTO settings (name, value) VALUES ('probe', '1') \
                        ON CONFLICT (name) DO UPDATE SET value = value + 1";
            begin(&mut connection, PROBE_EVERY).await?;
            run(&mut connection, mark).await?;
            run(&mut connection, "COMMIT").await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match attempt.await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.rose();
            }
            Err(cause) => tracing::debug!(error = %cause, "the database still fails"),
        }
    }

    fn fell(&self, cause: &sqlx::Error) {
        let what = match sqlite::verdict(cause) {
            Verdict::Busy => "another process holds the database",
            _ => "the database failed to write",
        };
        tracing::error!(error = %cause, "{what}");
        self.reports.database.down(what);
    }

    fn rose(&self) {
        tracing::info!("the database writes again");
        self.reports.database.up();
    }
}

impl Drop for Task {
    /// Also when the task is stopped or panics: a service that cannot write must not look ready.
    fn drop(&mut self) {
        self.reports.database.down("the database is closed");
    }
}

/// Why nobody waits for the answer any more, if so.
fn abandoned(answer: &Answer, rpc: Option<&Current>) -> Option<WriteError> {
    match rpc.and_then(Current::deadline).filter(Deadline::has_passed) {
        Some(passed) => Some(WriteError::Expired(Expired(passed))),
        None => answer.is_closed().then_some(WriteError::Closed),
    }
}

/// Carries out one write of a group and undoes it when it fails or its time is up. The outer error concerns the whole
/// group.
///
/// A statement that runs when time is up is not interrupted: SQLite would undo the whole transaction, and with it what
/// others wrote. The next one does not begin.
async fn one(
    connection: &mut SqliteConnection,
    write: Write,
    rpc: Option<Current>,
    id: Uuid,
    now: Micros,
) -> Result<Result<Outcome, WriteError>, sqlx::Error> {
    run(connection, "SAVEPOINT request").await?;
    let applied = current::in_time(write::apply(connection, write, id, now));
    let result = match current::scope(rpc, applied).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(Failure::Database(cause))) if sqlite::verdict(&cause) != Verdict::Statement => {
            return Err(cause);
        }
        Ok(Err(Failure::Database(cause))) => Err(WriteError::Failed(Arc::new(cause))),
        Ok(Err(Failure::Rejected(reason))) => Err(WriteError::Rejected(reason)),
        Err(expired) => Err(WriteError::Expired(expired)),
    };
    if result.is_err() {
        run(connection, "ROLLBACK TO request").await?;
    }
    run(connection, "RELEASE request").await?;
    Ok(result)
}

/// Begins a transaction that writes. Waits for its turn, for `patience` at most; nothing else in the transaction has to
/// wait.
async fn begin(connection: &mut SqliteConnection, patience: Duration) -> Result<(), sqlx::Error> {
    let until = Instant::now() + patience;
    loop {
        match run(connection, "BEGIN IMMEDIATE").await {
            Err(cause) if sqlite::verdict(&cause) == Verdict::Busy && Instant::now() < until => {
                sleep(ASK_EVERY).await;
            }
            begun => return begun,
        }
    }
}

async fn run(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}

async fn next_probe(is_down: bool) {
    if is_down { tokio::time::sleep(PROBE_EVERY).await } else { pending().await }
}

/// Nobody listens any more when the call was cancelled; that is no error.
fn say(answer: Answer, result: Result<Outcome, WriteError>) {
    answer.send(result).ok();
}
