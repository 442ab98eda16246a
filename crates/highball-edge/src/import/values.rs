//! What the sources have in common: durations, status codes, retries, outliers.

use std::time::Duration;

use highball_channel::service_config::ATTEMPTS_MAX;
use highball_core::Code;
use http::StatusCode;

use super::report::Report;
use super::toml::{Table, Value};

/// Of our clusters, when nothing else is said: failures in a row, and how many backends may be out.
const CONSECUTIVE_DEFAULT: u32 = 5;
const EJECTION_PERCENT_DEFAULT: u32 = 50;

/// Before the first retry of our routes, when nothing else is said.
const BACKOFF: Duration = Duration::from_millis(25);

/// Reads a duration of Go or of protobuf's JSON: `1m30s`, `250ms`, `0.25s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| !c.is_alphabetic());
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty()).then(|| time(seconds)).flatten()
}

/// Rounded to nanoseconds by way of milliseconds, so that 0.25 s is 250 ms and not a nanosecond more.
fn time(seconds: f64) -> Option<Duration> {
    let millis = seconds * 1e3;
    if (millis - millis.round()).abs() < 1e-6 {
        return Duration::try_from_secs_f64(seconds).ok().map(|time| {
            Duration::from_millis(
                u64::try_from((time + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX),
            )
        });
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// No time of a file may be longer.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Splits before the first character that ends the front part.
pub(super) fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// The code of an HTTP status (grpc doc/http-grpc-status-mapping.md).
pub(super) fn code_of_http(status: u16) -> Option<Code> {
    StatusCode::from_u16(status).ok().map(Code::from_http)
}

/// The code of this name, in any case, with hyphens or underscores, or of this number.
pub(super) fn code(text: &str) -> Option<Code> {
    let name = text.replace('-', "_").to_ascii_uppercase();
    let named = Code::ALL.into_iter().find(|code| code.name() == name);
    named.or_else(|| Code::ALL.get(text.parse::<usize>().ok()?).copied())
}

/// What sources say of retries.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// Codes after which to try again.
    pub(super) codes: Vec<Code>,
    /// Tries after the first.
    pub(super) again: u32,
    /// For each try.
    pub(super) per_try: Option<Duration>,
    /// Between the first two tries.
    pub(super) initial_backoff: Option<Duration>,
    /// Between any two tries.
    pub(super) max_backoff: Option<Duration>,
}

impl Retry {
    /// Sets `retry` of a route.
    pub(super) fn write(mut self, route: &mut Table, line: usize, what: &str, report: &mut Report) {
        self.codes.sort_by_key(|code| *code as u8);
        self.codes.dedup();
        if self.again == 0 {
            route.set("retry", false);
            report.translated(line, what, "no retries; what never reached a backend is still sent again");
            return;
        }
        if self.codes.is_empty() {
            let how = "nothing is left to retry after: what never reached a backend is sent again, as always";
            report.approximated(line, what, how);
            return;
        }
        let attempts = self.again.saturating_add(1).min(ATTEMPTS_MAX);
        let mut retry = Value::map([
            ("attempts", Value::Whole(attempts.into())),
            ("codes", self.codes.iter().map(|code| code.name()).collect::<Vec<_>>().into()),
        ]);
        let backoff_max = self.max_backoff.map(|most| most.max(self.initial_backoff.unwrap_or(BACKOFF)));
        for (key, time) in [
            ("backoff", self.initial_backoff.filter(|time| *time != BACKOFF)),
            ("backoff_max", backoff_max),
            ("per_attempt_timeout", self.per_try),
        ] {
            if let Some(time) = time.filter(|time| !time.is_zero()) {
                retry.push(key, time.min(DURATION_MAX));
            }
        }
        route.set("retry", retry);
        let note = "the first attempt counts; attempts share the deadline, and a throttle stops retries while most calls fail";
        match self.again.saturating_add(1) {
            more if more > attempts => {
                report.approximated(line, what, format!("{ATTEMPTS_MAX} attempts are the limit; {note}"));
            }
            _ => report.translated(line, what, format!("{attempts} attempts; {note}")),
        }
        if let Some(code) =
            self.codes.iter().find(|code| !matches!(code, Code::Unavailable | Code::ResourceExhausted))
        {
            let note = format!(
                "after {} the backend may have done the work: only methods that may run twice should be tried again",
                code.name()
            );
            report.approximated(line, what, note);
        }
    }
}

/// What sources say of outliers; what is not set is as here.
#[derive(Debug, Default)]
pub(super) struct Outlier {
    /// Failures in a row.
    pub(super) consecutive: Option<u32>,
    /// Between looks.
    pub(super) interval: Option<Duration>,
    /// The first time out.
    pub(super) base: Option<Duration>,
    /// The longest time out.
    pub(super) longest: Option<Duration>,
    /// Per cent of the backends.
    pub(super) percent: Option<u32>,
}

impl Outlier {
    /// Sets `outlier` of a cluster, unless it is the default.
    pub(super) fn write(&self, cluster: &mut Table) {
        let mut outlier = Value::Map(Vec::new());
        if let Some(count) = self.consecutive.filter(|count| *count != CONSECUTIVE_DEFAULT && *count > 0) {
            outlier.push("consecutive_failures", u64::from(count));
        }
        let interval = self.interval.map(|time| time.max(Duration::from_millis(100)));
        let longest = self.longest.map(|time| time.max(self.base.unwrap_or(Duration::from_secs(30))));
        for (key, time, default) in [
            ("interval", interval, 10),
            ("base_ejection_time", self.base, 30),
            ("max_ejection_time", longest, 300),
        ] {
            if let Some(time) = time.filter(|time| *time != Duration::from_secs(default) && !time.is_zero()) {
                outlier.push(key, time.min(DURATION_MAX));
            }
        }
        if let Some(percent) = self.percent.filter(|percent| *percent != EJECTION_PERCENT_DEFAULT) {
            outlier.push("max_ejection_percent", u64::from(percent.min(100)));
        }
        if outlier != Value::Map(Vec::new()) {
            cluster.set("outlier", outlier);
        }
    }
}

/// Reads a time of nginx: `300s`, `1h 30m`, `500ms`, or a bare number of seconds.
pub(super) fn nginx_time(text: &str) -> Option<Duration> {
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| !c.is_ascii_alphabetic());
        let factor = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(millis))
}

/// Reads a size of nginx: `4m`, `512k`, `1g`, or a bare number of bytes.
pub(super) fn nginx_size(text: &str) -> Option<u64> {
    let (number, unit) = split_where(text, |c| !c.is_ascii_digit());
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Keeps the longer of what several routes say of one cluster.
pub(super) fn set_longest(cluster: &mut Table, key: &str, time: Duration) {
    let time = time.min(DURATION_MAX);
    let known = match cluster.get(key) {
        Some(Value::Text(text)) => duration(text).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    if time > known {
        cluster.set(key, time);
    }
}
