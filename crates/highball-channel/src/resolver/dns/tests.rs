//! Look-ups against a scripted name server, in paused time.

use tokio::time::timeout;

use super::*;
use crate::Endpoint;
use crate::resolver::testing::{Answer, Script};
use Answer::{Addresses, After, NotFound, Silence};

const TEXT_NAME: &str = "_grpc_config.orders";

fn host(text: &str) -> HostPort {
    HostPort::parse(text).unwrap()
}

fn dns(script: &Arc<Script>, settings: &Settings) -> Dns {
    let platform: Arc<dyn Platform> = script.clone();
    Dns::new(&[host("orders:50051")], &platform, settings)
}

/// An update's endpoints, or the error.
async fn next(dns: &mut Dns) -> Result<Vec<String>, String> {
    let news = timeout(Duration::from_secs(10_000), dns.next()).await.expect("no news");
    let update = news.map_err(|error| error.to_string())?;
    Ok(update.endpoints.iter().map(Endpoint::name).collect())
}

async fn is_quiet_for(dns: &mut Dns, seconds: u64) -> bool {
    timeout(Duration::from_secs(seconds), dns.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn every_address_is_an_endpoint_and_the_order_of_an_answer_is_no_news() {
    let script = Script::new(|_, nth| match nth {
        0 => Addresses(&["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"], None),
        1..=3 => Addresses(&["::1", "10.0.0.1", "10.0.0.2"], None),
        _ => Addresses(&["10.0.0.3"], None),
    });
    let mut dns = dns(&script, &Settings::default());
    assert_eq!(next(&mut dns).await.unwrap(), ["10.0.0.1:50051", "10.0.0.2:50051", "[::1]:50051"]);
    assert!(is_quiet_for(&mut dns, 100).await);
    assert_eq!(next(&mut dns).await.unwrap(), ["10.0.0.3:50051"]);
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_again_when_they_expire_within_bounds() {
    for (ttl, expected) in [(Some(0), 5), (Some(5), 5), (Some(12), 12), (Some(3600), 30), (None, 30)] {
        let script = Script::new(move |_, _| Addresses(&["10.0.0.1"], ttl));
        let mut dns = dns(&script, &Settings::default());
        next(&mut dns).await.unwrap();
        assert!(is_quiet_for(&mut dns, 2 * expected + 1).await);
        assert_eq!(script.seconds("orders"), [0, expected, 2 * expected], "{ttl:?}");
    }
    let script = Script::new(|_, _| Addresses(&["10.0.0.1"], Some(3600)));
    let settings = Settings { interval_max: Duration::from_secs(9999), ..Settings::default() };
    let mut dns = dns(&script, &settings);
    next(&mut dns).await.unwrap();
    assert!(is_quiet_for(&mut dns, 301).await);
    assert_eq!(script.seconds("orders"), [0, 300]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_stay_while_nobody_answers() {
    let script = Script::new(|_, nth| match nth {
        1..=50 => Silence,
        _ => Addresses(&["10.0.0.1"], Some(10)),
    });
    let mut dns = dns(&script, &Settings::default());
    let before = next(&mut dns).await.unwrap();
    for _ in 0..50 {
        let error = next(&mut dns).await.unwrap_err();
        assert_eq!(error, "orders could not be looked up: nobody answers");
    }
    // It works again: told although nothing changed, so that the error does not stand.
    assert_eq!(next(&mut dns).await.unwrap(), before);
    assert!(is_quiet_for(&mut dns, 100).await);
    let seconds = script.seconds("orders");
    assert_eq!(seconds[..4], [0, 10, 15, 20], "a failure is followed up sooner, and not at once");
}

#[tokio::test(start_paused = true)]
async fn only_the_third_no_in_a_row_removes_the_endpoints() {
    let script = Script::new(|_, nth| match nth {
        1 | 2 | 4 | 5 | 6 | 7 => NotFound,
        _ => Addresses(&["10.0.0.1"], Some(10)),
    });
    let mut dns = dns(&script, &Settings::default());
    let known = Ok(vec!["10.0.0.1:50051".to_owned()]);
    let no = Err("orders is not a name that DNS knows, or has no such records".to_owned());
    let gone = Ok(Vec::new());
    for (nth, expected) in [&known, &no, &no, &known, &no, &no, &gone, &no, &known].into_iter().enumerate() {
        assert_eq!(&next(&mut dns).await, expected, "answer {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_anything_is_known_the_caller_sets_the_pace() {
    let script = Script::new(|_, nth| if nth < 9 { NotFound } else { Addresses(&["10.0.0.1"], None) });
    let mut dns = dns(&script, &Settings::default());
    for _ in 0..9 {
        assert!(next(&mut dns).await.is_err(), "nothing is not an update");
    }
    assert!(next(&mut dns).await.is_ok());
    assert_eq!(script.seconds("orders"), [0; 10]);
}

#[tokio::test(start_paused = true)]
async fn hints_bring_the_next_look_up_forward_and_no_closer_than_the_interval() {
    let script = Script::new(|_, _| Addresses(&["10.0.0.1"], Some(30)));
    let mut dns = dns(&script, &Settings::default());
    next(&mut dns).await.unwrap();
    for _ in 0..19 {
        dns.refresh();
        assert!(is_quiet_for(&mut dns, 1).await);
    }
    assert_eq!(script.seconds("orders"), [0, 5, 10, 15]);
    assert!(is_quiet_for(&mut dns, 26).await);
    assert_eq!(script.seconds("orders"), [0, 5, 10, 15, 20], "without hints it is 30 s again");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_does_not_start_the_look_up_anew() {
    let script = Script::new(|_, _| After(3, Box::new(Addresses(&["10.0.0.1"], None))));
    let mut dns = dns(&script, &Settings::default());
    assert!(is_quiet_for(&mut dns, 1).await);
    dns.refresh();
    assert!(is_quiet_for(&mut dns, 1).await);
    assert!(next(&mut dns).await.is_ok());
    assert_eq!(script.seconds("orders"), [0]);
}

#[tokio::test(start_paused = true)]
async fn too_many_addresses_are_an_error_and_change_nothing() {
    let script =
        Script::new(|_, nth| if nth == 1 { Answer::Many(4097) } else { Addresses(&["10.0.0.1"], None) });
    let mut dns = dns(&script, &Settings::default());
    let before = next(&mut dns).await.unwrap();
    assert_eq!(next(&mut dns).await.unwrap_err(), "4097 addresses are more than 4096");
    assert_eq!(next(&mut dns).await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn hosts_of_a_list_keep_their_names_and_fail_alone() {
    let script = Script::new(|name, nth| match (name, nth) {
        ("a", _) => Addresses(&["10.0.0.1"], Some(10)),
        ("b", 1) => Silence,
        ("b", 0) => Addresses(&["10.0.0.2", "10.0.0.1"], Some(20)),
        _ => Addresses(&["10.0.0.4"], None),
    });
    let platform: Arc<dyn Platform> = script.clone();
    let hosts = [host("b:1"), host("10.0.0.3:3"), host("a:1")];
    let mut dns = Dns::list(&hosts, &platform, &Settings::default());
    let update = dns.next().await.unwrap();
    let found: Vec<_> = update
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.name(), endpoint.attributes.hostname.clone()))
        .collect();
    let expected = [("10.0.0.1:1", Some("b:1")), ("10.0.0.2:1", Some("b:1")), ("10.0.0.3:3", None)];
    assert_eq!(found, expected.map(|(name, host)| (name.to_owned(), host.map(str::to_owned))));
    assert_eq!(next(&mut dns).await.unwrap_err(), "b could not be looked up: nobody answers");
    assert_eq!(next(&mut dns).await.unwrap(), ["10.0.0.4:1", "10.0.0.3:3", "10.0.0.1:1"]);
    assert_eq!(script.seconds("a"), [0, 10, 15], "the soonest expiry counts");
    assert!(script.seconds("10.0.0.3").is_empty());
}

const CONFIG: &str = r#"grpc_config=[{"serviceConfig":{"loadBalancingConfig":[{"round_robin":{}}]}}]"#;

async fn config(dns: &mut Dns) -> Result<bool, String> {
    let config = dns.next().await.unwrap().service_config.transpose();
    config
        .map(|config| config.is_some_and(|config| config.balancing.is_some()))
        .map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn texts_are_asked_for_only_when_wanted() {
    let script = Script::new(|name, _| match name {
        TEXT_NAME => Answer::Texts(&[CONFIG]),
        _ => Addresses(&["10.0.0.1"], None),
    });
    assert_eq!(config(&mut dns(&script, &Settings::default())).await, Ok(false));
    assert!(script.seconds(TEXT_NAME).is_empty());
    let settings = Settings { service_config: true, ..Settings::default() };
    assert_eq!(config(&mut dns(&script, &settings)).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn the_config_in_texts_follows_their_changes() {
    let script = Script::new(|name, nth| match (name, nth) {
        (TEXT_NAME, 0) => Silence,
        (TEXT_NAME, 1..=2 | 4) => Answer::Texts(&["v=other", CONFIG]),
        (TEXT_NAME, 3) => Silence,
        (TEXT_NAME, 5) => Answer::Texts(&["grpc_config=[{\"serviceConfig\":7}]"]),
        (TEXT_NAME, _) => NotFound,
        _ => Addresses(&["10.0.0.1"], None),
    });
    let settings = Settings { service_config: true, ..Settings::default() };
    let mut dns = dns(&script, &settings);
    let problem = "service config: _grpc_config.orders could not be looked up: nobody answers";
    assert_eq!(
        config(&mut dns).await,
        Err(problem.to_owned()),
        "no answer is not the answer that there is none"
    );
    assert_eq!(config(&mut dns).await, Ok(true));
    // The same again, silence, and the same: no news.
    let problem = "[0].serviceConfig: expected an object, found 7";
    assert_eq!(config(&mut dns).await, Err(problem.to_owned()));
    assert_eq!(script.seconds(TEXT_NAME).len(), 6);
    assert_eq!(config(&mut dns).await, Ok(false));
}
