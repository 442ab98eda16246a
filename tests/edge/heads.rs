//! Headers on both ways, and where a call came from.

use std::net::SocketAddr;

use highball::Code;
use highball::core::envelope::seal;
use highball_testkit::Client;
use http::{HeaderValue, Request};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::GET;
use super::made::{Recorder, cluster, says, text};
use super::peer::Peer;
use super::world::{File, World};

#[tokio::test]
async fn headers_are_rewritten_on_both_ways() {
    let backend = Peer::rpcs(|mut rpc| async move {
        let (user, tag) =
            (rpc.request.headers().get("x-user").cloned(), rpc.request.headers().get_all("x-tag"));
        let tags: Vec<_> = tag.iter().map(|tag| tag.to_str().unwrap().to_owned()).collect();
        let seen = format!("{user:?} {tags:?} {:?}", rpc.request.headers().get("x-debug"));
        let mut head = super::scripted::head();
        for (name, value) in
            [("x-powered-by", "us"), ("x-set", "theirs"), ("x-add", "theirs"), ("x-left", "1")]
        {
            head.headers_mut().insert(name, value.parse().unwrap());
        }
        let mut stream = rpc.respond.send_response(head, false).unwrap();
        stream.send_data(seal(seen.as_bytes()), false).unwrap();
        stream.send_trailers(super::scripted::status(Code::Ok)).unwrap();
    })
    .await;
    let edge = File::to(&[backend.addr])
        .route("request_headers = { remove = ['x-debug'], set = { x-user = 'edge' }, add = { x-tag = 'b' } }")
        .route("response_headers = { remove = ['x-powered-by'], set = { x-set = 'ours' }, add = { x-add = 'ours' } }")
        .ready()
        .await;
    let client = edge.client().await;
    let sent = [("x-debug", "1"), ("x-user", "me"), ("x-user", "me too"), ("x-tag", "a")];
    let reply = client.call(GET, &sent, &[b""]).await;
    assert_eq!(reply.messages[0], "Some(\"edge\") [\"a\", \"b\"] None");
    assert_eq!(reply.headers.get("x-powered-by"), None);
    assert_eq!(reply.headers["x-set"], "ours");
    let added: Vec<_> = reply.headers.get_all("x-add").iter().collect();
    assert_eq!(added, ["theirs", "ours"]);
    assert_eq!(reply.headers["x-left"], "1");
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn what_belongs_to_the_call_passes_and_what_only_a_proxy_may_say_does_not() {
    let backend = Recorder::start("shop").await;
    let edge = File::to(&[backend.addr()]).ready().await;
    let client = edge.client().await;
    let passes = [
        ("grpc-encoding", "identity"),
        ("grpc-accept-encoding", "identity,gzip"),
        ("key-bin", "AAECAw"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("authorization", "Bearer abc"),
        ("x-request-id", "42"),
        ("user-agent", "grpc-go/1.60"),
    ];
    let forged = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-client-cert", "By=root"),
        ("x-peer-id", "root"),
        ("l5d-client-id", "root"),
        ("host", "evil.example"),
    ];
    let all: Vec<_> = passes.iter().chain(&forged).copied().collect();
    says(&client, GET, &all).await;
    let seen = backend.last();
    for (name, value) in passes {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.all("te"), ["trailers"]);
    assert_eq!(
        (seen.all("x-forwarded-for"), seen.all("x-real-ip")),
        (vec!["127.0.0.1".to_owned()], vec!["127.0.0.1".to_owned()])
    );
    for (name, _) in &forged[2..] {
        assert_eq!(seen.all(name), [""; 0], "{name}");
    }
    assert_eq!(seen.uri.authority().unwrap(), "test");
    drop(client);
    edge.drained().await;
}

/// What a client that knows no better says of its connection: HTTP/2 forbids it (RFC 9113, section 8.2.2).
#[tokio::test]
async fn headers_of_the_connection_reach_no_backend() {
    let backend = Recorder::start("shop").await;
    let edge = File::to(&[backend.addr()]).ready().await;
    for (name, value) in [
        ("connection", "x-secret"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        let io = TcpStream::connect(edge.addr()).await.unwrap();
        let (sender, connection) = h2::client::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("http://test{GET}"))
            .header("content-type", "application/grpc")
            .header("x-secret", "1")
            .header(name, value);
        let sent = sender.ready().await.unwrap().send_request(request.body(()).unwrap(), false);
        // Refused by either side, or without the header.
        if let Ok((answer, mut body)) = sent {
            body.send_data(seal(b""), true).ok();
            answer.await.ok();
        }
        connection.abort();
    }
    edge.idle().await;
    for seen in backend.seen() {
        for name in
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "x-secret"]
        {
            assert_eq!(seen.all(name), [""; 0], "{name}");
        }
        assert_eq!(seen.all("te"), ["trailers"]);
    }
    edge.drained().await;
}

