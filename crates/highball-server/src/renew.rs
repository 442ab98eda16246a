//! Keeping TLS files in force while a server runs.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use highball_net::tls::{self, ServerTls};
use highball_telemetry::{Event, Telemetry};
use tokio::sync::Notify;

/// Takes the files of one listener when they change, or when `now` asks for it, for as long as the server runs.
pub(crate) async fn watch(telemetry: Telemetry, listener: String, tls: Arc<ServerTls>, now: Arc<Notify>) {
    let told = |error: Option<String>| {
        telemetry.report(&Event::TlsReload { listener: &listener, error: error.as_deref() });
        report_expiry(&telemetry, &listener, &tls);
    };
    report_expiry(&telemetry, &listener, &tls);
    loop {
        let watching = tls.watch(tls::WATCH_INTERVAL, |event| match event {
            tls::Event::Rejected(error) => told(Some(error.to_string())),
            tls::Event::Reloaded(_) | tls::Event::Restored => told(None),
        });
        tokio::select! {
            () = watching => return,
            () = now.notified() => told(tls.reload().err().map(|error| error.to_string())),
        }
    }
}

fn report_expiry(telemetry: &Telemetry, listener: &str, tls: &ServerTls) {
    let since_1970 = tls.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
    let not_after_seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    telemetry.report(&Event::TlsCertificate { listener, not_after_seconds });
}
