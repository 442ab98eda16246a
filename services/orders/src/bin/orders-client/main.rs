//! The `orders-client` program: every call of the reference service, from a terminal.

mod failure;
mod input;
mod orders;
mod out;
mod streams;
mod users;

use std::process::ExitCode;
use std::time::Duration;

use ::orders::DialFlags;
use ::orders::client::OrdersClient;
use clap::{Parser, Subcommand};
use highball::auth::duration;

use failure::Failure;
use out::Out;

/// Calls the order service.
///
/// Exit codes: 0 done; 1 the call failed; 2 the command line, or what it names, cannot be used; 3 answered, but a part of
/// it was refused; 4 the service was not reached, or had no time: trying again may help.
#[derive(Debug, Parser)]
#[command(name = "orders-client", version, arg_required_else_help = true)]
struct Flags {
    /// Where the service is: host:port, dns:///host:port, static:///a:1,b:2, unix:/path and so on.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "TARGET",
        default_value = "static:///127.0.0.1:50051"
    )]
    target: String,
    #[command(flatten)]
    dial: DialFlags,
    /// How long each call may take, such as 500ms or 2m; otherwise 5s, 10s for a page, 1m for a batch, and no limit for
    /// watch and process.
    #[arg(long, global = true, help_heading = "Connection", value_name = "TIME", value_parser = duration::parse)]
    deadline: Option<Duration>,
    /// Print what the service answers as JSON, one object on each line; errors, too.
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Order something. Safe to repeat with --key.
    Create(orders::Create),
    /// Show one order.
    Get(orders::Get),
    /// Follow one order until it is delivered or cancelled.
    Watch(orders::Watch),
    /// List orders, newest first.
    List(orders::List),
    /// Create an order for each entry of a file.
    Batch(streams::Batch),
    /// Move orders to new states.
    Process(streams::Process),
    /// Be greeted: the smallest call there is.
    Hello {
        /// Whom to greet.
        #[arg(default_value = "world")]
        name: String,
    },
    /// Create or show users.
    #[command(subcommand)]
    User(users::Command),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let mut out = Out::new(flags.json);
    let target = flags.target.clone();
    let end = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let end = runtime.block_on(run(flags, &mut out));
            // A read of the standard input may be under way, and cannot be stopped.
            runtime.shutdown_background();
            end
        }
        Err(cause) => Err(Failure::Usage(format!("cannot start the runtime: {cause}"))),
    };
    ExitCode::from(failure::exit_code(end, &out, &target))
}

async fn run(flags: Flags, out: &mut Out) -> Result<(), Failure> {
    let channel = OrdersClient::channel(&flags.target);
    let channel = flags.dial.tls()?.into_iter().fold(channel, |channel, tls| channel.with_tls(tls));
    let credentials = flags.dial.credentials(&flags.target)?;
    let channel = credentials.into_iter().fold(channel, |channel, who| channel.with_credentials(who));
    let client = OrdersClient::new(channel.build().map_err(|cause| cause.to_string())?);
    let client = flags.deadline.into_iter().fold(client, OrdersClient::with_deadline);
    match flags.command {
        Command::Create(flags) => orders::create(&client, flags, out).await,
        Command::Get(flags) => orders::get(&client, flags, out).await,
        Command::Watch(flags) => orders::watch(&client, flags, out).await,
        Command::List(flags) => orders::list(&client, flags, out).await,
        Command::Batch(flags) => streams::batch(&client, flags, out).await,
        Command::Process(flags) => streams::process(&client, flags, out).await,
        Command::Hello { name } => out.greeting(&client.hello(&name).await?),
        Command::User(command) => users::run(&client, command, out).await,
    }
}
