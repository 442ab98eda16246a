//! Identifiers of new rows.

use std::time::Duration;

use sqlx::SqliteConnection;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::clock::Micros;

/// Gives identifiers. Only writers ask, inside their transaction and after [`catch_up`](Self::catch_up), so that their order
/// is the order of the commits of all processes: a page that was read is never joined later by an older row.
#[derive(Debug, Default)]
pub(super) struct Identifiers {
    context: ContextV7,
    /// The greatest that was given or found.
    last: Option<Uuid>,
}

impl Identifiers {
    /// Goes on after the greatest identifier in the database: another process may have written, or the clock been set
    /// back since. Called when the transaction has begun and nobody else can write.
    pub(super) async fn catch_up(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let query =
            "SELECT MAX(id) FROM (SELECT MAX(id) AS id FROM orders UNION ALL SELECT MAX(id) FROM users)";
        let last: Option<String> = sqlx::query_scalar(query).fetch_one(connection).await?;
        self.go_past(last.and_then(|id| Uuid::try_parse(&id).ok()));
        Ok(())
    }

    fn go_past(&mut self, last: Option<Uuid>) {
        if last <= self.last {
            return;
        }
        self.last = last;
        if let Some(time) = last.and_then(|last| last.get_timestamp()) {
            let (seconds, nanos) = time.to_unix();
            let next = Duration::new(seconds, nanos) + Duration::from_millis(1);
            // The context never goes back behind a time it has seen.
            Uuid::new_v7(Timestamp::from_unix(&self.context, next.as_secs(), next.subsec_nanos()));
        }
    }

    /// The next identifier; its creation takes the time `now`.
    pub(super) fn next(&mut self, now: Micros) -> Uuid {
        let (seconds, nanos) = now.split();
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let next = Uuid::new_v7(Timestamp::from_unix(&self.context, seconds, nanos));
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_two_writers_that_take_turns_only_grow() {
        let mut writers = [Identifiers::default(), Identifiers::default()];
        let mut last = None;
        // The clock stands still, then goes back.
        for (turn, now) in [1_000_000; 50].into_iter().chain([500_000; 50]).enumerate() {
            let writer = &mut writers[turn % 2];
            writer.go_past(last);
            for _ in 0..3 {
                let next = Some(writer.next(Micros(now)));
                assert!(next > last, "turn {turn}");
                last = next;
            }
        }
    }
}
