//! Backends that are one to their callers: a channel for each worker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highball_channel::service_config::ThrottleSettings;
use highball_channel::{Channel, ServiceConfig};
use highball_net::Platform;
use highball_net::tls::ClientTls;
use highball_net::tls::client::Settings as TlsSettings;
use highball_telemetry::Telemetry;

use crate::settings::{self, Health, Settings};

/// A cluster, as one worker knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) settings: settings::Cluster,
    pub(crate) channel: Channel,
}

/// What clusters are made of, beside their settings. Loaded once for all workers.
#[derive(Debug)]
pub(crate) struct Materials {
    /// TLS to the backends, by cluster. A reload takes over those whose settings are the same.
    tls: BTreeMap<String, Arc<ClientTls>>,
    descriptors: Vec<Vec<u8>>,
}

impl Materials {
    /// Reads every file that `settings` name for their clusters.
    ///
    /// # Errors
    /// A sentence for each file that cannot be used.
    pub(crate) fn load(
        settings: &Settings,
        descriptors: Vec<Vec<u8>>,
        previous: Option<(&Settings, &Self)>,
        platform: &Arc<dyn Platform>,
    ) -> Result<Self, Vec<String>> {
        let (mut tls, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, cluster) in &settings.clusters {
            let Some(wanted) = &cluster.tls else { continue };
            let same = |(settings, known): (&Settings, &Self)| {
                let same = settings.clusters.get(name)?.tls.as_ref() == Some(wanted);
                known.tls.get(name).filter(|_| same).cloned()
            };
            if let Some(known) = previous.and_then(same) {
                // Its files are followed as they change; somebody asks for it now. What is wrong with them the follower reports.
                known.reload().ok();
                tls.insert(name.clone(), known);
                continue;
            }
            match ClientTls::load(client_tls(wanted), platform.clone()) {
                Ok(loaded) => drop(tls.insert(name.clone(), Arc::new(loaded))),
                Err(error) => problems.push(format!("cluster {name}: {error}")),
            }
        }
        if problems.is_empty() { Ok(Self { tls, descriptors }) } else { Err(problems) }
    }
}

fn client_tls(wanted: &settings::UpstreamTls) -> TlsSettings {
    let settings::UpstreamTls { ca, identity, server_name } = wanted;
    let mut tls = TlsSettings::new();
    if let Some(ca) = ca {
        tls = tls.with_roots(ca);
    }
    if let Some((certificate, key)) = identity {
        tls = tls.with_identity(certificate, key);
    }
    if let Some(name) = server_name {
        tls = tls.with_server_name(name);
    }
    tls
}

impl Cluster {
    /// Connects at once. Must be called inside the runtime of the worker it is for.
    ///
    /// # Errors
    /// One sentence, for the person who wrote the file.
    pub(crate) fn open(
        name: &str,
        settings: &settings::Cluster,
        materials: &Materials,
        platform: &Arc<dyn Platform>,
        telemetry: &Telemetry,
    ) -> Result<Self, String> {
        let made = Self::new(name, settings, materials, platform, telemetry)?;
        made.channel.connect();
        Ok(made)
    }

    /// Connects to nothing.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn new(
        name: &str,
        settings: &settings::Cluster,
        materials: &Materials,
        platform: &Arc<dyn Platform>,
        telemetry: &Telemetry,
    ) -> Result<Self, String> {
        let mut builder = Channel::builder(&settings.target)
            .with_name(name)
            .with_settings(channel_settings(settings))
            .with_default_config(service_config(settings))
            .with_platform(platform.clone())
            .with_telemetry(telemetry.clone());
        if let Some(tls) = materials.tls.get(name) {
            builder = builder.with_tls(tls.clone());
        }
        if let Some(authority) = &settings.authority {
            builder = builder.with_authority(authority.as_str());
        }
        for set in &materials.descriptors {
            builder = builder.with_descriptors(set.clone());
        }
        let channel = builder.build().map_err(|error| format!("cluster {name}: {error}"))?;
        Ok(Self { name: name.to_owned(), settings: settings.clone(), channel })
    }
}

/// A proxy's channel is never idle: its first call after a quiet night must not wait for connections.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of one response that wait for its caller: 256 MiB a second for one stream at a millisecond, which is what lies between
/// an edge and its backends. What one caller that reads nothing can have us hold is this for each of its streams.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// Bookkeeping of one stream that stands still at full window, while its messages have 50 bytes or more. The bound is that of
/// the connection, and beyond it all of its streams end: 1,000 streams of such messages stay below, or 240 of ten bytes.
const STREAM_SMALL_FRAMES_BYTES: usize = 1 << 20;

fn channel_settings(cluster: &settings::Cluster) -> highball_channel::Settings {
    let mut settings = highball_channel::Settings::default();
    settings.response_size_bytes_max = cluster.response_size_bytes_max;
    // The server has looked at the request's messages already.
    settings.request_size_bytes_max = usize::MAX;
    settings.replay_bytes_max = cluster.replay_size_bytes_max;
    settings.waiting_calls_max = cluster.waiting_max;
    settings.connect_timeout = cluster.connect_timeout;
    settings.connections_per_endpoint_max = cluster.connections_per_endpoint_max;
    settings.endpoint_calls_max = cluster.calls_per_endpoint_max;
    settings.health = cluster.health != Health::Off;
    settings.idle_timeout = NEVER;
    settings.connection.keepalive_time = cluster.keepalive_time;
    settings.connection.keepalive_timeout = cluster.keepalive_timeout;
    // The connection is shared by callers who know nothing of each other: streams that stand still at full window, all of
    // them, must leave window to the next.
    settings.connection.stream_window_bytes = STREAM_WINDOW_BYTES;
    let streams = u32::try_from(settings.connection.concurrent_streams_max).unwrap_or(u32::MAX);
    settings.connection.connection_window_bytes =
        streams.saturating_add(1).saturating_mul(STREAM_WINDOW_BYTES);
    settings.connection.small_frames_bytes_max =
        settings.connection.concurrent_streams_max.saturating_mul(STREAM_SMALL_FRAMES_BYTES);
    settings
}

fn service_config(cluster: &settings::Cluster) -> ServiceConfig {
    let mut config = ServiceConfig::default();
    config.balancing = Some(cluster.balancing.clone());
    // A tenth of a token back for each success, as the channel does it by itself.
    config.throttling = ThrottleSettings::new(cluster.retry_tokens, 0.1);
    if let Health::Require(service) = &cluster.health {
        config.health_check_service = Some(service.clone());
    }
    config
}

/// Reads encoded `FileDescriptorSet`s.
///
/// # Errors
/// A sentence for each that cannot be read.
pub(crate) fn descriptors(files: &[impl AsRef<Path>]) -> Result<Vec<Vec<u8>>, Vec<String>> {
    let mut problems = Vec::new();
    let mut sets = Vec::new();
    for file in files {
        match std::fs::read(file) {
            Ok(set) => sets.push(set),
            Err(cause) => problems.push(format!("descriptors {}: {cause}", file.as_ref().display())),
        }
    }
    if problems.is_empty() { Ok(sets) } else { Err(problems) }
}
