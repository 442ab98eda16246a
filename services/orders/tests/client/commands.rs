//! `orders-client` as a person at a terminal, or a script, meets it.

use std::process::Stdio;

use highball::{Body, Server};
use highball_testkit::{TestServer, stub};
use http::Request;
use orders::proto::ecommerce::v1::OrderStatus;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::service::{Service, step, tea};
use crate::soon;

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program to its end, with `input` on its standard input.
async fn run(flags: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders-client"));
    command
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read it may be gone already.
    stdin.write_all(input.as_bytes()).await.ok();
    drop(stdin);
    let output = soon(child.wait_with_output()).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Service {
    async fn run(&self, flags: &[&str]) -> Ran {
        run(&[&["--target", &self.target], flags].concat(), "").await
    }

    /// The objects it prints; it must succeed.
    async fn json(&self, flags: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["--json"], flags].concat()).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What stands behind `name`.
fn value<'a>(screen: &'a str, name: &str) -> &'a str {
    let found = screen.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{screen}")).trim()
}

#[tokio::test]
async fn an_order_is_created_shown_and_listed() {
    let service = Service::start().await;
    let create = ["create", "--user", "ada", "--item", "tea:2:3.5", "--item", "cup:1:12", "--key", "k1"];
    let ran = service.run(&create).await;
    assert_eq!(
        (ran.code, value(&ran.stdout, "total"), value(&ran.stdout, "status")),
        (Some(0), "19", "PENDING")
    );
    let id = value(&ran.stdout, "order").to_owned();
    assert_eq!(service.run(&create).await.stdout, ran.stdout, "the key names the order");
    assert_eq!(service.run(&["get", &id]).await.stdout, ran.stdout);
    assert_eq!(service.json(&["get", &id]).await[0]["items"][1]["productId"], "cup");

    service.client().create_order(tea("bob")).await.unwrap();
    let list = service.run(&["list", "--page-size", "1"]).await.stdout;
    assert!(list.contains("  bob\n") && !list.contains(&id) && list.contains("more: --all"), "{list}");
    let list = service.run(&["list", "--page-size", "1", "--all"]).await.stdout;
    assert!(list.lines().count() == 3 && list.contains(&id), "{list}");
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let pages = service.json(&["list", "--page-size", "1"]).await;
    let token = pages[1]["nextPageToken"].as_str().unwrap();
    let rest = service.json(&["list", "--page-size", "1", "--page-token", token]).await;
    assert!(rest.len() == 1 && rest[0]["id"] == id.as_str(), "{rest:?}");
}

#[tokio::test]
async fn a_watch_prints_every_change_until_the_last() {
    let service = Service::start().await;
    let client = service.client();
    let id = client.create_order(tea("ada")).await.unwrap().id;
    let steps = [OrderStatus::Confirmed, OrderStatus::Shipped].map(|to| step(&id, to));
    let moved = async {
        use futures_util::StreamExt as _;
        for step in steps.into_iter().chain([step(&id, OrderStatus::Delivered)]) {
            let answers: Vec<_> = client.process_orders(futures_util::stream::iter([step])).collect().await;
            assert!(answers[0].as_ref().unwrap().success);
        }
    };
    let watch = ["watch", &id];
    let (ran, ()) = tokio::join!(service.run(&watch), moved);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.lines().last().unwrap().ends_with(" UTC  DELIVERED"), "{ran:?}");
}

