//! `highball up` as a person at a terminal meets it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use buffa::Message as _;
use highball::{Code, Settings};
use highball_testkit::Client;
use orders::proto::ecommerce::v1::{CreateOrderRequest, OrderItem};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

/// Longer than a whole drain takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last line of the banner.
const END: &str = "Ctrl-C drains and stops; a second one stops at once";

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

fn highball(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highball"));
    command.args(flags).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running `highball up`. It dies with the test, however that ends.
struct Up {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    banner: String,
}

impl Up {
    /// Starts it on free ports and reads the banner.
    async fn start(data: &Path) -> Self {
        let any = "127.0.0.1:0";
        let flags = ["up", "--listen", any, "--admin", any, "--data", data.to_str().unwrap()];
        let mut child = highball(&flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.ends_with(END) {
            let line = soon("the banner", stderr.next_line()).await.unwrap();
            banner.push('\n');
            banner.push_str(&line.unwrap_or_else(|| panic!("the program ended: {banner}")));
        }
        Self { child, stderr, banner }
    }

    /// What the banner says after `name`.
    fn line(&self, name: &str) -> &str {
        let mut lines = self.banner.lines();
        let found = lines.find_map(|line| line.trim_start().strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.banner)).trim()
    }

    fn addr(&self) -> SocketAddr {
        self.line("gRPC (plaintext HTTP/2)").parse().unwrap()
    }

    fn admin(&self) -> SocketAddr {
        let url = self.line("admin").strip_prefix("http://").unwrap();
        url.split('/').next().unwrap().parse().unwrap()
    }

    /// The commands to try, each as it is printed.
    fn commands(&self) -> Vec<String> {
        let (_, rest) = self.banner.split_once("\ntry\n").unwrap();
        let (commands, _) = rest.split_once("\n\n").unwrap();
        let mut all = Vec::new();
        let mut goes_on = false;
        for line in commands.lines() {
            if goes_on {
                let command: &mut String = all.last_mut().unwrap();
                command.push('\n');
                command.push_str(line);
            } else {
                all.push(line.to_owned());
            }
            goes_on = line.ends_with('\\');
        }
        all
    }

    /// Ctrl-C. What it says on standard error and in its log until it has ended, and its exit code.
    async fn interrupted(mut self) -> (Vec<String>, String, Option<i32>) {
        let id = self.child.id().unwrap();
        let sent = sh(&format!("kill -INT {id}")).await;
        assert!(sent.status.success());
        let mut said = Vec::new();
        while let Some(line) = soon("the summary", self.stderr.next_line()).await.unwrap() {
            said.push(line);
        }
        said.retain(|line| !line.is_empty());
        let mut log = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        soon("the log", stdout.read_to_string(&mut log)).await.unwrap();
        let status = soon("the end", self.child.wait()).await.unwrap();
        (said, log, status.code())
    }
}

/// Runs a line as a person would type it.
async fn sh(line: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        // A proxy of this machine would not find a service on this machine.
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    soon(line, command.output()).await.unwrap()
}

/// What it prints; it must succeed.
async fn prints(line: &str) -> String {
    let output = sh(line).await;
    assert!(output.status.success(), "{line}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a shell would find all these programs.
async fn have(programs: &[&str]) -> bool {
    for program in programs {
        if !sh(&format!("command -v {program}")).await.status.success() {
            return false;
        }
    }
    true
}

async fn have_curl() -> bool {
    have(&["curl", "strings"]).await && prints("curl --version").await.contains("HTTP2")
}

#[tokio::test]
async fn the_banner_names_what_is_where_and_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("not/there/yet");
    let up = Up::start(&data).await;
    assert!(up.banner.starts_with("\n\nhighball is up\n"), "{}", up.banner);
    assert!(data.join("orders.db").is_file());
    assert_eq!(up.line("data"), data.join("orders.db").to_str().unwrap());
    assert_ne!((up.addr().port(), up.admin().port()), (0, 0));

    let settings = Settings { reflection: true, ..Settings::default() };
    for limit in settings.limits() {
        assert_eq!(up.line(limit.what), limit.value);
    }
    for (name, fix) in [
        ("tls", "give a certificate and key"),
        ("callers", "give rules for callers"),
        ("rates", "set a rate"),
        ("reflection", "turn reflection off"),
    ] {
        let line = up.line(&format!("[ ] {name}"));
        assert!(line.ends_with(fix), "{line}");
    }
    let commands = up.commands();
    let programs: Vec<&str> =
        commands.iter().map(|command| command.split_whitespace().next().unwrap()).collect();
    assert_eq!(programs, ["printf", "grpcurl", "curl"]);
}

#[tokio::test]
async fn the_printed_commands_work_as_printed() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    let commands = up.commands();
    let client = Client::tcp(up.addr()).await;

    if have_curl().await {
        assert_eq!(prints(&commands[0]).await, "Hello Rail\n");
    } else {
        println!("no curl with HTTP/2, or no strings: the first command was not run, only its request sent");
        let reply = client.unary("/greeter.Greeter/SayHello", b"\x0a\x04Rail").await;
        assert_eq!(reply.messages, ["\x0a\x0aHello Rail"]);
    }

    if have(&["grpcurl"]).await {
        let order = prints(&commands[1]).await;
        assert!(order.contains("\"totalAmount\": 7"), "{order}");
    } else {
        println!("no grpcurl: the second command was not run, only its request sent");
        let tea = OrderItem { product_id: "tea".into(), quantity: 2, price: 3.5, ..Default::default() };
        let order = CreateOrderRequest { user_id: "u1".into(), items: vec![tea], ..Default::default() };
        let path = "/ecommerce.v1.OrderService/CreateOrder";
        assert_eq!(client.unary(path, &order.encode_to_vec()).await.code(), Code::Ok);
    }

    if have_curl().await {
        let metrics = prints(&commands[2]).await;
        let greeted = "grpc_requests_total{method=\"greeter.Greeter/SayHello\",code=\"OK\"} 1\n";
        assert!(metrics.contains(greeted), "{metrics}");
        assert!(metrics.contains("orders_created_total 1\n"), "{metrics}");
    } else {
        println!("no curl: the third command was not run");
    }
}

#[tokio::test]
async fn ctrl_c_drains_and_sums_up() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    let client = Client::tcp(up.addr()).await;
    let reply = client.unary("/greeter.Greeter/SayHello", b"").await;
    assert_eq!(reply.code(), Code::Ok);
    let (said, log, code) = up.interrupted().await;
    assert_eq!(code, Some(0), "{said:?}");
    let [summary] = &said[..] else { panic!("{said:?}") };
    assert!(summary.starts_with("drained in ") && summary.ends_with("0 cut; 0 connections cut"), "{summary}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.contains("\"message\":\"drained\""), "{last}");
}

