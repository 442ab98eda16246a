//! Starting, and not starting.

use std::time::Duration;

use highball::Code;
use highball_testkit::Client;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::program::{Folder, Program, backend, highball, soon, to, value};

async fn until_ready(program: &Program) {
    soon("ready", async {
        while !program.page("/readyz").await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_edge_says_where_it_is_and_passes_calls_on() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let program = Program::start(&folder).await;
    assert!(program.banner.starts_with("\nhighball edge is up, process "), "{}", program.banner);
    assert_eq!(value(&program.banner, "worker threads"), "2");
    assert_eq!(value(&program.banner, "shop     "), "every method -> shop");
    for name in ["tls", "callers", "rates"] {
        assert!(!value(&program.banner, &format!("[ ] {name}")).is_empty());
    }
    let client = Client::tcp(program.addr()).await;
    let reply = client.unary("/shop.v1.Orders/Get", b"").await;
    assert_eq!((reply.code(), &reply.messages[..]), (Code::Ok, &[b"shop".as_slice().into()][..]));
    until_ready(&program).await;
    let metrics = program.page("/metrics").await;
    assert!(metrics.contains("edge_routed_total{route=\"shop\",cluster=\"shop\"} 1\n"), "{metrics}");
    drop(client);
    let (code, log) = program.terminated().await;
    assert_eq!(code, Some(0), "{log:?}");
    assert_eq!(log.last().unwrap()["message"], "drained");
    shop.drained().await;
}

#[tokio::test]
async fn an_edge_is_ready_once_it_knows_its_backends_and_not_before() {
    // A listener that never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = format!(
        "admin = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[clusters.shop]\n\
         target = \"static:///{}\"\n[[routes]]\ncluster = \"shop\"\n",
        silent.local_addr().unwrap()
    );
    let program = Program::start(&Folder::new(&text)).await;
    let page = program.page("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("backends: starting"), "{page}");
    drop(silent);
    // Callers must hear that the backend is gone.
    until_ready(&program).await;
    program.terminated().await;
}

#[tokio::test]
async fn a_file_with_problems_is_refused_with_each_at_its_line() {
    let folder = Folder::new(
        "[[listeners]]\naddress = \"localhost:1\"\n[clusters.shop]\ntarget = \"dns:///a:1\"\nbalance = 1\n\
         [[routes]]\ncluster = \"shp\"\n",
    );
    let ran = highball(&["edge", folder.file().to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for place in [":2:11: ", ":5:1: ", ":7:11: "] {
        assert!(ran.stderr.contains(&format!("edge.toml{place}")), "{place} {}", ran.stderr);
    }
    assert!(
        ran.stderr.ends_with("highball: the file has 3 problems; nothing is started\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn what_keeps_an_edge_from_starting_is_said_at_the_part_it_is_about() {
    let shop = backend("shop").await;
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listening.local_addr().unwrap().to_string();
    let folder =
        Folder::new(&to(&shop).replacen("admin = \"127.0.0.1:0\"", &format!("admin = \"{taken}\""), 1));
    let ran = highball(&["edge", folder.file().to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let begins =
        format!("{}:1:9: cannot listen on {taken}: the address is already in use", folder.file().display());
    assert!(ran.stderr.starts_with(&begins), "{}", ran.stderr);
    let ran = highball(&["edge", "nowhere.toml"]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("highball: cannot read nowhere.toml: "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1);
    shop.drained().await;
}
