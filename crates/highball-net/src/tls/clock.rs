//! The wall clock of [`Platform`], as rustls asks for it and as people read it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use x509_parser::time::ASN1Time;

use crate::Platform;

/// Lets rustls ask the platform what time it is.
#[derive(Debug)]
pub(super) struct Clock(pub(super) Arc<dyn Platform>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        // A clock before 1970 is no clock: rustls then fails the handshake instead of trusting a certificate.
        let since_epoch = self.0.wall_clock().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

/// The same moment, for comparing. Before 1970 is as good as 1970: long past.
pub(super) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    // 9999-12-31, the last date a certificate can carry, is far from overflowing.
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// `2026-11-20 14:21:12 UTC`.
pub(super) fn date(time: ASN1Time) -> String {
    let utc = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
    )
}

/// The same for rustls' notion of time.
pub(super) fn unix_date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    ASN1Time::from_timestamp(seconds).map_or_else(|_| format!("{seconds} s after 1970"), date)
}
