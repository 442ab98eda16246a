//! Finds, checks and opens a database file.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use thiserror::Error;

use super::readers::Readers;
use super::sqlite::{self, Verdict};
use super::{Follower, Reader, Reports, Store, Watchers, Writer, lock};
use crate::domain::page::TokenKey;

/// The schema, in steps. A step that has left this repository never changes.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Where the data is, and how patiently to wait for it.
///
/// Several processes of one machine may share a file. Each sees what the others have committed at once, and tells its
/// watchers a few tens of milliseconds later. They share memory beside the file, so it must not be on a file system of the
/// network: there SQLite's locks are not to be relied on, and two machines share no memory
/// (<https://www.sqlite.org/wal.html>, <https://www.sqlite.org/lockingv3.html>).
///
/// Read from text as `sqlite:PATH`; nothing is opened before [`App::open`](crate::App::open).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    path: PathBuf,
    busy_timeout: Duration,
}

/// A text does not name a database this program can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatabaseSettingError {
    /// No kind, or a kind we do not know.
    #[error("\"{0}\" is not a database: write sqlite:PATH")]
    UnknownKind(String),
    /// A kind without a path, or with one that is not a file.
    #[error("\"{0}\" names no file: write sqlite:PATH, such as sqlite:/var/lib/orders/orders.db")]
    NoPath(String),
}

impl Database {
    /// The SQLite file at `path`. It is created when it does not exist; its directory must.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), busy_timeout: Duration::from_secs(3) }
    }

    /// How long a write waits while others hold the file, such as another process of this program or a backup; the deadline
    /// of its RPC may end the wait sooner. Then it is refused with UNAVAILABLE, and nothing was written. A start waits as
    /// long for another one to finish. Default 3 s: longer than any backup step, and what is left of a deadline of five is
    /// enough for another try.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    pub(super) const fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn options(&self) -> SqliteConnectOptions {
        // An absolute path: SQLite would read one that begins with `file:` as a URI.
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(self.busy_timeout)
            .foreign_keys(true)
            .disable_statement_logging()
    }

    /// Options of the connection that opens. FULL: a commit is on disk before anybody hears of it. A file that
    /// disappears under a running service is not replaced by an empty one.
    fn opener_options(&self) -> SqliteConnectOptions {
        self.options().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    }

    /// Options of the one connection that writes. Once it is set up it does not wait: the writer waits for it.
    pub(super) fn writer_options(&self) -> SqliteConnectOptions {
        self.opener_options().pragma("busy_timeout", "0")
    }

    pub(super) fn readers(&self) -> Readers {
        Readers::new(self.options().read_only(true))
    }
}

impl FromStr for Database {
    type Err = DatabaseSettingError;

    /// Reads `sqlite:PATH` (also `sqlite://PATH`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path =
            text.strip_prefix("sqlite:").ok_or_else(|| DatabaseSettingError::UnknownKind(text.to_owned()))?;
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.ends_with('/') || path == ":memory:" {
            return Err(DatabaseSettingError::NoPath(text.to_owned()));
        }
        Ok(Self::sqlite(path))
    }
}

/// Why a database cannot be used. Each is one sentence for the person who started the program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory is missing, or the file may not be written there.
    #[error("cannot write to the database {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Another process is opening the file and does not come to an end, or keeps it to itself, as earlier versions of this
    /// program do.
    #[error("the database {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file holds something else.
    #[error("{} is not a database of this program", .0.display())]
    NotADatabase(PathBuf),
    /// The file was written by a later version of this program.
    #[error(
        "the database {} has schema version {found}, and this program knows only up to version {known}: \
         use a newer program", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Latest version of this program.
        known: i64,
    },
    /// Anything else.
    #[error("cannot open the database {}: {cause}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the database said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens everything: schema, writer, readers, follower. Processes that start together do it one after the other, so that one
