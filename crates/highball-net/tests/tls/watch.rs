//! Watching files: what changes is found without anybody saying so.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use highball_net::tls::{Event, ServerTls, Settings, WATCH_INTERVAL, WATCH_INTERVAL_MIN};

use crate::world::{DAY, Pair, World};

/// Runs `watch` in paused time, for as long as two looks take, and says what it reported.
async fn two_looks(events: &Receiver<Event>, watch: &mut Watch<'_>) -> Vec<String> {
    let end = WATCH_INTERVAL * 2 + Duration::from_secs(1);
    assert!(tokio::time::timeout(end, watch.as_mut()).await.is_err(), "it never ends");
    events.try_iter().map(|event| told(&event)).collect()
}

type Watch<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

fn watching(server: &ServerTls) -> (Watch<'_>, Receiver<Event>) {
    let (report, events) = sync_channel(16);
    let watch = server.watch(WATCH_INTERVAL, move |event| {
        report.try_send(event).expect("room for the test's events");
    });
    (Box::pin(watch), events)
}

fn told(event: &Event) -> String {
    match event {
        Event::Reloaded(changed) => format!("reloaded {changed}"),
        Event::Rejected(error) => format!("rejected {error}"),
        Event::Restored => "restored".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_symlink_swap_is_seen() {
    // As Kubernetes does it: server.pem -> ..data/server.pem, ..data -> a directory that is replaced.
    let world = World::new();
    let put = |version: &str, pair: &Pair| {
        fs::create_dir(world.path(version)).unwrap();
        world.put(&format!("{version}/tls.crt"), &pair.cert);
        world.put(&format!("{version}/tls.key"), &pair.key);
        symlink(version, world.path("..next")).unwrap();
        fs::rename(world.path("..next"), world.path("..data")).unwrap();
    };
    put("..1", &world.ca.server());
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), world.path(name)).unwrap();
    }
    let server = world.load(Settings::new(world.path("tls.crt"), world.path("tls.key")));
    let (mut watch, events) = watching(&server);
    assert!(two_looks(&events, &mut watch).await.is_empty());
    put("..2", &world.ca.server());
    assert_eq!(two_looks(&events, &mut watch).await, ["reloaded certificate"]);
    world.client().accepted(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_keeps_date_and_size_is_seen() {
    let world = World::new();
    let server = world.load(world.settings());
    let (mut watch, events) = watching(&server);
    let date = fs::metadata(world.path("server.pem")).unwrap().modified().unwrap();
    world.put_server(&world.ca.server());
    for name in ["server.pem", "server-key.pem"] {
        let file = fs::File::options().write(true).open(world.path(name)).unwrap();
        file.set_modified(date).unwrap();
    }
    assert_eq!(two_looks(&events, &mut watch).await, ["reloaded certificate"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_told_once_and_so_is_its_end() {
    let world = World::new();
    let server = world.load(world.settings());
    let (mut watch, events) = watching(&server);
    let good = fs::read_to_string(world.path("server-key.pem")).unwrap();
    world.put("server-key.pem", &world.ca.server().key);
    let told = two_looks(&events, &mut watch).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.first().unwrap().contains("is not the key of"), "{told:?}");
    assert!(two_looks(&events, &mut watch).await.is_empty());
    fs::remove_file(world.path("server-key.pem")).unwrap();
    let told = two_looks(&events, &mut watch).await;
    assert!(told.first().unwrap().contains("does not exist"), "{told:?}");
    world.put("server-key.pem", &good);
    assert_eq!(two_looks(&events, &mut watch).await, ["restored"]);
    assert!(two_looks(&events, &mut watch).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_yet_valid_is_taken_when_it_is() {
    let world = World::new();
    let server = world.load(world.settings());
    let (mut watch, events) = watching(&server);
    world.put_server(&world.ca.leaf(|params| {
        params.not_before = rcgen::date_time_ymd(2027, 1, 16);
    }));
    let told = two_looks(&events, &mut watch).await;
    assert!(told.first().unwrap().contains("valid from"), "{told:?}");
    world.clock.advance(DAY);
    assert_eq!(two_looks(&events, &mut watch).await, ["reloaded certificate"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_does_not_spin() {
    let world = World::new();
    let server = world.load(world.settings());
    let (report, events) = sync_channel(1);
    let watch = server.watch(Duration::ZERO, move |event| report.try_send(event).unwrap());
    world.put_server(&world.ca.server());
    let before = WATCH_INTERVAL_MIN / 2;
    let mut watch = Box::pin(watch);
    assert!(
        tokio::time::timeout(before, watch.as_mut()).await.is_err() && events.try_recv().is_err(),
        "too early"
    );
    assert!(tokio::time::timeout(WATCH_INTERVAL_MIN, watch.as_mut()).await.is_err());
    assert_eq!(told(&events.try_recv().unwrap()), "reloaded certificate");
}
