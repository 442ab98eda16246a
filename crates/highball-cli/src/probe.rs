//! `highball probe`: the health of a server as an exit code, for the probes of orchestrators.
//!
//! Exit codes, lines and defaults are those of `grpc_health_probe`, whose users change the name of the program and little
//! else. What differs: no flag skips the verification of a certificate, a refused connection is told at once instead of
//! after the timeout, and the answer goes to standard output.

use std::time::Duration;

use clap::Args;
use highball::channel::{Builder, Settings, State};
use highball::{Channel, Code};
use highball_auth::duration;
use http::HeaderValue;
use orders::DialFlags;
use tokio::time::{Instant, timeout};

use crate::health::{self, Health};
use crate::say;

/// What `highball probe` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 SERVING; 1 the command line is wrong; 2 no connection; 3 the call failed; 4 not SERVING"
)]
pub(crate) struct Flags {
    /// Where the server is: host:port, :port on this machine, unix:PATH, or any other target.
    #[arg(value_name = "ADDR")]
    addr: String,
    /// Whose health to ask for; the server as a whole unless given.
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    #[command(flatten)]
    dial: DialFlags,
    /// Time to connect, TLS included.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = some_time)]
    connect_timeout: Duration,
    /// Time for the call.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = some_time)]
    rpc_timeout: Duration,
    /// The user-agent of the call.
    #[arg(long, value_name = "TEXT", default_value = concat!("highball-probe/", env!("CARGO_PKG_VERSION")))]
    user_agent: HeaderValue,
    /// Say what is done, and how long it took.
    #[arg(short)]
    verbose: bool,
}

/// The command line is wrong, or a file it names. Clap's own errors end with this as well.
pub(crate) const INVALID_ARGUMENTS: u8 = 1;
/// No connection, or not in time.
const CONNECTION_FAILURE: u8 = 2;
/// The call failed, or not in time.
const RPC_FAILURE: u8 = 3;
/// An answer other than SERVING.
const UNHEALTHY: u8 = 4;

fn some_time(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("must be more than zero".to_owned()),
        time => Ok(time),
    }
}

/// Probes, and says in one line how it went. The exit code.
pub(crate) async fn run(flags: Flags) -> u8 {
    let started = Instant::now();
    let channel = match channel(&flags) {
        Ok(channel) => channel,
        Err(sentence) => return fails(INVALID_ARGUMENTS, &format!("error: {sentence}")),
    };
    if let Err(line) = connect(&channel, &flags).await {
        return fails(CONNECTION_FAILURE, &line);
    }
    let connected = started.elapsed();
    if flags.verbose {
        say(format_args!("connected in {connected:.1?}"));
    }
    let (within, called) = (flags.rpc_timeout, Instant::now());
    let serving = match health::check(&channel, &flags.service, within, &flags.user_agent).await {
        Ok(serving) => serving,
        Err(status) => {
            let line = match status.code() {
                Code::Unimplemented => {
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                        .to_owned()
                }
                Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {within:?}"),
                _ => format!("error: health rpc failed: {status}"),
            };
            return fails(RPC_FAILURE, &line);
        }
    };
    if flags.verbose {
        say(format_args!("time elapsed: connect={connected:.1?} rpc={:.1?}", called.elapsed()));
    }
    answer(serving)
}

fn channel(flags: &Flags) -> Result<Channel, String> {
    let target =
        if flags.addr.starts_with(':') { format!("localhost{}", flags.addr) } else { flags.addr.clone() };
    // What asks for health is not steered by it.
    let mut settings = Settings::default();
    settings.health = false;
    let builder = Channel::builder(&target).with_settings(settings);
    let builder = flags.dial.tls()?.into_iter().fold(builder, Builder::with_tls);
    let builder = flags.dial.credentials(&target)?.into_iter().fold(builder, Builder::with_credentials);
    if flags.verbose {
        let how = if flags.dial.wants_tls() { "TLS" } else { "plaintext" };
        say(format_args!(
            "connecting to {target}, {how}; connect timeout {:?}, rpc timeout {:?}",
            flags.connect_timeout, flags.rpc_timeout
        ));
    }
    builder.build().map_err(|cause| cause.to_string())
}

async fn connect(channel: &Channel, flags: &Flags) -> Result<(), String> {
    let (addr, within) = (&flags.addr, flags.connect_timeout);
    match timeout(within, channel.settled()).await {
        Ok(State::Ready) => Ok(()),
        Ok(_) => {
            let snapshot = channel.snapshot();
            // The operator's own terminal: addresses and all.
            let whole = snapshot.endpoints.into_iter().find_map(|endpoint| endpoint.trouble);
            let why = whole.or(snapshot.resolve_error).or(snapshot.config_error).or(snapshot.trouble);
            let why = why.unwrap_or_else(|| "no endpoint".to_owned());
            Err(format!("error: failed to connect service at {addr:?}: {why}"))
        }
        Err(_) => Err(format!("timeout: failed to connect service {addr:?} within {within:?}")),
    }
}

#[expect(clippy::print_stdout, reason = "the answer is what this command is asked for; a program reads it")]
fn answer(serving: Health) -> u8 {
    if serving == Health::Serving {
        println!("status: SERVING");
        return 0;
    }
    println!("service unhealthy (responded with {:?})", serving.name());
    UNHEALTHY
}

fn fails(code: u8, line: &str) -> u8 {
    say(line);
    code
}
