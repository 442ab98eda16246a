//! TCP and Unix sockets side by side, and what is left of them.

use std::path::Path;

use buffa::Message as _;
use highball::{Code, ListenAddr};
use highball_testkit::Client;
use orders::proto::greeter::{HelloReply, HelloRequest};

use crate::program::{Program, soon};

const SOCKET: [&str; 2] = ["--listen", "unix:orders.sock"];

async fn greets(client: Client) {
    let ask = HelloRequest { name: "Rail".into(), ..Default::default() };
    let reply = client.unary("/greeter.Greeter/SayHello", &ask.encode_to_vec()).await;
    assert_eq!(reply.code(), Code::Ok);
    let reply = HelloReply::decode_from_slice(&reply.messages[0]).unwrap();
    assert_eq!(reply.message, "Hello Rail");
}

#[tokio::test]
async fn every_address_answers_and_the_log_names_the_real_ones() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start_with(dir.path(), &SOCKET).await;
    let [ListenAddr::Tcp(tcp), ListenAddr::Unix(unix)] = &program.addrs[..] else {
        panic!("{:?}", program.addrs)
    };
    assert_ne!((tcp.port(), program.admin.port()), (0, 0));
    assert_eq!(unix, Path::new("orders.sock"));
    soon("TCP", async { greets(Client::tcp(*tcp).await).await }).await;
    soon("Unix", async { greets(Client::unix(&dir.path().join(unix)).await).await }).await;
    program.stop().await;
}

#[tokio::test]
async fn a_clean_stop_takes_the_socket_file_along() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start_with(dir.path(), &SOCKET).await;
    let path = dir.path().join("orders.sock");
    assert!(path.exists());
    program.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_file_that_a_killed_program_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.sock");
    let killed = Program::start_with(dir.path(), &SOCKET).await;
    killed.kill().await;
    assert!(path.exists(), "nobody could remove it");
    let program = Program::start_with(dir.path(), &SOCKET).await;
    soon("Unix", async { greets(Client::unix(&path).await).await }).await;
    program.stop().await;
    assert!(!path.exists());
}
