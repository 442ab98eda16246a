//! `highball up` as a person at a terminal meets it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod program;
mod replicas;

use std::process::{Output, Stdio};

use buffa::Message as _;
use highball::{Code, Settings};
use highball_testkit::Client;
use orders::proto::ecommerce::v1::{CreateOrderRequest, OrderItem};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use program::{END, Up, highball, soon};

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
        assert!(!up.line(limit.what).is_empty(), "{}", limit.what);
        if limit.setting.starts_with("deadline_default") {
            assert_eq!(up.line(limit.what), limit.value);
        }
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
    assert_eq!(programs, ["printf", "grpcurl", "curl", "highball", "kill"]);
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
        assert!(metrics.contains("edge_routed_total{route=\"all\",cluster=\"orders\"} 2\n"), "{metrics}");
    } else {
        println!("no curl: the third command was not run");
    }

    let (_, question) = commands[3].split_once("highball ").unwrap();
    let answer = highball(&question.split_whitespace().collect::<Vec<_>>()).output().await.unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    assert!(answer.contains("route     all\n") && answer.contains("by round_robin"), "{answer}");

    let (kill, _) = commands[4].split_once("  # ").unwrap();
    prints(kill).await;
    assert_eq!(client.unary("/greeter.Greeter/SayHello", b"").await.code(), Code::Ok);
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
    let drained = |by: Option<u64>| {
        let place =
            log.iter().position(|line| line["message"] == "drained" && line["replica"].as_u64() == by);
        place.unwrap_or_else(|| panic!("{by:?} did not drain: {log:?}"))
    };
    assert!(
        drained(None) < drained(Some(1)).min(drained(Some(2))),
        "the edge first: its calls need the replicas"
    );
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
