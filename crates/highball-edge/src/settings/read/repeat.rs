//! `retry` and `hedge` of a route.

use std::time::Duration;

use highball_channel::service_config::{ATTEMPTS_MAX, Codes, HedgingPolicy, Repeat, RetryPolicy};
use highball_core::Code;
use toml::de::DeValue;

use super::table::{Item, Table};
use super::{LIST_MAX, keys};

/// Attempts with the first, where nothing is said.
const ATTEMPTS: u32 = 3;

/// How a route repeats. `None`: by default.
pub(super) fn repeat(route: &Table<'_>) -> Option<Repeat> {
    let item = route.one_of(&["retry", "hedge"])?;
    match (item.name, item.value) {
        ("retry", DeValue::Boolean(false)) => Some(Repeat::Never),
        ("retry", DeValue::Table(_)) => retry(&item.table(&keys::RETRY)?).map(Repeat::Retry),
        ("retry", _) => item.expected("false or a table"),
        _ => hedge(&item.table(&keys::HEDGE)?).map(Repeat::Hedge),
    }
}

fn retry(table: &Table<'_>) -> Option<RetryPolicy> {
    let time =
        |key, default| table.get(key).and_then(Item::some_time).unwrap_or(Duration::from_millis(default));
    let initial = time("backoff", 25);
    let most = table.get("backoff_max").and_then(|item| match item.some_time()? {
        most if most < initial => item
            .problem(|| format!("backoff_max is {most:?}, less than backoff {initial:?}; raise backoff_max")),
        most => Some(most),
    });
    Some(RetryPolicy {
        max_attempts: attempts(table),
        initial_backoff: initial,
        max_backoff: most.unwrap_or(Duration::from_millis(250).max(initial)),
        backoff_multiplier: 2.0,
        retryable_codes: codes(table),
        per_attempt_timeout: table.get("per_attempt_timeout").and_then(Item::some_time),
    })
}

fn hedge(table: &Table<'_>) -> Option<HedgingPolicy> {
    Some(HedgingPolicy {
        max_attempts: attempts(table),
        delay: table.required("delay", "delay = \"50ms\"").and_then(Item::duration)?,
        non_fatal_codes: codes(table),
        per_attempt_timeout: table.get("per_attempt_timeout").and_then(Item::some_time),
    })
}

fn attempts(table: &Table<'_>) -> u32 {
    table.get("attempts").and_then(|item| item.whole(2..=u64::from(ATTEMPTS_MAX))).unwrap_or(ATTEMPTS)
}

fn codes(table: &Table<'_>) -> Codes {
    let codes = table.get("codes").and_then(|item| item.each(LIST_MAX, Item::code));
    codes.unwrap_or_else(|| vec![Code::Unavailable]).into_iter().collect()
}
