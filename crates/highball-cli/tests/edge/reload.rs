//! The file changes while the edge runs.

use std::time::Duration;

use highball_testkit::Client;
use tokio::time::sleep;

use crate::program::{Folder, Program, backend, signal, to};

async fn answer(client: &Client) -> String {
    let reply = client.unary("/shop.v1.Orders/Get", b"").await;
    String::from_utf8(reply.messages[0].to_vec()).unwrap()
}

#[tokio::test]
async fn a_file_that_changed_is_taken_and_what_changed_is_said() {
    let (old, new) = (backend("old").await, backend("new").await);
    let folder = Folder::new(&to(&old));
    let mut program = Program::start(&folder).await;
    let client = Client::tcp(program.addr()).await;
    assert_eq!(answer(&client).await, "old");
    folder.write(&to(&new));
    let said = program.said(" is in force: ").await;
    assert!(said.ends_with("edge.toml is in force: cluster shop changed: target\n"), "{said}");
    assert_eq!(answer(&client).await, "new", "on the connection that was open");
    drop(client);
    let (code, log) = program.terminated().await;
    assert_eq!(code, Some(0));
    let told = log.iter().find(|line| line["message"] == "reloaded").unwrap();
    assert_eq!(told["changes"], "cluster shop changed: target");
    old.drained().await;
    new.drained().await;
}

#[tokio::test]
async fn a_bad_file_is_refused_with_all_its_problems_and_the_old_one_stays() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let mut program = Program::start(&folder).await;
    let client = Client::tcp(program.addr()).await;
    folder.write(&to(&shop).replace("name = \"shop\"", "nmae = \"shop\"\nretry = 7"));
    let said = program.said("the new file is refused").await;
    assert!(said.contains("edge.toml:8:1: ") && said.contains("\n8 | nmae = \"shop\"\n  | ^"), "{said}");
    assert!(said.contains("edge.toml:9:"), "{said}");
    assert_eq!(answer(&client).await, "shop");

    // What cannot change while it runs is not taken by halves.
    folder.write(&to(&shop).replace("workers = 2", "workers = 1"));
    let said = program.said("the new file is refused").await;
    assert!(said.contains("edge.toml:2:1: workers cannot change while it runs: SIGUSR2"), "{said}");

    folder.write(&format!("{}# a comment\n", to(&shop)));
    let said = program.said(" is in force: ").await;
    assert!(said.ends_with("nothing changed\n"), "{said}");
    let metrics = program.page("/metrics").await;
    for count in ["edge_reloads_total{result=\"failure\"} 2\n", "edge_reloads_total{result=\"success\"} 2\n"]
    {
        assert!(metrics.contains(count), "{count} {metrics}");
    }
    drop(client);
    let (_, log) = program.terminated().await;
    let refused = log.iter().find(|line| line["problems"].is_string()).unwrap();
    let problems = refused["problems"].as_str().unwrap();
    assert!(problems.contains("edge.toml:8:1: ") && problems.contains("\n"), "{problems}");
    shop.drained().await;
}

#[tokio::test]
async fn sighup_takes_the_file_at_once_also_when_it_is_the_same() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let mut program = Program::start(&folder).await;
    signal("HUP", program.pid).await;
    assert!(program.said(" is in force: ").await.contains("nothing changed"));
    std::fs::remove_file(folder.file()).unwrap();
    let said = program.said("stays in force").await;
    assert!(said.starts_with("highball: cannot read "), "{said}");
    // It is said once.
    sleep(Duration::from_secs(3)).await;
    folder.write(&to(&shop));
    assert!(program.said(" is in force: ").await.lines().count() == 1);
    assert_eq!(program.terminated().await.0, Some(0));
    shop.drained().await;
}