/// What a program that must not start says to people.
async fn sentence(flags: &[&str]) -> String {
    let output = soon("the end", highball(flags).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("highball is up"), "{said}");
    said
}

#[tokio::test]
async fn a_taken_port_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (data, any) = (dir.path().to_str().unwrap(), "127.0.0.1:0");
    let taken = TcpListener::bind(any).await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flags in [
        ["up", "--listen", &taken, "--admin", any, "--data", data],
        ["up", "--listen", any, "--admin", &taken, "--data", data],
    ] {
        let said = sentence(&flags).await;
        let begins = format!("highball: cannot listen on {taken}: the address is already in use");
        assert!(said.starts_with(&begins) && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let below = file.join("data");
    for data in [file.to_str().unwrap(), below.to_str().unwrap()] {
        let said = sentence(&["up", "--data", data]).await;
        let begins = format!("highball: cannot make the data directory {data}: ");
        assert!(said.starts_with(&begins) && said.ends_with("; choose another with --data\n"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_mistake_on_the_command_line_is_named() {
    for (flags, says) in [
        (
            &["up", "--listen", "localhost"][..],
            "error: invalid value 'localhost' for '--listen <ADDR>': expected IP:PORT such as",
        ),
        (&["up", "--prot"], "error: unexpected argument '--prot' found"),
        (&["down"], "error: unrecognized subcommand 'down'"),
        (&[], "The production layer for gRPC\n\nUsage: highball"),
    ] {
        let said = sentence(flags).await;
        assert!(said.starts_with(says), "{said}");
    }
}

#[tokio::test]
async fn production_refuses_to_start_with_open_boxes_and_names_what_closes_each() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let any = ["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let refused = highball(&any).args(["--profile", "production"]).output().await.unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    for (name, fix) in
        [("tls", "certificate and key"), ("callers", "rules for callers"), ("rates", "set a rate")]
    {
        assert!(text.lines().any(|line| line.contains(name) && line.contains(fix)), "{name}: {text}");
    }
    assert!(!text.contains("reflection"), "production leaves it off: {text}");
}

#[tokio::test]
async fn production_starts_when_every_box_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for flags in [["certs", "init"], ["certs", "server"]] {
        let made = highball(&flags).args(["--dir", &path("certs")]).output().await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let rules = "[[policy.allow]]\nname = \"greet\"\nmethods = [\"greeter.Greeter/*\"]\ncallers = { anyone = true }\n";
    std::fs::write(dir.path().join("rules.toml"), rules).unwrap();
    let mut command =
        highball(&["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--profile", "production"]);
    command.args(["--data", &path("data"), "--rate", "100", "--rules", &path("rules.toml")]);
    command.args(["--tls-cert", &path("certs/server.pem"), "--tls-key", &path("certs/server-key.pem")]);
    let mut up = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let mut banner = String::new();
    while let Some(line) = soon("the banner", lines.next_line()).await.unwrap() {
        banner.push_str(&line);
        banner.push('\n');
        if line == END {
            break;
        }
    }
    assert!(banner.contains("highball is up") && banner.contains("gRPC (HTTP/2 over TLS)"), "{banner}");
    assert!(banner.contains("https://127.0.0.1:") && !banner.contains("plaintext"), "{banner}");
    for name in ["tls", "callers", "rates", "reflection"] {
        assert!(!banner.contains(&format!("[ ] {name}")), "{name} is closed: {banner}");
    }
    up.kill().await.unwrap();
}
