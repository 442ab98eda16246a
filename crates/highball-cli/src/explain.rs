//! `highball explain`: what a channel makes of a target, and whether a call would succeed; or what an edge makes of a call.

mod edge;
mod method;
mod report;
mod screen;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use highball::channel::{Builder, State};
use highball::{Channel, Status};
use highball_auth::duration;
use http::HeaderValue;
use orders::DialFlags;
use tokio::time::{Instant, sleep, timeout_at};

use crate::health::{self, Health};
use report::{Calls, Report};

/// What `highball explain` takes.
#[derive(Debug, Args)]
#[command(after_help = "With --edge: highball explain --edge 127.0.0.1:9901 package.Service/Method\n\n\
                  Exit codes: 0 the channel is READY, or the edge has an endpoint for the call; 1 it is not, or it has not; \
                  2 the command line is wrong")]
pub(crate) struct Flags {
    /// What to call: host:port, dns:///host:port, static:///a:1,b:2, unix:PATH, file:///PATH and so on. With --edge the
    /// method to ask about: package.Service/Method.
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    edge: edge::Question,
    /// Calls of grpc.health.v1.Health/Check to make, 0 to only connect.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "edge", value_parser = clap::value_parser!(u32).range(0..=1000))]
    calls: u32,
    /// Show what applies to calls of this method: package.Service/Method.
    #[arg(long, value_name = "NAME", conflicts_with = "edge", value_parser = method::parse)]
    method: Option<highball::core::Method>,
    /// The service config to assume while the resolver brings none (JSON).
    #[arg(long, value_name = "FILE", conflicts_with = "edge")]
    service_config: Option<PathBuf>,
    #[command(flatten)]
    dial: DialFlags,
    /// Time to become ready, and time for each call.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// How often the channel is looked at while its other endpoints connect.
const GLANCE: Duration = Duration::from_millis(10);

/// How long endpoints may take beyond the first that is ready.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Connects, calls, and prints what is known then. The exit code.
pub(crate) async fn run(flags: Flags) -> Result<u8, String> {
    if let Some(admin) = &flags.edge.edge {
        return edge::run(admin, &flags.target, &flags.edge, flags.json, flags.timeout).await;
    }
    let report = match channel(&flags) {
        Ok(channel) => examine(&channel, &flags).await,
        Err(sentence) => Report::without_channel(&flags.target, sentence),
    };
    print(&if flags.json { report.json() } else { screen::of(&report) });
    Ok(u8::from(!report.is_ready()))
}

fn channel(flags: &Flags) -> Result<Channel, String> {
    let mut builder = Channel::builder(&flags.target);
    if let Some(file) = &flags.service_config {
        let config = std::fs::read_to_string(file)
            .map_err(|cause| format!("cannot read the service config {}: {cause}", file.display()))?;
        builder = builder.with_service_config(config);
    }
    let builder = flags.dial.tls()?.into_iter().fold(builder, Builder::with_tls);
    let builder = flags.dial.credentials(&flags.target)?.into_iter().fold(builder, Builder::with_credentials);
    builder.build().map_err(|cause| cause.to_string())
}

async fn examine(channel: &Channel, flags: &Flags) -> Report {
    let started = Instant::now();
    let deadline = started + flags.timeout;
    // Whether it settled in time is in the snapshot.
    let settled = timeout_at(deadline, channel.settled()).await;
    if matches!(settled, Ok(State::Ready)) {
        stragglers(channel, deadline).await;
    }
    let calls = if channel.state() == State::Ready { call(channel, flags).await } else { Calls::default() };
    let config = flags.method.as_ref().map(|method| (method.clone(), channel.method_config(method)));
    Report::new(channel.snapshot(), calls, config, flags.timeout)
}

/// Waits for endpoints that are about to connect, so that the calls meet all of them.
async fn stragglers(channel: &Channel, deadline: Instant) {
    let until = deadline.min(Instant::now() + STRAGGLERS);
    while Instant::now() < until
        && channel.snapshot().endpoints.iter().any(|endpoint| endpoint.state == State::Connecting.name())
    {
        sleep(GLANCE).await;
    }
}

async fn call(channel: &Channel, flags: &Flags) -> Calls {
    let agent = HeaderValue::from_static(concat!("highball-explain/", env!("CARGO_PKG_VERSION")));
    let mut calls = Calls::default();
    for _ in 0..flags.calls {
        let started = Instant::now();
        let outcome: Result<Health, Status> = health::check(channel, "", flags.timeout, &agent).await;
        calls.note(outcome, started.elapsed());
    }
    calls
}

#[expect(clippy::print_stdout, reason = "the report is what this command is asked for")]
fn print(text: &str) {
    println!("{text}");
}
