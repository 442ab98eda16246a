//! One event as one line of JSON: timestamp, level, the event's fields, target.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Room for the line of an RPC, so that it is allocated once.
const USUAL_SIZE_BYTES: usize = 512;

/// Formats events. Every RPC pays for this, which is why it is written by hand.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "a line says when it was written; nothing is decided by it"
    )]
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line(String::with_capacity(USUAL_SIZE_BYTES));
        line.0.push_str("{\"timestamp\":\"");
        line.timestamp(SystemTime::now());
        line.0.push_str("\",\"level\":\"");
        line.0.push_str(event.metadata().level().as_str());
        line.0.push('"');
        event.record(&mut line);
        line.key("target");
        line.text(event.metadata().target());
        line.0.push_str("}\n");
        out.write_str(&line.0)
    }
}

struct Line(String);

impl Line {
    fn key(&mut self, name: &str) {
        self.0.push_str(",\"");
        // The names of fields are identifiers in our source, or quoted there; the latter may hold anything.
        self.escaped(name);
        self.0.push_str("\":");
    }

    fn text(&mut self, text: &str) {
        self.0.push('"');
        self.escaped(text);
        self.0.push('"');
    }

    /// RFC 8259 §7.
    fn escaped(&mut self, text: &str) {
        let special = |c: char| matches!(c, '"' | '\\' | '\0'..='\x1f');
        // Byte by byte is fastest, and what is special in a byte is a whole character.
        if !text.bytes().any(|byte| special(char::from(byte))) {
            return self.0.push_str(text);
        }
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if special(c) => self.display(format_args!("\\u{:04x}", u32::from(c))),
                c => self.0.push(c),
            }
        }
    }

    fn display(&mut self, value: impl fmt::Display) {
        // Writing to a string fails only when the value itself does; then there is no more of it to write.
        write!(self.0, "{value}").ok();
    }

    /// RFC 3339 in UTC, to the microsecond.
    fn timestamp(&mut self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = date(days);
        self.digits(year, 4);
        for (separator, value) in
            [('-', month), ('-', day), ('T', second / 3600), (':', second / 60 % 60), (':', second % 60)]
        {
            self.0.push(separator);
            self.digits(value, 2);
        }
        self.0.push('.');
        self.digits(since.subsec_micros().into(), 6);
        self.0.push('Z');
    }

    fn digits(&mut self, value: u64, width: u32) {
        for place in (0..width).rev() {
            let digit = (value / 10_u64.pow(place) % 10) as u8;
            self.0.push(char::from(b'0' + digit));
        }
    }
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
        self.display(value);
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
            self.0.push_str("null");
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.key(field.name());
        self.0.push('"');
        // As above: writing to a string.
        write!(Escaping(self), "{value:?}").ok();
        self.0.push('"');
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
            let mut line = Line(String::new());
            line.timestamp(UNIX_EPOCH + Duration::new(seconds, 7999));
            assert_eq!(line.0, want);
        }
    }
}
