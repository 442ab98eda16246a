//! Which route a call takes, and which cluster of it.

use std::collections::BTreeMap;

use highball::Code;
use highball::core::envelope::seal;
use highball_testkit::Client;
use http::Request;

use super::made::{Recorder, cluster, says, settings, text};
use super::world::{File, World};
use super::{GET, HELLO, WATCH};

/// A route that tells its name.
fn route(name: &str, conditions: &str) -> String {
    format!(
        "[[routes]]\nname = '{name}'\ncluster = 'shop'\n{conditions}\nresponse_headers = {{ set = {{ x-route = '{name}' }} }}\n"
    )
}

/// The name of the route that a call took.
async fn taken(client: &Client, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<String, Code> {
    let mut request = Request::post(format!("http://{host}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = client.raw(request.body(()).unwrap(), seal(b"hello")).await;
    match reply.code() {
        Code::Ok => Ok(reply.headers["x-route"].to_str().unwrap().to_owned()),
        code => Err(code),
    }
}

#[tokio::test]
async fn the_first_route_whose_conditions_all_hold_is_taken() {
    let backend = Recorder::start("shop").await;
    let version = |condition: &str| format!("path = '/a.V/V'\nheaders = {{ x-version = {condition} }}");
    let routes = [
        route("exact-host", "host = 'shop.example'"),
        route("hosts", "hosts = ['*.eu.example', 'eu.example']"),
        route("both", "path = '/a.B/C'\nheaders = { x-user = 'root' }"),
        route("path", "path = '/a.B/C'"),
        route("method", "method = 'a.B/D'"),
        route("service", "service = 'a.B'"),
        route("prefix", "prefix = '/b.'"),
        route("header-exact", &version("'v1'")),
        route("header-prefix", &version("{ prefix = 'beta-' }")),
        route("header-regex", &version("{ regex = 'v[0-9]+' }")),
        route("header-present", &version("{ present = true }")),
        route("header-absent", &version("{ present = false }")),
    ];
    let file = text("workers = 1", &[cluster("shop", &[backend.addr()], "")], &routes.concat());
    let edge = World::start(&file).await;
    let client = edge.client().await;
    let v = "x-version";
    for (host, path, headers, want) in [
        ("shop.example", "/a.B/C", vec![], Ok("exact-host")),
        ("Shop.Example:8443", "/x.Y/Z", vec![], Ok("exact-host")),
        ("a.eu.example", "/a.B/C", vec![], Ok("hosts")),
        ("eu.example", "/a.B/C", vec![], Ok("hosts")),
        ("evil-eu.example", "/x.Y/Z", vec![], Err(Code::Unimplemented)),
        ("test", "/a.B/C", vec![("x-user", "root")], Ok("both")),
        ("test", "/a.B/C", vec![("x-user", "roots")], Ok("path")),
        ("test", "/a.B/D", vec![], Ok("method")),
        ("test", "/a.B/Cc", vec![], Ok("service")),
        ("test", "/a.Bb/C", vec![], Err(Code::Unimplemented)),
        ("test", "/b.X/Y", vec![], Ok("prefix")),
        ("test", "/bb.X/Y", vec![], Err(Code::Unimplemented)),
        ("test", "/a.V/V", vec![(v, "v1")], Ok("header-exact")),
        ("test", "/a.V/V", vec![(v, "v9"), (v, "v1")], Ok("header-exact")),
        ("test", "/a.V/V", vec![(v, "beta-7")], Ok("header-prefix")),
        ("test", "/a.V/V", vec![(v, "v12")], Ok("header-regex")),
        ("test", "/a.V/V", vec![(v, "v12x")], Ok("header-present")),
        ("test", "/a.V/V", vec![], Ok("header-absent")),
    ] {
        let found = taken(&client, host, path, &headers).await;
        assert_eq!(found.as_deref().map_err(|code| *code), want, "{host} {path} {headers:?}");
    }
    for line in [
        "edge_routed_total{route=\"exact-host\",cluster=\"shop\"} 2",
        "edge_routed_total{route=\"header-regex\",cluster=\"shop\"} 1",
        "edge_unrouted_total 3",
    ] {
        assert!(edge.metric(line), "{line}");
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_call_without_a_route_is_unimplemented_and_reaches_nobody() {
    let backend = Recorder::start("shop").await;
    let file = File::to(&[backend.addr()]).route("service = 'other.Service'");
    let edge = file.ready().await;
    let client = edge.client().await;
    let reply = client.unary(GET, b"").await;
    assert_eq!(reply.code(), Code::Unimplemented);
    assert!(reply.status().message().contains("no route"), "{:?}", reply.status());
    assert!(backend.seen().is_empty());
    drop(client);
    edge.drained().await;
}

/// How often each answer came, for calls from eight connections.
async fn answers(
    edge: &World,
    each: usize,
    headers: &[(&'static str, &'static str)],
) -> BTreeMap<String, usize> {
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, headers) = (edge.client().await, headers.to_vec());
        load.spawn(async move {
            let mut found = Vec::new();
            for _ in 0..each {
                found.push(says(&client, GET, &headers).await);
            }
            found
        });
    }
    let mut seen = BTreeMap::new();
    while let Some(found) = load.join_next().await {
        found.unwrap().into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
    }
    seen
}

#[tokio::test]
async fn a_split_gives_each_cluster_its_weight_and_a_header_asks_for_the_canary() {
    let [stable, canary, none] =
        [Recorder::start("stable").await, Recorder::start("canary").await, Recorder::start("none").await];
    let clusters = [
        cluster("stable", &[stable.addr()], ""),
        cluster("canary", &[canary.addr()], ""),
        cluster("none", &[none.addr()], ""),
    ];
    let routes = "[[routes]]\nname = 'testers'\nheaders = { x-canary = { present = true } }\ncluster = 'canary'\n\
                  [[routes]]\nname = 'all'\nsplit = { stable = 90, canary = 10, none = 0 }\n";
    let edge = World::start(&text("workers = 2", &clusters, routes)).await;
    let seen = answers(&edge, 400, &[]).await;
    let (many, few) = (seen["stable"], seen["canary"]);
    assert_eq!(many + few, 3200, "{seen:?}");
    // 320 with a standard deviation of 17: eight of them.
    assert!((184..456).contains(&few), "{seen:?}");
    assert!(edge.metric(format_args!("edge_routed_total{{route=\"all\",cluster=\"canary\"}} {few}")));
    assert_eq!(answers(&edge, 25, &[("x-canary", "")]).await, [("canary".to_owned(), 200)].into());
    assert!(edge.metric("edge_routed_total{route=\"testers\",cluster=\"canary\"} 200"));
    edge.drained().await;
}

/// Which backend each user goes to, in two looks that must agree.
async fn homes(client: &Client, users: usize) -> Vec<String> {
    let mut homes = Vec::new();
    for user in 0..users {
        let user = format!("user-{user}");
        let home = says(client, HELLO, &[("user-id", &user)]).await;
        assert_eq!(says(client, HELLO, &[("user-id", &user)]).await, home);
        homes.push(home);
    }
    homes
}

#[tokio::test]
async fn a_user_stays_at_one_backend_and_only_those_of_a_backend_that_dies_move() {
    let mut backends = Vec::new();
    for nth in 0..10 {
        backends.push(Recorder::start(format!("b{nth}")).await);
    }
    let addrs: Vec<_> = backends.iter().map(Recorder::addr).collect();
    let edge = World::start(&File::to(&addrs).cluster("hash_header = 'user-id'").text()).await;
    let client = edge.client().await;
    let before = homes(&client, 300).await;
    // A ring connects to each backend when the first of its users calls.
    edge.all_ready().await;
    drop(backends.remove(3));
    edge.endpoints_are("one has left", |states| states.iter().filter(|state| *state == "READY").count() == 9)
        .await;
    let after = homes(&client, 300).await;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(moved.iter().all(|(before, _)| *before == "b3"), "{moved:?}");
    assert!(!after.contains(&"b3".to_owned()));
    // A tenth, and the ring is never quite even.
    assert!((10..=60).contains(&moved.len()), "{} of 300 moved", moved.len());
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn few_users_move_when_a_backend_leaves_the_file() {
    let mut backends = Vec::new();
    for nth in 0..10 {
        backends.push(Recorder::start(format!("b{nth}")).await);
    }
    let addrs: Vec<_> = backends.iter().map(Recorder::addr).collect();
    let file = |addrs: &[std::net::SocketAddr]| File::to(addrs).cluster("hash_header = 'user-id'");
    let edge = World::start(&file(&addrs).text()).await;
    let client = edge.client().await;
    let before = homes(&client, 300).await;
    edge.reloader.reload(settings(&file(&addrs[..9]).text())).unwrap();
    let after = homes(&client, 300).await;
    let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    // Those of the one that left move, and few others: the ring is made anew.
    assert!(stayed >= 210, "{stayed} of 300 stayed");
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_stream_is_routed_like_any_call() {
    let backend = Recorder::start("shop").await;
    let file = File::to(&[backend.addr()]).route("path = '/shop.v1.Shop/Watch'");
    let edge = file.ready().await;
    let client = edge.client().await;
    assert_eq!(says(&client, WATCH, &[]).await, "shop");
    assert_eq!(backend.last().body, seal(b"hello"));
    drop(client);
    edge.drained().await;
}
