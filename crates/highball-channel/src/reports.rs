//! Asking a backend for reports of its load, beside the calls (gRFC A51, "Out of Band Metrics Reporting").
//!
//! There is one stream per backend, on its oldest connection, for as long as the service config wants reports.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use buffa::encoding::encode_varint;
use bytes::{BufMut as _, Bytes, BytesMut};
use highball_core::backoff::Backoff;
use highball_core::envelope::seal;
use highball_core::{Code, Status};
use highball_net::client::Connection;
use highball_telemetry::ChannelEvent;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::messages::{Messages, malformed, request};
use crate::orca::{OrcaReport, SIZE_BYTES_MAX};
use crate::picture::Shared;

const PATH: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

/// A server that takes fewer streams at once is not asked: this one and the health watch would take the places of calls.
const STREAMS_MIN: usize = 3;

/// From the beginning of one stream to that of the next, at least. One that brought something is begun anew at once when it
/// ends (gRFC A51), and a server that ends each after its first report must not make a busy loop of that.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Follows the reports of one backend on one connection.
pub(crate) struct Reports {
    pub(crate) connection: Connection,
    pub(crate) backend: Arc<Backend>,
    pub(crate) shared: Arc<Shared>,
}

impl Reports {
    /// Runs until it is dropped, which resets the stream. While the service config wants no reports it only waits.
    pub(crate) async fn run(self) -> Infallible {
        let mut wanted = self.backend.load.reports_wanted();
        loop {
            self.backend.load.reports_ended();
            let period = *wanted.borrow_and_update();
            tokio::select! {
                biased;
                // Another period is asked for by another stream (gRFC A51). The sender lives in the backend.
                _ = wanted.changed() => {}
                never = self.follow(period) => match never {},
            }
        }
    }

    /// One stream after the other, until the server says that it has no such thing.
    async fn follow(&self, period: Option<Duration>) -> Infallible {
        let Some(period) = period else { return std::future::pending().await };
        let mut backoff = Backoff::new(self.shared.settings.backoff);
        loop {
            let begun = Instant::now();
            let mut stream = None;
            let status = self.stream(period, &mut stream).await;
            self.backend.load.reports_ended();
            self.report(&status);
            if status.code() == Code::Unimplemented {
                return std::future::pending().await;
            }
            if stream.is_some_and(|stream| stream.spoke) {
                backoff.reset();
                tokio::time::sleep_until(begun + PERIOD_MIN).await;
            } else {
                tokio::time::sleep(backoff.next(self.shared.platform.random())).await;
            }
        }
    }

    /// One stream, and how it ended.
    async fn stream(&self, period: Duration, place: &mut Option<Messages>) -> Status {
        let request = request(&self.shared.connector.head(), PATH, ask(period));
        let stream = match Messages::open(&self.connection, STREAMS_MIN, request, SIZE_BYTES_MAX).await {
            Ok(stream) => place.insert(stream),
            Err(status) => return status,
        };
        loop {
            let message = match stream.next().await {
                Ok(message) => message,
                Err(status) => return status,
            };
            let Some(report) = OrcaReport::decode(&message) else { return malformed() };
            self.backend.load.report_out_of_band(&report, Instant::now());
            // A server that never pauses must not keep the backend's task from anything else.
            tokio::task::consume_budget().await;
        }
    }

    fn report(&self, status: &Status) {
        let endpoint = self.backend.endpoint().name();
        let target = &self.shared.name;
        let event = ChannelEvent::LoadReportsEnded { target, endpoint: &endpoint, status };
        self.shared.telemetry.report_channel(&event);
    }
}

/// `OrcaLoadReportRequest { google.protobuf.Duration report_interval = 1; }`, sealed.
fn ask(period: Duration) -> Bytes {
    let mut interval = BytesMut::new();
    for (tag, number) in [(0x08, period.as_secs()), (0x10, u64::from(period.subsec_nanos()))] {
        if number > 0 {
            interval.put_u8(tag);
            encode_varint(number, &mut interval);
        }
    }
    let mut message = BytesMut::new();
    message.put_u8(0x0a);
    encode_varint(interval.len() as u64, &mut message);
    message.put(interval);
    seal(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_asked_for_in_seconds_and_nanoseconds() {
        let wire = |period| ask(period).slice(5..);
        assert_eq!(wire(Duration::from_millis(10_500)), &b"\x0a\x08\x08\x0a\x10\x80\xca\xb5\xee\x01"[..]);
        assert_eq!(wire(Duration::from_secs(300)), &b"\x0a\x03\x08\xac\x02"[..]);
        assert_eq!(wire(Duration::ZERO), &b"\x0a\x00"[..]);
    }
}
