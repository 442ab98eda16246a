//! What an edge says of itself: `/edge`, and `/edge/explain`.

use highball::ListenAddr;
use highball_edge::Edge;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::made::{Recorder, cluster, settings, text};
use super::world::World;

/// The status and the JSON of a page.
async fn page(edge: &World, path: &str) -> (u16, Value) {
    let Some(ListenAddr::Tcp(admin)) = &edge.admin else { panic!("an admin port was asked for") };
    let mut socket = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}")))
}

const ROUTES: &str = "[[routes]]\nname = 'canary'\nhost = 'shop.example'\nservice = 'shop.v1.Shop'\nheaders = { x-canary = 'yes' }\ncluster = 'canary'\n\
    [[routes]]\nname = 'shop'\nservice = 'shop.v1.Shop'\nsplit = { stable = 3, canary = 1 }\nmirror = 'canary'\nstream_idle = '9s'\n\
    deadline = '2s'\nretry = { attempts = 4, codes = ['ABORTED'] }\nrate = { per_second = 5 }\nfault = { delay = '1s', delay_percent = 0 }\n\
    [[routes]]\nname = 'dead'\nservice = 'dead.Service'\ncluster = 'dead'\nretry = false\n";

async fn world() -> (Recorder, Recorder, World) {
    let (stable, canary) = (Recorder::start("stable").await, Recorder::start("canary").await);
    let clusters = [
        cluster("stable", &[stable.addr()], ""),
        cluster("canary", &[canary.addr()], ""),
        cluster("dead", &[super::backend::place()], ""),
    ];
    let edge = World::run(Edge::new(settings(&text("workers = 2", &clusters, ROUTES)))).await;
    edge.endpoints_are("two clusters are ready", |states| {
        states.iter().filter(|state| *state == "READY").count() == 4
            && states.iter().filter(|state| *state == "TRANSIENT_FAILURE").count() == 2
    })
    .await;
    (stable, canary, edge)
}

#[tokio::test]
async fn the_page_shows_routes_in_their_order_and_each_workers_backends() {
    let (stable, canary, edge) = world().await;
    let (status, page) = page(&edge, "/edge").await;
    assert_eq!((status, &page["workers"]), (200, &Value::from(2)));
    let names: Vec<_> =
        page["routes"].as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["canary", "shop", "dead"]);
    assert_eq!(page["routes"][1]["to"], serde_json::json!([["stable", 3], ["canary", 1]]));
    let clusters = page["clusters"].as_array().unwrap();
    let names: Vec<_> = clusters.iter().map(|cluster| cluster["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["canary", "dead", "stable"]);
    assert!(clusters.iter().all(|cluster| cluster["workers"].as_array().unwrap().len() == 2));
    assert_eq!(clusters[2]["workers"][1]["endpoints"][0]["addresses"][0], stable.addr().to_string());
    drop(canary);
    edge.drained().await;
}

#[tokio::test]
async fn a_call_is_explained_with_what_was_passed_over_and_where_it_would_go() {
    let (stable, canary, edge) = world().await;
    let (status, said) =
        page(&edge, "/edge/explain?method=shop.v1.Shop/Get&host=Shop.example:8443&header=x-canary:%20yes")
            .await;
    assert_eq!((status, &said["method"]), (200, &Value::from("shop.v1.Shop/Get")));
    assert_eq!(
        (&said["route"]["name"], &said["passed_over"]),
        (&Value::from("canary"), &serde_json::json!([]))
    );
    assert_eq!(said["route"]["clusters"][0]["endpoint"][0], canary.addr().to_string());

    let (_, said) = page(&edge, "/edge/explain?method=/shop.v1.Shop/Get&host=shop.example").await;
    let passed = &said["passed_over"][0];
    assert_eq!(passed["route"], "canary");
    assert!(passed["why"].as_str().unwrap().contains("x-canary"), "{passed}");
    let route = &said["route"];
    assert_eq!(
        (&route["name"], &route["mirror"], &route["stream_idle"]),
        (&"shop".into(), &"canary".into(), &"9s".into())
    );
    assert_eq!((&route["rate"], &route["fault"]), (&true.into(), &true.into()));
    let way = &route["clusters"][0];
    assert_eq!(
        (&way["cluster"], &way["percent"], &way["deadline"]),
        (&"stable".into(), &75.0.into(), &"2s".into())
    );
    assert!(way["repeat"].as_str().unwrap().contains("up to 4 attempts"), "{way}");
    assert_eq!((&way["state"], &way["trouble"]), (&"READY".into(), &Value::Null));
    assert_eq!(way["endpoint"][0], stable.addr().to_string());

    let (_, said) = page(&edge, "/edge/explain?method=shop.v1.Shop/Get&host=other.example").await;
    assert!(said["passed_over"][0]["why"].as_str().unwrap().contains("shop.example"), "{said}");

    let (_, said) = page(&edge, "/edge/explain?method=dead.Service/Get").await;
    assert_eq!(said["passed_over"].as_array().unwrap().len(), 2);
    let way = &said["route"]["clusters"][0];
    assert_eq!((&way["state"], &way["endpoint"]), (&"TRANSIENT_FAILURE".into(), &Value::Null));
    assert!(way["trouble"].as_str().is_some_and(|trouble| !trouble.is_empty()), "{way}");

    let (status, said) = page(&edge, "/edge/explain?method=no.Service/Get").await;
    assert_eq!((status, &said["route"]), (200, &Value::Null));
    assert_eq!(said["passed_over"].as_array().unwrap().len(), 3);
    edge.drained().await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_answered_with_the_reason() {
    let (_stable, _canary, edge) = world().await;
    for (query, why) in [
        ("", "method"),
        ("?method=", "method"),
        ("?method=shop", "package.Service/Method"),
        ("?host=a", "method"),
        ("?method=a.B/C&header=x", "NAME:VALUE"),
        ("?method=a.B/C&header=b%20d:x", "NAME:VALUE"),
        ("?method=a.B/C&color=red", "color"),
        ("?method=a.B/C&host=a%20b", "NAME:PORT"),
    ] {
        let (status, said) = page(&edge, &format!("/edge/explain{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(said.as_str().unwrap().contains(why), "{query}: {said}");
    }
    edge.drained().await;
}
