//! Tells the watchers of this process what any process has committed.
//!
//! One task reads the changes after the last one it has seen, in their order, and publishes them; those of this process
//! come the same way, so nothing is told twice and nothing before its turn. A commit of this process wakes it; for those of
//! others it looks every [`LOOK_EVERY`], and only while somebody watches.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ReadError, Reader, Watchers};

/// How long a change of another process may stay unseen. A look at nothing new takes tens of microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Changes read at once.
const BATCH: usize = 256;

/// Owns the task. Dropping it ends the task, and with it all watches; so does [`close`](Self::close), in good order.
#[derive(Debug)]
pub(crate) struct Follower {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Follower {
    /// `reader` is for the task alone: reads of callers do not delay it.
    pub(super) fn start(reader: Reader, watchers: Watchers) -> Self {
        let closing = CancellationToken::new();
        let task = Task { reader, watchers, seen: 0, failing: false };
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(closing.clone()));
        Self { tasks, closing }
    }

    /// Ends all watches and closes the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends the task at once.
    pub(crate) async fn close(mut self) {
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Task {
    reader: Reader,
    watchers: Watchers,
    /// Number of the last change that was published; of no meaning while nobody watches.
    seen: i64,
    /// The last look failed.
    failing: bool,
}

impl Task {
    async fn run(mut self, closing: CancellationToken) {
        closing.run_until_cancelled(self.follow()).await;
        self.reader.close().await;
    }

    async fn follow(&mut self) {
        loop {
            if self.watchers.rest() {
                self.watchers.stirred().await;
                continue;
            }
            match self.look().await {
                Ok(()) => self.failing = false,
                // Nothing is lost: the next look begins where this one failed.
                Err(cause) if !self.failing => {
                    self.failing = true;
                    tracing::error!(
                        error = &cause as &dyn std::error::Error,
                        "cannot follow the changes of orders"
                    );
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
            // When the time is over, look all the same.
            timeout(LOOK_EVERY, self.watchers.stirred()).await.ok();
        }
    }

    /// Publishes what was committed since the last look. The first one only finds out where to begin: who watches reads
    /// the state after that.
    async fn look(&mut self) -> Result<(), ReadError> {
        if !self.watchers.are_followed() {
            self.seen = self.reader.last_change().await?;
            self.watchers.followed();
            return Ok(());
        }
        loop {
            let changes = self.reader.changes_after(self.seen, BATCH).await?;
            let more = changes.len() == BATCH;
            if changes.first().is_some_and(|first| first.sequence != self.seen + 1) {
                tracing::warn!(
                    "changes of orders were forgotten before they were followed; watchers read anew"
                );
                self.watchers.missed();
            }
            for change in changes {
                if self.watchers.has(&change.order_id)
                    && let Some(order) = self.reader.order(&change.order_id).await?
                {
                    self.watchers.publish(change.applied_to(order));
                }
                self.seen = change.sequence;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

impl Drop for Task {
    /// Also when the task is stopped or panics: nobody waits for changes that nobody reads.
    fn drop(&mut self) {
        self.watchers.close();
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, SqliteConnection};
    use tempfile::TempDir;

    use super::*;
    use crate::domain::order::Status;
    use crate::store::{Change, Database, Watching};

    /// A task over tables with the order `a`, which stands where others will say.
    async fn task() -> (Task, SqliteConnection, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::sqlite(dir.path().join("orders.db"));
        let options = SqliteConnectOptions::new().filename(database.path()).create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        sqlx::migrate!("./migrations").run(&mut other).await.unwrap();
        run(&mut other, "INSERT INTO orders VALUES ('a', 'ada', '0', 'PENDING', 1, 0, 0)").await;
        let reader = Reader::new(database.readers());
        (Task { reader, watchers: Watchers::default(), seen: 0, failing: false }, other, dir)
    }

    async fn run(other: &mut SqliteConnection, statement: &'static str) {
        sqlx::query(statement).execute(other).await.unwrap();
    }

    async fn heard(watching: &mut Watching) -> Option<(i64, Status)> {
        match watching.next().await.expect("the follower lives") {
            Change::Now(order) => Some((order.version, order.status)),
            Change::Missed => None,
        }
    }

    #[tokio::test]
    async fn what_was_before_the_watch_is_not_told_and_what_comes_is_told_in_order_and_once() {
        let (mut task, mut other, _dir) = task().await;
        run(&mut other, "INSERT INTO order_changes VALUES (1, 'a', 2, 'CONFIRMED', 0)").await;
        let mut watching = task.watchers.watch("a").unwrap();
        task.look().await.unwrap();
        run(
            &mut other,
            "INSERT INTO order_changes VALUES (2, 'a', 3, 'SHIPPED', 0), (3, 'b', 2, 'SHIPPED', 0)",
        )
        .await;
        task.look().await.unwrap();
        run(&mut other, "INSERT INTO order_changes VALUES (4, 'a', 4, 'DELIVERED', 0)").await;
        task.look().await.unwrap();
        task.look().await.unwrap();
        assert_eq!(heard(&mut watching).await, Some((3, Status::Shipped)));
        assert_eq!(heard(&mut watching).await, Some((4, Status::Delivered)));
        drop(task);
        assert_eq!(watching.next().await, None);
    }

    #[tokio::test]
    async fn changes_that_were_forgotten_before_they_were_read_are_missed_and_later_ones_told() {
        let (mut task, mut other, _dir) = task().await;
        let mut watching = task.watchers.watch("a").unwrap();
        task.look().await.unwrap();
        run(&mut other, "INSERT INTO order_changes VALUES (7, 'a', 3, 'SHIPPED', 0)").await;
        task.look().await.unwrap();
        assert_eq!(heard(&mut watching).await, None);
        assert_eq!(heard(&mut watching).await, Some((3, Status::Shipped)));
    }

    #[tokio::test]
    async fn a_look_that_failed_loses_nothing() {
        let (mut task, mut other, _dir) = task().await;
        let mut watching = task.watchers.watch("a").unwrap();
        task.look().await.unwrap();
        run(&mut other, "INSERT INTO order_changes VALUES (1, 'a', 2, 'CONFIRMED', 0)").await;
        run(&mut other, "ALTER TABLE orders RENAME TO away").await;
        task.look().await.unwrap_err();
        run(&mut other, "ALTER TABLE away RENAME TO orders").await;
        task.look().await.unwrap();
        assert_eq!(heard(&mut watching).await, Some((2, Status::Confirmed)));
    }

    #[tokio::test]
    async fn more_changes_than_one_look_reads_are_all_read() {
        let (mut task, mut other, _dir) = task().await;
        let mut watching = task.watchers.watch("a").unwrap();
        task.look().await.unwrap();
        let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 512) \
                    INSERT INTO order_changes SELECT i, 'b', i, 'SHIPPED', i FROM n";
        run(&mut other, many).await;
        run(&mut other, "INSERT INTO order_changes VALUES (513, 'a', 2, 'CONFIRMED', 0)").await;
        task.look().await.unwrap();
        assert_eq!(heard(&mut watching).await, Some((2, Status::Confirmed)));
        assert_eq!(task.seen, 513);
    }
}