/// makes the schema and the secret and the others find them. On an error nothing stays open.
///
/// # Cancel safety
///
/// Dropping the future closes what was opened; a migration step is either complete or undone.
pub(crate) async fn open(
    database: &Database,
    reports: Reports,
) -> Result<(Store, Writer, Follower), OpenError> {
    let lock = lock::hold(&database.path, database.busy_timeout).await?;
    let fail = |cause| explain(&database.path, cause);
    refuse_strangers(database).await?;
    let mut opener = database.opener_options().connect().await.map_err(fail)?;
    migrate(&database.path, &mut opener).await?;
    let tokens = token_key(&mut opener).await.map_err(fail)?;
    let connection = database.writer_options().connect().await.map_err(fail)?;
    // Not the last connection, so that its end is cheap.
    opener.close().await.map_err(fail)?;
    drop(lock);

    let watchers = Watchers::default();
    let (queue, writer) = Writer::start(database.clone(), connection, watchers.clone(), reports);
    let reader = Reader::new(database.readers());
    let follower = Follower::start(Reader::new(database.readers()), watchers.clone());
    Ok((Store { reader, queue, watchers, tokens }, writer, follower))
}

/// A database with tables but without our record of migrations belongs to somebody else. Looked at over a connection of
/// its own: the write-ahead log of the writer would already change the file.
async fn refuse_strangers(database: &Database) -> Result<(), OpenError> {
    let fail = |cause| explain(&database.path, cause);
    let options = database.options().create_if_missing(true);
    let mut connection = options.connect().await.map_err(fail)?;
    let query = "SELECT COUNT(*), COALESCE(SUM(name = '_sqlx_migrations'), 0) \
                 FROM sqlite_master WHERE type = 'table'";
    let (tables, ours): (i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await.map_err(fail)?;
    connection.close().await.map_err(fail)?;
    if tables > 0 && ours == 0 { Err(OpenError::NotADatabase(database.path.clone())) } else { Ok(()) }
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    match MIGRATIONS.run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found,
            known: MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0),
        }),
        Err(MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) => {
            Err(explain(path, cause))
        }
        Err(other) => Err(OpenError::Failed { path: path.to_owned(), cause: other.into() }),
    }
}

/// The secret that seals page tokens. It lives in the database, so that tokens outlive a restart and replicas
/// share it. SQLite's generator is a stream cipher seeded by the operating system.
async fn token_key(connection: &mut SqliteConnection) -> Result<TokenKey, sqlx::Error> {
    let query = "SELECT value FROM settings WHERE name = 'page_token_key'";
    let text: String = match sqlx::query_scalar(query).fetch_optional(&mut *connection).await? {
        Some(text) => text,
        // Only the first start has to write, and so to wait for others that do.
        None => {
            let insert = "INSERT INTO settings (name, value) VALUES ('page_token_key', hex(randomblob(32))) \
                          ON CONFLICT DO NOTHING";
            sqlx::query(insert).execute(&mut *connection).await?;
            sqlx::query_scalar(query).fetch_one(connection).await?
        }
    };
    let mut secret = [0; 32];
    if text.len() != 2 * secret.len() {
        return Err(sqlx::Error::Decode("the page_token_key has a wrong length".into()));
    }
    for (byte, pair) in secret.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|cause| sqlx::Error::Decode(cause.into()))?;
    }
    Ok(TokenKey::new(secret))
}

/// Turns what SQLite says into a sentence about the file.
fn explain(path: &Path, cause: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite::verdict(&cause) {
        Verdict::NotADatabase => OpenError::NotADatabase(path),
        Verdict::ReadOnly => OpenError::Unwritable { path, cause: io::ErrorKind::PermissionDenied.into() },
        Verdict::Busy => OpenError::InUse(path),
        Verdict::Unwell | Verdict::Statement => OpenError::Failed { path, cause: cause.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_kind_and_path() {
        for text in ["sqlite:/data/orders.db", "sqlite:///data/orders.db"] {
            assert_eq!(text.parse(), Ok(Database::sqlite("/data/orders.db")));
        }
        assert_eq!("sqlite:orders.db".parse(), Ok(Database::sqlite("orders.db")));
    }

    #[test]
    fn other_texts_are_refused_with_a_hint() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Database>().unwrap_err().to_string(), expected);
        };
        check("orders.db", "\"orders.db\" is not a database: write sqlite:PATH");
        check("postgres://db/orders", "\"postgres://db/orders\" is not a database: write sqlite:PATH");
        for text in ["sqlite:", "sqlite::memory:", "sqlite:/data/"] {
            let error = text.parse::<Database>().unwrap_err();
            assert!(matches!(error, DatabaseSettingError::NoPath(_)), "{text}");
        }
    }
}
