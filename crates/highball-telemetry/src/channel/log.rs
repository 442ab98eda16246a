//! What the log says of a channel.

use highball_core::Code;
use tracing::{debug, error, info, warn};

use super::ChannelEvent;

impl ChannelEvent<'_> {
    pub(super) fn log(&self) {
        match self {
            Self::Connect { target, endpoint, error: None } => info!(target, endpoint, "connected"),
            Self::Connect { target, endpoint, error: Some(error) } => {
                warn!(target, endpoint, error, "cannot connect");
            }
            Self::Disconnect { target, endpoint, why } => info!(target, endpoint, why, "disconnected"),
            Self::HealthUnsupported { target, endpoint, configured: true } => {
                warn!(
                    target,
                    endpoint, "the service config wants health checks, but the server has no health service"
                );
            }
            Self::HealthUnsupported { target, endpoint, configured: false } => {
                debug!(target, endpoint, "the server has no health service");
            }
            Self::LoadReportsEnded { target, endpoint, status } if status.code() == Code::Unimplemented => {
                // The level is gRFC A51's.
                error!(
                    target,
                    endpoint,
                    status = %status,
                    "the service config wants load reports out of band, but the server has none; those of calls count"
                );
            }
            Self::LoadReportsEnded { target, endpoint, status } => {
                info!(target, endpoint, status = %status, "load reports out of band ended; asking again");
            }
            Self::TlsHandshake { target, result } => debug!(target, result, "TLS handshake"),
            Self::Resolved { target, endpoints } => debug!(target, endpoints, "resolved"),
            Self::ResolveFailed { target, error, endpoints } => {
                warn!(target, error, endpoints, "cannot resolve the target; what was known stays");
            }
            Self::ConfigRefused { target, error } => {
                warn!(target, error, "bad service config; the one before stays");
            }
            Self::TlsReload { target, error: None } => info!(target, "TLS files reloaded"),
            Self::TlsReload { target, error: Some(error) } => {
                warn!(target, error, "TLS files refused; the old ones stay in force");
            }
            Self::CredentialsFailed { target, error } => warn!(target, error, "no credentials for a call"),
            Self::CredentialsRenewed { target, error: None, .. } => debug!(target, "credentials renewed"),
            Self::CredentialsRenewed { target, error: Some(error), usable: true } => {
                warn!(target, error, "credentials cannot be renewed; the old ones are still good");
            }
            Self::CredentialsRenewed { target, error: Some(error), usable: false } => {
                error!(target, error, "credentials cannot be renewed, and calls fail");
            }
            Self::Ejection { target, endpoint, what, why } => {
                warn!(target, endpoint, why, "outlier detection: {}", what.label());
            }
            Self::Retry { target, kind, status, wait } => {
                debug!(target, kind = kind.label(), status = %status, wait_ms = wait.as_millis(), "another attempt");
            }
            Self::CallEnded { meter, status, duration, attempts } => {
                debug!(
                    target = meter.target,
                    method = meter.method,
                    status = %status,
                    duration_us = duration.as_micros(),
                    attempts,
                    "call"
                );
            }
        }
    }
}
