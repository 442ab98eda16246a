//! One event as one line of JSON: timestamp, level, the event's fields, target.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::new();
        line.begin(event.metadata().level().as_str(), now());
        event.record(&mut line);
        line.end(event.metadata().target());
        out.write_str(&String::from_utf8_lossy(line.bytes()))
    }
}

/// A line says when it was written; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "see above")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// A line being written. Every RPC pays for one, which is why this is written by hand.
#[derive(Debug)]
pub(super) struct Line(Vec<u8>);

impl Line {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn begin(&mut self, level: &'static str, at: SystemTime) {
        self.raw("{\"timestamp\":\"");
        self.timestamp(at);
        self.raw("\",\"level\":\"");
        self.raw(level);
        self.raw("\"");
    }

    pub(super) fn end(&mut self, target: &str) {
        self.key("target");
        self.text(target);
        self.raw("}\n");
    }

    /// What needs no escaping. Inlined, so that a constant is copied without a call.
    #[inline]
    pub(super) fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn key(&mut self, name: &str) {
        self.raw(",\"");
        // The names of fields are identifiers in our source, or quoted there; the latter may hold anything.
        self.escaped(name);
        self.raw("\":");
    }

    pub(super) fn text(&mut self, text: &str) {
        self.raw("\"");
        self.escaped(text);
        self.raw("\"");
    }

    /// The text of `value`, without quotes.
    pub(super) fn escape(&mut self, value: impl fmt::Display) {
        // Writing to a string fails only when the value itself does; then there is no more of it to write.
        write!(Escaping(self), "{value}").ok();
    }

    /// RFC 8259 §7.
    fn escaped(&mut self, text: &str) {
        let special = |c: char| matches!(c, '"' | '\\' | '\0'..='\x1f');
        // Byte by byte, because what is special in a byte is a whole character; and to the end, which takes many at a time.
        if !text.bytes().fold(false, |found, byte| found | special(char::from(byte))) {
            return self.0.extend_from_slice(text.as_bytes());
        }
        for c in text.chars() {
            match c {
                '"' => self.raw("\\\""),
                '\\' => self.raw("\\\\"),
                '\n' => self.raw("\\n"),
                '\r' => self.raw("\\r"),
                '\t' => self.raw("\\t"),
                c if special(c) => self.display(format_args!("\\u{:04x}", u32::from(c))),
                c => self.raw(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn display(&mut self, value: impl fmt::Display) {
        // As above: writing to a string.
        write!(self, "{value}").ok();
    }

    /// RFC 3339 in UTC, to the microsecond.
    fn timestamp(&mut self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Most lines fall into the second of the line before.
        SECOND.with_borrow_mut(|(second, text)| {
            if text.is_empty() || *second != since.as_secs() {
                let mut line = Self(std::mem::take(text));
                line.clear();
                line.second(since.as_secs());
                (*second, *text) = (since.as_secs(), line.0);
            }
            self.0.extend_from_slice(text);
        });
        self.raw(".");
        self.digits(since.subsec_micros().into(), 6);
        self.raw("Z");
    }

    fn second(&mut self, since: u64) {
        let (days, second) = (since / 86_400, since % 86_400);
        let (year, month, day) = date(days);
        self.digits(year, 4);
        for (separator, value) in
            [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
        {
            self.0.push(separator);
            self.digits(value, 2);
        }
    }

    pub(super) fn number(&mut self, value: u64) {
        match value {
            // The most usual: counts of messages.
            0..10 => self.0.push(b'0' + value as u8),
            10..100 => self.digits(value, 2),
            _ => self.digits(value, value.ilog10() as usize + 1),
        }
    }

    /// The last `width` digits.
    pub(super) fn digits(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; DIGITS_MAX];
        for digit in digits.iter_mut().rev().take(width) {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let (_, last) = digits.split_at(DIGITS_MAX.saturating_sub(width));
        self.0.extend_from_slice(last);
    }
}

/// Of a 64-bit number.
const DIGITS_MAX: usize = 20;

thread_local! {
    /// The second of the last line, as it is written.
    static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

/// Year, month and day of the Gregorian calendar, of a day counted from 1970. Years begin in March here, so that the leap
/// day is the last of them.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field.name());
        self.text(value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.key(field.name());
        self.number(value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.key(field.name());
        self.display(value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.key(field.name());
        self.display(value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.key(field.name());
        self.display(value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.key(field.name());
        self.display(value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.key(field.name());
        // JSON knows no infinity.
        if value.is_finite() {
            self.display(format_args!("{value:?}"));
        } else {
            self.raw("null");
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.key(field.name());
        self.raw("\"");
        // As above: writing to a string.
        write!(Escaping(self), "{value:?}").ok();
        self.raw("\"");
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}

/// Escapes what a formatter writes.
struct Escaping<'a>(&'a mut Line);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.escaped(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_and_its_text_cannot_break_out_of_it() {
        let written = Written::default();
        let out = written.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || out.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let method = "a\"b\\c\n\u{1}é";
            tracing::info!(method, n = 7_u64, part = 1.5, whole = 2.0, yes = true, none = None::<u64>,
                shown = %"x\"y", nan = f64::NAN, "it \"happened\"");
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (head, rest) = line.split_once(",\"level\":").unwrap();
        assert!(head.starts_with("{\"timestamp\":\"20") && head.ends_with("Z\""), "{head}");
        let want = concat!(
            r#""INFO","message":"it \"happened\"","method":"a\"b\\c\n\u0001é","n":7,"part":1.5,"whole":2.0,"yes":true,"#,
            r#""shown":"x\"y","nan":null,"target":"highball_telemetry::log::line::tests"}"#,
            "\n"
        );
        assert_eq!(rest, want);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000007Z"),
            (1_740_787_200, "2025-03-01T00:00:00.000007Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            let mut line = Line::new();
            line.timestamp(UNIX_EPOCH + Duration::new(seconds, 7999));
            assert_eq!(line.bytes(), want.as_bytes());
        }
    }
}
