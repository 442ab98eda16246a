//! The one task that writes.
//!
//! Requests queue up while a commit is on its way to the disk; the next commit takes all of them. So a busy
//! database makes bigger commits rather than a longer queue. Each request has a savepoint, and one that fails
//! leaves the others alone.

use std::fs::File;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::open::Database;
use super::sqlite::{self, Verdict};
use super::write::{self, Failure, Identifiers, Outcome, Rejection, Write};
use super::{Reports, Watchers};
use crate::clock::Micros;

/// Requests that may wait. A call that finds the queue full waits for a place; its deadline ends the wait.
const QUEUE: usize = 1_024;

/// Requests of one commit.
const GROUP: usize = 256;

/// How often a database that failed is tried again while nobody asks for it.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Why a write was not answered with an outcome.
#[derive(Debug, Clone, Error)]
pub(crate) enum WriteError {
    /// The rules say no.
    #[error(transparent)]
    Rejected(Rejection),
    /// The database failed, and nothing of this request was committed.
    #[error("the database failed to write")]
    Failed(#[source] Arc<sqlx::Error>),
    /// The service is closing and took no more requests.
    #[error("the service is closing")]
    Closed,
}

struct Job {
    write: Write,
    answer: oneshot::Sender<Result<Outcome, WriteError>>,
}

/// Where calls put their writes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WriteQueue {
    jobs: mpsc::Sender<Job>,
}

impl WriteQueue {
    /// Writes, and returns when the change is on disk.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped while it waits for a place, or before its commit began, writes nothing. Dropped
    /// later, the write happens and nobody hears of it: that is what `idempotency-key` is for.
    pub(crate) async fn write(&self, write: Write) -> Result<Outcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { write, answer }).await.map_err(|_| WriteError::Closed)?;
        answered.await.unwrap_or(Err(WriteError::Closed))
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
        lock: File,
        identifiers: Identifiers,
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
            identifiers,
            watchers,
            reports,
            _lock: lock,
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
    /// Held, never read: it keeps other processes out.
    _lock: File,
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

    /// One commit: write, commit, tell the watchers, count, answer. In this order.
    async fn group(&mut self, jobs: &mut Vec<Job>) {
        // Whoever left before the commit began gets nothing written.
        jobs.retain(|job| !job.answer.is_closed());
        let (writes, answers): (Vec<_>, Vec<_>) = jobs.drain(..).map(|job| (job.write, job.answer)).unzip();
        if writes.is_empty() {
            return;
        }
        let results = match self.commit(writes).await {
            Ok(results) => results,
            Err(cause) => {
                let cause = Arc::new(cause);
                self.fell(&cause);
                answers
                    .into_iter()
                    .for_each(|answer| say(answer, Err(WriteError::Failed(Arc::clone(&cause)))));
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

    /// Runs all writes in one transaction. An error means that nothing of the group is on disk.
    async fn commit(&mut self, writes: Vec<Write>) -> Result<Vec<Result<Outcome, WriteError>>, sqlx::Error> {
        // Taken out: on every early return, and when this future is dropped, the connection closes and
        // thereby rolls back.
        let was_down = self.connection.is_none();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.writer_options().connect().await?,
        };
        let mut results = Vec::with_capacity(writes.len());
        run(&mut connection, "BEGIN IMMEDIATE").await?;
        for write in writes {
            let now = Micros::now();
            let id = self.identifiers.next(now);
            results.push(one(&mut connection, write, id, now).await?);
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
            Outcome::OrderMoved(order) => self.watchers.publish(order),
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
            run(&mut connection, mark).await?;
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
        tracing::error!(error = %cause, "the database failed to write");
        self.reports.database.down("the database failed to write");
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

/// Carries out one write of a group and undoes it when it fails. The outer error concerns the whole group.
async fn one(
    connection: &mut SqliteConnection,
    write: Write,
    id: Uuid,
    now: Micros,
) -> Result<Result<Outcome, WriteError>, sqlx::Error> {
    run(connection, "SAVEPOINT request").await?;
    let result = match write::apply(connection, write, id, now).await {
        Ok(outcome) => Ok(outcome),
        Err(Failure::Database(cause)) if sqlite::verdict(&cause) != Verdict::Statement => return Err(cause),
        Err(failure) => {
            run(connection, "ROLLBACK TO request").await?;
            Err(failure)
        }
    };
    run(connection, "RELEASE request").await?;
    Ok(result.map_err(|failure| match failure {
        Failure::Rejected(reason) => WriteError::Rejected(reason),
        Failure::Database(cause) => WriteError::Failed(Arc::new(cause)),
    }))
}

async fn run(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}

async fn next_probe(is_down: bool) {
    if is_down { tokio::time::sleep(PROBE_EVERY).await } else { pending().await }
}

/// Nobody listens any more when the call was cancelled; that is no error.
fn say(answer: oneshot::Sender<Result<Outcome, WriteError>>, result: Result<Outcome, WriteError>) {
    answer.send(result).ok();
}
