//! Finds, checks and opens a database file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use thiserror::Error;
use uuid::Uuid;

use super::readers::Readers;
use super::sqlite::{self, Verdict};
use super::write::Identifiers;
use super::{Reader, Reports, Store, Watchers, Writer};
use crate::domain::page::TokenKey;

/// The schema, in steps. A step that has left this repository never changes.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Where the data is, and how patiently to wait for it.
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
        Self { path: path.into(), busy_timeout: Duration::from_secs(5) }
    }

    /// How long a statement waits while another program, such as a backup, holds the file. Default 5 s:
    /// longer than any backup step, shorter than the usual deadline of a call.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
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

    /// Options of the one connection that writes. FULL: a commit is on disk before anybody hears of it. A file that
    /// disappears under a running service is not replaced by an empty one.
    pub(super) fn writer_options(&self) -> SqliteConnectOptions {
        self.options().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    }

    fn readers(&self) -> Readers {
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
    /// Another process has the file; its changes would not reach our watchers.
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

/// Opens everything: lock, schema, writer, readers. On an error nothing stays open.
///
/// # Cancel safety
///
/// Dropping the future closes what was opened; a migration step is either complete or undone.
pub(crate) async fn open(database: &Database, reports: Reports) -> Result<(Store, Writer), OpenError> {
    let lock = lock(&database.path)?;
    let fail = |cause| explain(&database.path, cause);
    refuse_strangers(database).await?;
    let mut connection = database.writer_options().connect().await.map_err(fail)?;
    migrate(&database.path, &mut connection).await?;
    let tokens = token_key(&mut connection).await.map_err(fail)?;
    let identifiers = Identifiers::after(last_identifier(&mut connection).await.map_err(fail)?);
    connection.clear_cached_statements().await.map_err(fail)?;

    let watchers = Watchers::default();
    let (queue, writer) =
        Writer::start(database.clone(), connection, lock, identifiers, watchers.clone(), reports);
    let reader = Reader::new(database.readers());
    Ok((Store { reader, queue, watchers, tokens }, writer))
}

/// Holds `PATH.lock` for as long as the writer lives; of a link, that of the file behind it. The kernel lets go of it
/// however the process ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let unwritable = |cause| OpenError::Unwritable { path: path.to_owned(), cause };
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(OpenError::NotADatabase(path.to_owned()));
    }
    // Links to one file are one database, with one lock.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = file.into_os_string();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(cause)) => Err(unwritable(cause)),
    }
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

/// The greatest identifier so far.
async fn last_identifier(connection: &mut SqliteConnection) -> Result<Option<Uuid>, sqlx::Error> {
    let query = "SELECT MAX(id) FROM (SELECT MAX(id) AS id FROM orders UNION ALL SELECT MAX(id) FROM users)";
    let (last,): (Option<String>,) = sqlx::query_as(query).fetch_one(connection).await?;
    Ok(last.and_then(|id| Uuid::try_parse(&id).ok()))
}

/// The secret that seals page tokens. It lives in the database, so that tokens outlive a restart and replicas
/// share it. SQLite's generator is a stream cipher seeded by the operating system.
async fn token_key(connection: &mut SqliteConnection) -> Result<TokenKey, sqlx::Error> {
    let insert = "INSERT INTO settings (name, value) VALUES ('page_token_key', hex(randomblob(32))) \
                  ON CONFLICT DO NOTHING";
    sqlx::query(insert).execute(&mut *connection).await?;
    let (text,): (String,) = sqlx::query_as("SELECT value FROM settings WHERE name = 'page_token_key'")
        .fetch_one(connection)
        .await?;
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
