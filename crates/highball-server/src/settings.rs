//! What a server allows, with the defaults this project stands for.

use std::fmt;
use std::time::Duration;

use highball_core::ByteSize;

use crate::checklist::Profile;
use crate::rate::Rates;

/// The limits of one server. [`Default`] is the only place where defaults are written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Largest message, each way, without its five-byte prefix. Default 4 MiB, as every gRPC implementation.
    /// A larger one is RESOURCE_EXHAUSTED, refused before it is buffered.
    pub message_size_bytes_max: usize,
    /// RPCs this process works on at once; one more is RESOURCE_EXHAUSTED at once, nothing queues. Default 10,000.
    /// Health checks are not counted: a full server is not a dead one.
    pub concurrent_rpcs_max: usize,
    /// How often one caller may call; `None`, the default, for as often as it likes. Beyond it RPCs are
    /// RESOURCE_EXHAUSTED with the time to wait. Health checks are not counted.
    pub rates: Option<Rates>,
    /// Connections of all clients together; one more is closed at once. Default 10,000.
    pub connections_max: usize,
    /// Connections of one address; one more is closed at once. Default 1,000. Unix sockets have no address.
    pub connections_per_peer_max: usize,
    /// Deadline of a unary RPC whose caller set none. Default 30 s. Streams have none unless their caller sets one.
    pub deadline_default: Duration,
    /// Longest deadline a caller of a unary RPC may ask for. Default 5 min.
    pub deadline_cap: Duration,
    /// How long readiness says no before anything is refused, so that load balancers see it. Default 2 s.
    pub lame_duck: Duration,
    /// How long RPCs may take to finish after that, before they are cut. Default 30 s.
    pub drain_timeout: Duration,
    /// Whether clients may read the descriptors (`grpc.reflection.v1` and `v1alpha`). Default off: it is a map of the
    /// service for whoever can connect.
    pub reflection: bool,
    /// How strict a start is. Default [`Profile::Development`].
    pub profile: Profile,
    /// Names of open boxes that a start in [`Profile::Production`] allows, such as `tls` behind a proxy. Default none.
    pub open_boxes_allowed: Vec<String>,
    /// Limits of each connection.
    pub connection: highball_net::http::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_size_bytes_max: 4 << 20,
            concurrent_rpcs_max: 10_000,
            rates: None,
            connections_max: 10_000,
            connections_per_peer_max: 1000,
            deadline_default: Duration::from_secs(30),
            deadline_cap: Duration::from_secs(300),
            lame_duck: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
            reflection: false,
            profile: Profile::default(),
            open_boxes_allowed: Vec::new(),
            connection: highball_net::http::Settings::default(),
        }
    }
}

impl Settings {
    /// Finds what cannot work, all of it at once.
    ///
    /// # Errors
    /// [`SettingsError`] with a sentence per problem, each naming the setting and the fix.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("message_size_bytes_max", self.message_size_bytes_max),
            ("concurrent_rpcs_max", self.concurrent_rpcs_max),
            ("connections_max", self.connections_max),
            ("connections_per_peer_max", self.connections_per_peer_max),
            ("connection.concurrent_streams_max", self.connection.concurrent_streams_max as usize),
            ("connection.header_list_size_bytes_max", self.connection.header_list_size_bytes_max as usize),
            ("connection.send_buffer_size_bytes_max", self.connection.send_buffer_size_bytes_max),
        ] {
            if value == 0 {
                problems.push(format!("{name} is 0; set it to at least 1"));
            }
        }
        if self.message_size_bytes_max > u32::MAX as usize {
            problems.push(
                "message_size_bytes_max is larger than gRPC's 4 GiB prefix can say; lower it".to_owned(),
            );
        }
        problems.extend(self.rates.iter().flat_map(Rates::problems));
        if self.deadline_default.is_zero() {
            problems.push(
                "deadline_default is 0, so every RPC would fail at once; set it to 30s or more".to_owned(),
            );
        }
        if self.deadline_default > self.deadline_cap {
            let (default, cap) = (self.deadline_default, self.deadline_cap);
            problems
                .push(format!("deadline_default {default:?} exceeds deadline_cap {cap:?}; raise the cap"));
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError(problems)) }
    }

    /// The limits in force, as name and value, for the start banner and the admin port.
    #[must_use]
    pub fn effective_limits(&self) -> Vec<(&'static str, String)> {
        let size = |bytes: usize| ByteSize(bytes).to_string();
        vec![
            ("message size, each way", size(self.message_size_bytes_max)),
            ("concurrent RPCs", self.concurrent_rpcs_max.to_string()),
            (
                "rate of a caller",
                match &self.rates {
                    Some(rates) => format!("{}/s, burst {}", rates.per_second, rates.burst),
                    None => "not limited".to_owned(),
                },
            ),
            (
                "connections, total / per peer",
                format!("{} / {}", self.connections_max, self.connections_per_peer_max),
            ),
            ("streams per connection", self.connection.concurrent_streams_max.to_string()),
            ("header list", size(self.connection.header_list_size_bytes_max as usize)),
            ("idle / age ±10 % / grace", {
                let connection = &self.connection;
                format!("{:?} / {:?} / {:?}", connection.idle_max, connection.age_max, connection.age_grace)
            }),
            ("keepalive, time / timeout", {
                format!("{:?} / {:?}", self.connection.keepalive_time, self.connection.keepalive_timeout)
            }),
            ("client pings, at most every", format!("{:?}", self.connection.rules.ping_interval_min)),
            (
                "unary deadline, default / cap",
                format!("{:?} / {:?}", self.deadline_default, self.deadline_cap),
            ),
            ("lame duck / drain", format!("{:?} / {:?}", self.lame_duck, self.drain_timeout)),
        ]
    }
}

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid settings: {}", self.0.join("; "))
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let broken = Settings {
            message_size_bytes_max: 0,
            concurrent_rpcs_max: 0,
            deadline_default: Duration::from_secs(600),
            ..Settings::default()
        };
        let text = broken.check().unwrap_err().to_string();
        for name in ["message_size_bytes_max", "concurrent_rpcs_max", "deadline_cap"] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(Settings::default().check(), Ok(()));
    }
}
