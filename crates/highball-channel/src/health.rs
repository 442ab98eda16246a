//! Watching the health of a backend on its own connection (gRFC A17).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _};
use highball_core::backoff::Backoff;
use highball_core::{Code, Status};
use highball_net::Platform;
use highball_net::client::Connection;
use tokio::time::Instant;

use crate::connector::Head;
use crate::health_check;
use crate::messages::{Messages, malformed, request};

const PATH: &str = "/grpc.health.v1.Health/Watch";

/// Longest answer that is a health status: a tag and a number. Leaves room for fields of later versions.
const MESSAGE_SIZE_BYTES_MAX: usize = 1024;

/// A server that takes fewer streams at once is not watched: the watch would take the place of every call.
const STREAMS_MIN: usize = 2;

/// A stream that lived so long is begun again at once when it ends.
const STEADY: Duration = Duration::from_secs(1);

/// Whose health decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `healthCheckConfig.serviceName`; empty for the server as a whole.
    pub(crate) service: String,
    /// Whether the service config asked for it. If nobody did, a server that does not know the name is taken as healthy:
    /// many servers have a health service and register nothing under the empty name.
    pub(crate) configured: bool,
}

/// What the backend says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// SERVING.
    Healthy,
    /// Anything else, or the stream broke.
    Unhealthy(String),
    /// It has no health service, or takes one stream at a time: healthy for as long as the connection lives.
    Unsupported,
}

/// A stream of health, which never ends.
pub(crate) struct Watch(BoxStream<'static, Heard>);

impl Watch {
    /// Nobody asked.
    pub(crate) fn none() -> Self {
        Self(futures_util::stream::pending().boxed())
    }

    /// Watches on `connection` until it is dropped. A broken stream is begun again after a backoff, at once if it had said
    /// anything.
    pub(crate) fn start(
        connection: Connection,
        wanted: Wanted,
        head: Head,
        backoff: Backoff,
        platform: Arc<dyn Platform>,
    ) -> Self {
        let watcher = Watcher {
            connection,
            wanted,
            head,
            backoff,
            platform,
            stream: None,
            begun: Instant::now(),
            begin_at: None,
            over: false,
        };
        let stream = futures_util::stream::unfold((watcher, None), |(mut watcher, before)| async move {
            // A server may say the same as often as it likes.
            loop {
                let heard = watcher.next().await;
                if before.as_ref() != Some(&heard) {
                    return Some((heard.clone(), (watcher, Some(heard))));
                }
            }
        });
        Self(stream.boxed())
    }

    /// The next change. Cancel safe.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.0.next().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

struct Watcher {
    connection: Connection,
    wanted: Wanted,
    head: Head,
    backoff: Backoff,
    platform: Arc<dyn Platform>,
    stream: Option<Messages>,
    /// When the last stream began.
    begun: Instant,
    /// When the next one may.
    begin_at: Option<Instant>,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Heard {
        if self.over {
            return std::future::pending().await;
        }
        let told = if self.stream.is_some() { self.heard().await } else { self.begin().await };
        match told {
            Ok(status) => self.read(status),
            Err(status) if self.is_for_good(status.code()) => {
                self.over = true;
                Heard::Unsupported
            }
            Err(status) => {
                // One that had said anything is begun again at once (gRFC A17), unless it ended as soon as it had.
                let spoke = self.stream.take().is_some_and(|stream| stream.spoke);
                if spoke && self.begun.elapsed() >= STEADY {
                    self.backoff.reset();
                } else {
                    self.begin_at = Some(Instant::now() + self.backoff.next(self.platform.random()));
                }
                Heard::Unhealthy(format!("health watch: {}", status.code()))
            }
        }
    }

    /// Whether there is no point in asking again. If nobody asked for health, a server that keeps it to itself is as good as
    /// one that has none.
    fn is_for_good(&self, code: Code) -> bool {
        match code {
            Code::Unimplemented => true,
            Code::Unauthenticated | Code::PermissionDenied => !self.wanted.configured,
            _ => false,
        }
    }

    fn read(&self, status: u64) -> Heard {
        match status {
            1 => Heard::Healthy,
            2 => Heard::Unhealthy("health: NOT_SERVING".to_owned()),
            3 if !self.wanted.configured => Heard::Healthy,
            3 => Heard::Unhealthy("health: SERVICE_UNKNOWN".to_owned()),
            _ => Heard::Unhealthy("health: UNKNOWN".to_owned()),
        }
    }

    async fn begin(&mut self) -> Result<u64, Status> {
        if let Some(begin_at) = self.begin_at {
            tokio::time::sleep_until(begin_at).await;
        }
        self.begun = Instant::now();
        let request = request(&self.head, PATH, health_check::request(&self.wanted.service));
        let stream = Messages::open(&self.connection, STREAMS_MIN, request, MESSAGE_SIZE_BYTES_MAX).await?;
        self.stream = Some(stream);
        self.heard().await
    }

    /// Cancel safe.
    async fn heard(&mut self) -> Result<u64, Status> {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        health_check::status(&stream.next().await?).ok_or_else(malformed)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
