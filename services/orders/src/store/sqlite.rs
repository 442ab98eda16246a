//! What SQLite's result codes mean to us.

/// What an error says about the database as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file is no database.
    NotADatabase,
    /// The file may not be written.
    ReadOnly,
    /// Another process holds the file. Nothing was done, and a later try may succeed.
    Busy,
    /// The database is full, damaged or out of reach: the next statement would fail as well.
    Unwell,
    /// Only this statement failed.
    Statement,
}

/// Judges an error. Anything that is not SQLite's own word comes from its thread or the system, which concerns all.
pub(super) fn verdict(cause: &sqlx::Error) -> Verdict {
    let Some(error) = cause.as_database_error() else {
        return match cause {
            sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Verdict::Statement
            }
            _ => Verdict::Unwell,
        };
    };
    // The low byte is the kind, the rest is detail.
    let code = error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    match code {
        // SQLITE_NOTADB
        Some(26) => Verdict::NotADatabase,
        // SQLITE_PERM, SQLITE_READONLY
        Some(3 | 8) => Verdict::ReadOnly,
        // SQLITE_BUSY, and _PROTOCOL: many tries to agree with others about the write-ahead log.
        Some(5 | 15) => Verdict::Busy,
        // SQLITE_LOCKED, _NOMEM, _INTERRUPT, _IOERR, _CORRUPT, _FULL, _CANTOPEN
        Some(6 | 7 | 9 | 10 | 11 | 13 | 14) => Verdict::Unwell,
        _ => Verdict::Statement,
    }
}
