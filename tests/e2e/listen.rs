//! Unix sockets and TCP side by side.

use highball::{Code, ListenAddr, Server, ServerError};
use highball_testkit::{Client, TestServer, stub};

use crate::{GET, host, pong};

#[tokio::test]
async fn one_server_answers_on_tcp_and_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let server = TestServer::start(host(pong).listen(ListenAddr::Unix(path.clone()))).await;
    let (tcp, unix) = (server.client().await, Client::unix(&path).await);
    assert_eq!(tcp.unary(GET, b"").await.code(), Code::Ok);
    assert_eq!(unix.unary(GET, b"").await.code(), Code::Ok);
    drop((tcp, unix));
    server.drained().await;
    assert!(!path.exists(), "the socket file goes with the server");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error_and_frees_what_was_bound() {
    let server = TestServer::start(host(pong)).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let taken = Server::new(stub::service(pong))
        .listen(ListenAddr::Unix(path.clone()))
        .listen(ListenAddr::Tcp(server.addr()))
        .bind()
        .await;
    let Err(ServerError::Listen(error)) = taken else { panic!("the port is taken") };
    assert!(error.to_string().contains(&server.addr().to_string()), "{error}");
    assert!(!path.exists());
    server.drained().await;
}
