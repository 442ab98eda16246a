//! A few connections that read, and stop when nobody waits for what they read.
//!
//! SQLite runs a statement on a thread of its own. Dropping the future that waits for it does not end it: the thread
//! notices with the next row, and a statement that counts or sorts has none for a long time. So each connection has a flag
//! that SQLite looks at while it works. Whoever leaves early raises it; whoever takes the connection next waits for the
//! thread, which has stopped by then, and lowers it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::reader::ReadError;

/// Connections that read. Reads are short; more would only queue on the same two cores.
const READERS: u32 = 4;

/// How long a read waits for a free connection before the call is told to come back, unless its deadline is nearer.
const WAIT: Duration = Duration::from_secs(5);

/// Instructions of SQLite's machine between two looks at the flag: some ten microseconds.
const INSTRUCTIONS: i32 = 1_000;

/// At most [`READERS`] read-only connections, opened when they are needed and kept.
#[derive(Debug)]
pub(super) struct Readers {
    options: SqliteConnectOptions,
    places: Semaphore,
    idle: Mutex<Vec<Reading>>,
}

#[derive(Debug)]
struct Reading {
    connection: SqliteConnection,
    /// Whatever runs is to stop.
    stop: Arc<AtomicBool>,
}

/// A connection for one read. Dropped before [`finish`](Self::finish), it stops the statement that runs.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    readers: &'a Readers,
    /// `None` only while it is replaced.
    reading: Option<Reading>,
    finished: bool,
    _place: SemaphorePermit<'a>,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, places: Semaphore::new(READERS as usize), idle: Mutex::default() }
    }

    /// Waits for a connection on which nothing runs.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] after [`WAIT`] and when the readers are closed; [`ReadError::Failed`] when none can be opened.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the place to the next in line.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, ReadError> {
        let place = timeout(WAIT, self.places.acquire()).await;
        let place = place.map_err(|_| ReadError::Busy)?.map_err(|_| ReadError::Busy)?;
        let mut lease = Lease { readers: self, reading: self.take(), finished: false, _place: place };
        if !lease.is_quiet().await {
            lease.reading = None;
            lease.reading = Some(self.open().await?);
        }
        Ok(lease)
    }

    /// Waits for the reads under way and closes the connections. Later reads are refused.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(READERS).await;
        self.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.lock());
        for reading in idle {
            // What only reads leaves nothing behind.
            reading.connection.close().await.ok();
        }
    }

    /// One on which nothing runs, if there is one.
    fn take(&self) -> Option<Reading> {
        let mut idle = self.lock();
        match idle.iter().rposition(|reading| !reading.stop.load(Ordering::Relaxed)) {
            Some(quiet) => Some(idle.swap_remove(quiet)),
            None => idle.pop(),
        }
    }

    async fn open(&self) -> Result<Reading, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let goes_on = move || !flag.load(Ordering::Relaxed);
        connection.lock_handle().await?.set_progress_handler(INSTRUCTIONS, goes_on);
        Ok(Reading { connection, stop })
    }

    /// No panic happens under this lock, so a poisoned one still holds good data.
    fn lock(&self) -> MutexGuard<'_, Vec<Reading>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// Waits until nothing runs. `false` when there is no connection that works.
    async fn is_quiet(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        if reading.stop.load(Ordering::Relaxed) {
            // The thread takes its orders one by one: it answers when it has stopped and rolled back.
            if reading.connection.ping().await.is_err() {
                return false;
            }
            reading.stop.store(false, Ordering::Relaxed);
        }
        true
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        let reading = self.reading.as_mut();
        &mut reading.expect("a lease has a connection until it is dropped").connection
    }

    /// Ends the read with its result, and gives the connection back as it is.
    pub(super) fn finish<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, ReadError> {
        // After an error the next in line makes sure that the connection works.
        self.finished = result.is_ok();
        Ok(result?)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        if !self.finished {
            reading.stop.store(true, Ordering::Relaxed);
        }
        self.readers.lock().push(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts for ever, and has no row before the end.
    const ENDLESS: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn readers() -> (Readers, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options =
            SqliteConnectOptions::new().filename(dir.path().join("some.db")).create_if_missing(true);
        (Readers::new(options), dir)
    }

    async fn one(readers: &Readers) -> Result<i64, ReadError> {
        let mut lease = readers.lease().await?;
        let row = sqlx::query_as("SELECT 1").fetch_one(lease.connection()).await;
        lease.finish(row).map(|(one,)| one)
    }

    async fn endless(readers: &Readers) -> Result<(), ReadError> {
        let mut lease = readers.lease().await?;
        let row = sqlx::query(ENDLESS).execute(lease.connection()).await;
        lease.finish(row).map(drop)
    }

    #[tokio::test]
    async fn a_read_that_is_dropped_stops_and_its_connection_reads_on() {
        let (readers, _dir) = readers();
        // More than there are connections: each must have come back.
        for _ in 0..3 * READERS {
            timeout(Duration::from_millis(20), endless(&readers)).await.unwrap_err();
        }
        let opened = readers.lock().len();
        assert!(opened <= READERS as usize, "{opened}");
        assert_eq!(timeout(PATIENCE, one(&readers)).await.expect("the thread is free").unwrap(), 1);
        timeout(PATIENCE, readers.close()).await.expect("nothing runs");
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_is_undone_before_the_next_read() {
        let (readers, _dir) = readers();
        let abandoned = async {
            let mut lease = readers.lease().await.unwrap();
            let mut moment = lease.connection().begin().await.unwrap();
            sqlx::query(ENDLESS).execute(&mut *moment).await.unwrap();
        };
        timeout(Duration::from_millis(50), abandoned).await.unwrap_err();
        let mut lease = timeout(PATIENCE, readers.lease()).await.expect("the thread is free").unwrap();
        // It fails inside of a transaction.
        let begun = sqlx::query("BEGIN").execute(lease.connection()).await;
        lease.finish(begun).unwrap();
    }

    #[tokio::test]
    async fn closing_waits_for_reads_and_refuses_later_ones() {
        let (readers, _dir) = readers();
        let mut lease = readers.lease().await.unwrap();
        let close = readers.close();
        tokio::pin!(close);
        timeout(Duration::from_millis(20), &mut close).await.expect_err("a read is under way");
        sqlx::query("SELECT 1").execute(lease.connection()).await.unwrap();
        drop(lease);
        timeout(PATIENCE, close).await.expect("the read is over");
        assert!(matches!(one(&readers).await, Err(ReadError::Busy)));
        assert_eq!(readers.lock().len(), 0);
    }
}
