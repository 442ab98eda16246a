//! Two programs over one file: what one writes the other knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use orders::client::{OrdersClient, Watch};
use orders::proto::ecommerce::v1::{ListOrdersRequest, OrderStatus, ProcessOrderRequest};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep, timeout};

use crate::caller::numbered;
use crate::program::{Program, killed};

/// A change is seen elsewhere within 200 ms, unless the machine has something else to do.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

const STEPS: [OrderStatus; 3] = [OrderStatus::Confirmed, OrderStatus::Shipped, OrderStatus::Delivered];

/// A client of these programs and no others.
fn client(programs: &[&Program]) -> OrdersClient {
    let addrs: Vec<String> = programs.iter().map(|program| program.addr().to_string()).collect();
    OrdersClient::connect(&format!("static:///{}", addrs.join(","))).unwrap()
}

async fn pair(dir: &Path) -> (Program, Program) {
    tokio::join!(Program::start(dir), Program::start(dir))
}

async fn order(client: &OrdersClient, number: usize) -> String {
    client.create_order(numbered(number, 10)).await.unwrap().id
}

/// Whether the order could take the step.
async fn step(client: &OrdersClient, id: &str, to: OrderStatus) -> bool {
    let step = ProcessOrderRequest { order_id: id.to_owned(), new_status: to.into(), ..Default::default() };
    let answers = client.process_orders(stream::iter([step]));
    let answers: Vec<_> = answers.collect().await;
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    answer.as_ref().unwrap().success
}

/// The next status; `None` at the end.
async fn next(watch: &mut Watch) -> Option<OrderStatus> {
    let update = timeout(SEEN_WITHIN, watch.next()).await.expect("an update in time").unwrap()?;
    update.order.as_option().unwrap().status.as_known()
}

/// The file is whole. How many rows there are: orders, changes of orders.
async fn rows(dir: &Path) -> (i64, i64) {
    let options = SqliteConnectOptions::new().filename(dir.join("orders.db"));
    let mut database = options.connect().await.unwrap();
    let whole: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap();
    assert_eq!(whole, "ok");
    let counts = "SELECT (SELECT COUNT(*) FROM orders), (SELECT COUNT(*) FROM order_changes)";
    let counts = sqlx::query_as(counts).fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    counts
}

#[tokio::test]
async fn programs_that_start_together_share_one_database_and_its_secret() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let programs = tokio::join!(Program::start(path), Program::start(path), Program::start(path));
        let clients = [client(&[&programs.0]), client(&[&programs.1]), client(&[&programs.2])];
        for (number, client) in clients.iter().enumerate() {
            order(client, number).await;
        }
        // Each page at another one.
        let (mut products, mut token) = (Vec::new(), Some(String::new()));
        for client in &clients {
            let page_token = token.take().expect("three pages");
            let ask = ListOrdersRequest { page_size: 1, page_token, ..Default::default() };
            let page = client.list_orders(ask).await.unwrap();
            products.extend(page.orders.into_iter().map(|order| order.items[0].product_id.clone()));
            token = page.next_page_token;
        }
        assert_eq!(products, ["request-2", "request-1", "request-0"]);
        assert_eq!(token, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_through_one_program_sees_the_changes_through_the_other_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path()).await;
    let (near, far) = (client(&[&one]), client(&[&two]));
    let (near, far) = (&near, &far);
    let watched = (0..40).map(async |number| {
        let id = order(far, number).await;
        let mut watch = near.watch_order(&id).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(OrderStatus::Pending));
        // Sometimes all at once, sometimes one after the other was seen, sometimes through both.
        for (index, to) in STEPS.into_iter().enumerate() {
            let mover = if number % 3 == 2 && index == 1 { near } else { far };
            assert!(step(mover, &id, to).await);
            if number % 2 == 0 {
                assert_eq!(next(&mut watch).await, Some(to));
            }
        }
        if number % 2 == 1 {
            for to in STEPS {
                assert_eq!(next(&mut watch).await, Some(to));
            }
        }
        assert_eq!(next(&mut watch).await, None);
    });
    join_all(watched).await;
    assert_eq!(rows(dir.path()).await, (40, 120));
}