#[tokio::test]
async fn proxies_in_front_are_believed_as_many_as_the_file_says() {
    let backend = Recorder::start("shop").await;
    for (hops, real) in [(0, "127.0.0.1"), (1, "10.0.0.2"), (2, "203.0.113.7"), (9, "6.6.6.6")] {
        let file = File::to(&[backend.addr()]).top(&format!("trusted_hops = {hops}"));
        let edge = file.ready().await;
        let client = edge.client().await;
        let chain = [
            ("x-forwarded-for", "6.6.6.6, 203.0.113.7"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-real-ip", "6.6.6.6"),
        ];
        says(&client, GET, &chain).await;
        let seen = backend.last();
        assert_eq!(seen.all("x-real-ip"), [real], "{hops}");
        let want = if hops == 0 { "127.0.0.1" } else { "6.6.6.6, 203.0.113.7, 10.0.0.2, 127.0.0.1" };
        assert_eq!(seen.all("x-forwarded-for").join(", "), want);
        drop(client);
        edge.drained().await;
    }
}

#[tokio::test]
async fn neither_a_route_nor_a_budget_believes_what_a_caller_says_of_itself() {
    let backend = Recorder::start("shop").await;
    let route = |name: &str, rest: &str| {
        format!(
            "[[routes]]\nname = '{name}'\ncluster = 'shop'\nresponse_headers = {{ set = {{ x-route = '{name}' }} }}\n{rest}\n"
        )
    };
    let routes = [
        route("peer", "headers = { x-peer-id = { present = true } }"),
        route("certificate", "headers = { x-forwarded-client-cert = 'By=root' }"),
        route("there", "headers = { x-real-ip = '6.6.6.6' }"),
        route(
            "here",
            "headers = { x-real-ip = '127.0.0.1' }\nrate = { per_second = 0.01, burst = 1, per = 'header:x-real-ip' }",
        ),
    ];
    let edge =
        World::start(&text("workers = 1", &[cluster("shop", &[backend.addr()], "")], &routes.concat())).await;
    let client = edge.client().await;
    let forged = [("x-peer-id", "root"), ("x-forwarded-client-cert", "By=root"), ("x-real-ip", "6.6.6.6")];
    let reply = client.call(GET, &forged, &[b""]).await;
    assert_eq!((reply.code(), &reply.headers["x-route"]), (Code::Ok, &HeaderValue::from_static("here")));
    let reply = client.call(GET, &[("x-real-ip", "6.6.6.7")], &[b""]).await;
    assert_eq!(reply.code(), Code::ResourceExhausted);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_unix_socket_has_no_address_to_tell() {
    let (backend, folder) = (Recorder::start("shop").await, tempfile::tempdir().unwrap());
    for (hops, told) in [(0, vec![]), (1, vec!["6.6.6.6".to_owned()])] {
        let file = File::to(&[backend.addr()]).top(&format!("trusted_hops = {hops}"));
        let text = file.text().replacen(
            "[[listeners]]\n",
            "[[listeners]]\naddress = 'unix:edge.sock'\n[[listeners]]\n",
            1,
        );
        let edge = World::start_in(&text, folder.path()).await;
        let client = Client::unix(&folder.path().join("edge.sock")).await;
        says(&client, GET, &[("x-forwarded-for", "6.6.6.6"), ("x-real-ip", "1.1.1.1")]).await;
        let seen = backend.last();
        assert_eq!((seen.all("x-forwarded-for"), seen.all("x-real-ip")), (told.clone(), told));
        drop(client);
        edge.drained().await;
    }
}

async fn proxied(edge: &World, header: &[u8]) -> Client {
    let mut io = TcpStream::connect(edge.addr()).await.unwrap();
    io.set_nodelay(true).unwrap();
    io.write_all(header).await.unwrap();
    Client::over(io).await
}

#[tokio::test]
async fn a_proxy_header_says_where_a_connection_came_from() {
    let backend = Recorder::start("shop").await;
    let text = File::to(&[backend.addr()]).text().replacen(
        "[[listeners]]\naddress = '127.0.0.1:0'\n",
        "[[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = ['127.0.0.0/8']\n",
        1,
    );
    let edge = World::start(&text).await;
    let v1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4242 443\r\n".to_vec();
    let v1_six = b"PROXY TCP6 2001:db8::7 ::1 4242 443\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 8, 127, 0, 0, 1]);
    v2.extend([16, 146, 1, 187]);
    for (header, real) in [(v1, "203.0.113.7"), (v1_six, "2001:db8::7"), (v2, "203.0.113.8")] {
        let client = proxied(&edge, &header).await;
        says(&client, GET, &[("x-forwarded-for", "6.6.6.6")]).await;
        assert_eq!(
            (backend.last().all("x-forwarded-for"), backend.last().all("x-real-ip")),
            (vec![real.to_owned()], vec![real.to_owned()])
        );
    }
    edge.drained().await;
}

#[tokio::test]
async fn backends_see_the_authority_of_the_caller_or_that_of_the_file() {
    let backend = Recorder::start("shop").await;
    let call = |edge: &World| {
        let addr: SocketAddr = edge.addr();
        async move {
            let client = Client::tcp(addr).await;
            let request = Request::post(format!("http://shop.example:8443{GET}"))
                .header("te", "trailers")
                .header("content-type", "application/grpc");
            let reply = client.raw(request.body(()).unwrap(), seal(b"")).await;
            assert_eq!(reply.code(), Code::Ok);
        }
    };
    let edge = File::to(&[backend.addr()]).ready().await;
    call(&edge).await;
    assert_eq!(backend.last().uri.authority().unwrap(), "shop.example:8443");
    edge.drained().await;
    let edge = File::to(&[backend.addr()]).cluster("authority = 'orders.internal:50051'").ready().await;
    call(&edge).await;
    assert_eq!(backend.last().uri.authority().unwrap(), "orders.internal:50051");
    edge.drained().await;
}