#[tokio::test]
async fn a_batch_comes_from_a_file_or_the_standard_input() {
    let service = Service::start().await;
    let good = r#"{"userId":"ada","items":[{"productId":"tea","quantity":2,"price":3.5}]}"#;
    let file = service.dir.path().join("batch.json");
    std::fs::write(&file, format!("[{good},{good}]")).unwrap();
    let ran = service.run(&["batch", file.to_str().unwrap()]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "no progress where nobody watches: {ran:?}");
    assert!(ran.stdout.starts_with("2 of 2 created, 0 refused, in "), "{ran:?}");

    let input = format!("{good}\n{{\"userId\":\"ada\"}}\n");
    let ran = run(&["--target", &service.target, "--json", "batch", "-", "--key", "b1"], &input).await;
    assert_eq!(ran.code, Some(3), "a part was refused: {ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&answer["successCount"], &answer["failureCount"]), (&1.into(), &1.into()));

    let ran = run(&["--target", &service.target, "batch", "-"], "{\"userId\":7}").await;
    assert!(ran.code == Some(2) && ran.stderr.starts_with("orders-client: -: "), "{ran:?}");
}

#[tokio::test]
async fn steps_are_named_or_typed() {
    let service = Service::start().await;
    let id = service.client().create_order(tea("ada")).await.unwrap().id;
    let ran = service.run(&["process", &format!("{id}=confirmed")]).await;
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{id}  CONFIRMED  done\n")));
    let input = format!("{id} DELIVERED\n\nnonsense\n{id} SHIPPED\n");
    let ran = run(&["--target", &service.target, "process"], &input).await;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let refused = format!("{id}  DELIVERED  refused");
    let why = "    an order that is CONFIRMED cannot become DELIVERED";
    let done = format!("{id}  SHIPPED    done");
    assert_eq!(lines, [&*refused, why, &done, "1 moved, 1 refused"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.starts_with("orders-client: \"nonsense\" is not a step"), "{ran:?}");
}

#[tokio::test]
async fn failures_say_what_is_wrong_and_have_their_own_exit_codes() {
    let service = Service::start().await;
    let ran = service.run(&["create", "--user", "", "--item", ":0:-1"]).await;
    let fields: Vec<&str> = ran.stderr.lines().skip(1).collect();
    assert_eq!((ran.code, ran.stderr.lines().next()), (Some(1), Some("orders-client: INVALID_ARGUMENT")));
    assert!(fields.len() == 4 && fields[0] == "  - user_id is required", "{fields:?}");

    let ran = service.run(&["get", "nowhere"]).await;
    let says = "orders-client: NOT_FOUND: order \"nowhere\" does not exist\n  resource: ecommerce.v1.Order nowhere\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), says));
    let ran = service.run(&["--json", "get", "nowhere"]).await;
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&error["error"]["code"], ran.code), (&"NOT_FOUND".into(), Some(1)));
    assert_eq!(error["error"]["details"][0]["value"]["resourceName"], "nowhere");

    assert_eq!(service.run(&["create", "--user", "ada", "--item", "tea"]).await.code, Some(2));
    assert_eq!(service.run(&["hello", "--tls-ca", "/nowhere/ca.pem"]).await.code, Some(2));
    assert_eq!(run(&["--target", "shop.example:1", "hello", "--token", "x"], "").await.code, Some(2));

    let ran = run(&["--target", "static:///127.0.0.1:1", "hello"], "").await;
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(
        ran.stderr.starts_with("orders-client: UNAVAILABLE: ") && ran.stderr.contains("highball explain")
    );
}

#[tokio::test]
async fn a_token_from_a_file_is_presented_with_each_call() {
    let service = stub::service(|request: Request<Body>| async move {
        let told = request.headers().get("authorization").map_or(&b"nobody"[..], |value| value.as_bytes());
        // HelloReply { string message = 1; }
        let size = u8::try_from(told.len()).unwrap();
        stub::messages(&[&[&[0x0a, size], told].concat()])
    });
    let server = TestServer::start(Server::new(service).with_descriptors(orders::DESCRIPTORS)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "abc.def\n").unwrap();
    let target = format!("static:///{}", server.addr());
    let ran = run(&["hello", "--target", &target, "--token-file", file.to_str().unwrap()], "").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "Bearer abc.def\n"), "{ran:?}");
    assert_eq!(run(&["hello", "--target", &target], "").await.stdout, "nobody\n");
    server.forced().await;
}
