//! Keeping TLS files in force while a server runs.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use highball_net::tls::{self, ServerTls};
use highball_telemetry::{Event, Telemetry};
use tokio::sync::Notify;

/// Takes the files of one listener when they change, or when `now` asks for it, for as long as the server runs.
pub(crate) async fn watch(telemetry: Telemetry, listener: String, tls: Arc<ServerTls>, now: Arc<Notify>) {
    let mut expiry = Expiry { telemetry: &telemetry, listener: &listener, tls: &tls, told: Vec::new() };
    expiry.report();
    let mut told = |error: Option<String>| {
        telemetry.report(&Event::TlsReload { listener: &listener, error: error.as_deref() });
        expiry.report();
    };
    loop {
        let watching = tls.watch(tls::WATCH_INTERVAL, |event| match event {
            tls::Event::Rejected(error) => told(Some(error.to_string())),
            tls::Event::Reloaded(_) | tls::Event::Restored => told(None),
        });
        tokio::select! {
            () = watching => return,
            () = now.notified() => {}
        }
        told(tls.reload().err().map(|error| error.to_string()));
    }
}

/// The gauges of a listener's certificates.
struct Expiry<'a> {
    telemetry: &'a Telemetry,
    listener: &'a str,
    tls: &'a ServerTls,
    /// The labels in use: a certificate's first name may change with its file.
    told: Vec<String>,
}

impl Expiry<'_> {
    fn report(&mut self) {
        let certificates = self.tls.facts().certificates;
        let labels: Vec<_> = certificates.iter().enumerate().map(label).collect();
        for gone in self.told.iter().filter(|told| !labels.contains(told)) {
            self.tell(gone, None);
        }
        for (certificate, label) in certificates.iter().zip(&labels) {
            let since_1970 = certificate.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.tell(label, Some(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)));
        }
        self.told = labels;
    }

    fn tell(&self, certificate: &str, not_after_seconds: Option<i64>) {
        let listener = self.listener;
        self.telemetry.report(&Event::TlsCertificate { listener, certificate, not_after_seconds });
    }
}

/// Its first name, or its place in the settings if it has none.
fn label((number, certificate): (usize, &tls::CertificateFacts)) -> String {
    certificate.server_names.first().cloned().unwrap_or_else(|| format!("#{number}"))
}
