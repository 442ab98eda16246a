//! When an RPC must be over, and who said so.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// The header in which a caller states how long it will wait.
pub const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// Who set a deadline. Named in the error, so that nobody has to guess which timeout fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineOrigin {
    /// The caller, by `grpc-timeout`.
    Caller,
    /// The server's default for unary methods; the caller sent none.
    ServerDefault,
    /// The server's cap for unary methods; the caller asked for more.
    ServerCap,
    /// The RPC during whose handling this call was made.
    Inherited,
    /// The service config of what is called: `timeout` of its method.
    MethodConfig,
    /// The route of a proxy on the way: its `deadline`.
    Route,
}

/// A moment after which an RPC answers DEADLINE_EXCEEDED.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
    origin: DeadlineOrigin,
}

impl Deadline {
    /// `allowed` from `start` on.
    #[must_use]
    pub fn after(start: Instant, allowed: Duration, origin: DeadlineOrigin) -> Self {
        // The longest grpc-timeout, 99,999,999 hours, is beyond what some clocks can add; a year is for ever.
        const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
        Self { at: start + allowed.min(FOREVER), allowed, origin }
    }

    /// The moment itself.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The whole time that was granted, from arrival.
    #[must_use]
    pub fn allowed(&self) -> Duration {
        self.allowed
    }

    /// Who set it.
    #[must_use]
    pub fn origin(&self) -> DeadlineOrigin {
        self.origin
    }

    /// Time left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed;
        match self.origin {
            DeadlineOrigin::Caller => write!(f, "{allowed:?} set by the caller's grpc-timeout"),
            DeadlineOrigin::ServerDefault => write!(f, "{allowed:?} set by the server (deadline_default)"),
            DeadlineOrigin::ServerCap => write!(f, "{allowed:?} set by the server (deadline_cap)"),
            DeadlineOrigin::Inherited => write!(f, "{allowed:?} left to the RPC that made the call"),
            DeadlineOrigin::MethodConfig => write!(f, "{allowed:?} set by the service config (timeout)"),
            DeadlineOrigin::Route => write!(f, "{allowed:?} set by the route (deadline)"),
        }
    }
}

/// A `grpc-timeout` that is not 1 to 8 digits and one of `HMSmun`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTimeout(());

impl fmt::Display for InvalidTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed grpc-timeout: expected 1 to 8 digits and a unit of H, M, S, m, u or n")
    }
}

impl std::error::Error for InvalidTimeout {}

/// Reads `grpc-timeout` (gRPC over HTTP/2, "Requests"). `None` means the caller waits for ever.
///
/// # Errors
/// [`InvalidTimeout`] when the header is there but malformed, or there twice.
pub fn parse_timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvalidTimeout> {
    let mut values = headers.get_all(TIMEOUT_HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(InvalidTimeout(()));
    }
    let (unit, digits) = value.as_bytes().split_last().ok_or(InvalidTimeout(()))?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidTimeout(()));
    }
    let amount = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return Err(InvalidTimeout(())),
    }))
}

/// Writes `grpc-timeout`: at most eight digits of the finest unit they suffice for, rounded up, so that a peer never gives
/// up before we do. What has passed is `1n`: a timeout of zero is not one.
#[must_use]
pub fn encode_timeout(left: Duration) -> HeaderValue {
    const DIGITS_8: u128 = 100_000_000;
    let nanos = left.as_nanos().max(1);
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let fits =
        units.into_iter().map(|(size, unit)| (nanos.div_ceil(size), unit)).find(|(n, _)| *n < DIGITS_8);
    let (amount, unit) = fits.unwrap_or((nanos.div_ceil(3_600_000_000_000).min(DIGITS_8 - 1), 'H'));
    // Digits and a letter are always a legal value.
    HeaderValue::try_from(format!("{amount}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("1n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(value: &str) -> Result<Option<Duration>, InvalidTimeout> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, HeaderValue::from_str(value).unwrap());
        parse_timeout(&headers)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, want) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("0S", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Ok(Some(want)), "{text}");
        }
        assert_eq!(parse_timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", "1.5S", " 1S", "1S ", "1SS", "0x1S"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TIMEOUT_HEADER, HeaderValue::from_static("1S"));
        twice.append(TIMEOUT_HEADER, HeaderValue::from_static("2S"));
        assert!(parse_timeout(&twice).is_err());
    }

    #[test]
    fn the_longest_timeout_does_not_overflow_the_clock() {
        let start = Instant::now();
        let deadline = Deadline::after(start, Duration::from_secs(99_999_999 * 3600), DeadlineOrigin::Caller);
        assert!(!deadline.has_passed());
    }

    #[test]
    fn a_timeout_is_written_in_eight_digits() {
        for (left, want) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(30), "30000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(encode_timeout(left), want, "{left:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_timeout_is_read_as_no_less_and_hardly_more(nanos in 1_u64..) {
            let left = Duration::from_nanos(nanos);
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_HEADER, encode_timeout(left));
            let read = parse_timeout(&headers).unwrap().unwrap();
            prop_assert!(read >= left && read - left <= left / 100_000);
        }

        #[test]
        fn any_header_is_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(TIMEOUT_HEADER, value);
                if let Ok(Some(asked)) = parse_timeout(&headers) {
                    prop_assert!(!asked.is_zero() || Deadline::after(Instant::now(), asked, DeadlineOrigin::Caller).has_passed());
                }
            }
        }
    }
}