/// How long changes take from the request at one program to the watcher at the other. Printed, not judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_through_another_program_is_seen_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path()).await;
    let (near, far) = (client(&[&one]), client(&[&two]));
    let mut took = Vec::new();
    for number in 0..70 {
        let id = order(&far, number).await;
        let mut watch = near.watch_order(&id).await.unwrap();
        next(&mut watch).await;
        for to in STEPS {
            // Anywhere between two looks.
            sleep(Duration::from_millis(number as u64 % 29)).await;
            let (asked, seen) = tokio::join!(
                async {
                    let asked = Instant::now();
                    assert!(step(&far, &id, to).await);
                    asked
                },
                async {
                    assert_eq!(next(&mut watch).await, Some(to));
                    Instant::now()
                }
            );
            took.push(seen - asked);
        }
    }
    took.sort();
    println!(
        "{} changes seen through the other program: median {:?}, worst {:?}, counted from the request",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_through_both_programs_makes_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path()).await;
    let (one, two) = (client(&[&one]), client(&[&two]));
    let keyed = (0..50).map(async |number| {
        let (key, wanted) = (format!("key-{number}"), numbered(number, 10));
        let create =
            async |client: &OrdersClient| client.create_order_once(&key, wanted.clone()).await.unwrap().id;
        let (first, second) = tokio::join!(create(&one), create(&two));
        assert_eq!(first, second);
    });
    join_all(keyed).await;
    assert_eq!(rows(dir.path()).await, (50, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_through_both_programs_lose_no_update_and_none_fails() {
    const ORDERS: usize = 2_000;
    const WRITERS: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let programs = pair(dir.path()).await;
    let clients = [client(&[&programs.0]), client(&[&programs.1])];
    let [one, two] = &clients;
    let started = Instant::now();
    let write = async |writer: usize| {
        let mut slowest = Duration::ZERO;
        for number in (writer..ORDERS).step_by(WRITERS) {
            let begun = Instant::now();
            let id = order(&clients[writer % 2], number).await;
            slowest = slowest.max(begun.elapsed());
            // Both want the same step at the same time: it is taken once.
            let confirm = async |client| step(client, &id, OrderStatus::Confirmed).await;
            let (first, second) = tokio::join!(confirm(one), confirm(two));
            assert!(first != second, "request {number}: {first} {second}");
        }
        slowest
    };
    let slowest = join_all((0..WRITERS).map(write)).await;
    let of = |program: usize| slowest.iter().skip(program).step_by(2).max().unwrap();
    println!("{ORDERS} orders in {:?}, the slowest {:?} and {:?}", started.elapsed(), of(0), of(1));
    assert_eq!(rows(dir.path()).await, (2_000, 2_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_takes_nothing_with_it_and_the_other_goes_on() {
    const WRITERS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let steady = Program::start(dir.path()).await;
    let untouched = client(&[&steady]);
    let mut answered = BTreeMap::new();
    for round in 0..4 {
        let doomed = Program::start(dir.path()).await;
        let cut = client(&[&doomed]);
        let watched = order(&cut, 1_000_000 + round).await;
        let mut watch = untouched.watch_order(&watched).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(OrderStatus::Pending));

        let number = |writer: usize, turn: usize| round * 100_000 + writer * 10_000 + turn;
        let at_doomed = join_all((0..WRITERS).map(async |writer| {
            let mut ids = Vec::new();
            for turn in 0.. {
                match cut.create_order(numbered(number(writer, turn), WRITERS)).await {
                    Ok(order) => ids.push((number(writer, turn), order.id)),
                    Err(error) if error.code() == highball::Code::Unavailable => break,
                    Err(error) => panic!("{error}"),
                }
            }
            ids
        }));
        let at_steady = join_all((WRITERS..10).map(async |writer| {
            let mut ids = Vec::new();
            let until = Instant::now() + Duration::from_secs(2);
            for turn in 0.. {
                ids.push((number(writer, turn), order(&untouched, number(writer, turn)).await));
                if Instant::now() > until {
                    break;
                }
            }
            ids
        }));
        let kill = async {
            sleep(Duration::from_millis(300 + 170 * round as u64)).await;
            doomed.kill().await
        };
        let (lost, kept, killed) = tokio::join!(at_doomed, at_steady, kill);
        assert_eq!(killed.status.code(), None, "a signal ended it");
        let (lost, kept): (Vec<_>, Vec<_>) = (lost.concat(), kept.concat());
        assert!(lost.len() > 10 && kept.len() > 10, "there was load: {} {}", lost.len(), kept.len());
        answered.extend(lost);
        answered.extend(kept);
        // The watch was of a change through the one that is no more, and goes on through others.
        assert!(step(&untouched, &watched, OrderStatus::Confirmed).await);
        assert_eq!(next(&mut watch).await, Some(OrderStatus::Confirmed));
    }
    rows(dir.path()).await;
    let late = Program::start(dir.path()).await;
    let late = client(&[&late]);
    for (number, id) in &answered {
        let order = late.get_order(id).await.unwrap();
        assert_eq!(order.items, numbered(*number, WRITERS).items);
    }
    println!("{} answered orders, all there after 4 kills", answered.len());
}

#[tokio::test]
async fn programs_that_are_killed_while_they_start_stand_in_nobodys_way() {
    for turn in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let after = |millis| killed(dir.path(), Duration::from_millis(millis));
        // A start takes some twenty milliseconds.
        tokio::join!(after(3 * turn), after(3 * turn + 5), after(3 * turn + 10));
        let (one, two) = pair(dir.path()).await;
        let (one, two) = (client(&[&one]), client(&[&two]));
        let id = order(&one, 1).await;
        assert!(step(&two, &id, OrderStatus::Confirmed).await);
        assert_eq!(rows(dir.path()).await, (1, 1));
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_the_other_program_when_its_own_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path()).await;
    let both = client(&[&one, &two]);
    let (to_one, to_two) = (client(&[&one]), client(&[&two]));
    let ids = join_all((0..6).map(|number| order(&to_one, number))).await;
    let mut watches = Vec::new();
    for id in &ids {
        // Some at one, some at the other.
        let mut watch = both.watch_order(id).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(OrderStatus::Pending));
        watches.push(watch);
    }
    for id in &ids {
        assert!(step(&to_one, id, OrderStatus::Confirmed).await);
    }
    for watch in &mut watches {
        assert_eq!(next(watch).await, Some(OrderStatus::Confirmed));
    }
    one.kill().await;
    for id in &ids {
        assert!(step(&to_two, id, OrderStatus::Shipped).await);
    }
    for watch in &mut watches {
        assert_eq!(next(watch).await, Some(OrderStatus::Shipped));
    }
}
