//! An agent in memory, in paused time.

use tokio::time::timeout;

use super::*;
use crate::resolver::testing::Script;
use crate::resolver::testing::web::Page;

fn consul(script: &Arc<Script>, target: &str, settings: &Settings) -> Consul {
    let platform: Arc<dyn Platform> = script.clone();
    Consul::new(&Target::parse(target).unwrap(), &platform, settings).unwrap()
}

async fn next(consul: &mut Consul) -> Result<Vec<(String, Option<u32>)>, String> {
    let news = timeout(Duration::from_secs(10_000), consul.next()).await.expect("no news");
    let update = news.map_err(|error| error.to_string())?;
    Ok(update.endpoints.iter().map(|endpoint| (endpoint.name(), endpoint.attributes.weight)).collect())
}

fn page(index: u64, body: &str) -> Page {
    Page { headers: format!("x-consul-index: {index}\r\n"), body: body.to_owned(), ..Page::default() }
}

const TWO: &str = r#"[
    {"Node":{"Node":"n1","Address":"10.0.0.1"},"Service":{"ID":"a","Address":"","Port":1,"Weights":{"Passing":5,"Warning":1}},"Checks":[]},
    {"Node":{"Node":"n2","Address":"10.0.0.2"},"Service":{"ID":"b","Address":"10.0.0.9","Port":1}}
]"#;

const BROKEN: &str = r#"[
    {"Node":{"Address":"10.0.0.1"},"Service":{"Address":"host.example","Port":1}},
    {"Node":{"Address":"10.0.0.2"},"Service":{"Port":2}},
    {"Node":{"Address":"10.0.0.3"},"Service":{"Port":0}}
]"#;

fn two() -> Vec<(String, Option<u32>)> {
    vec![("10.0.0.1:1".to_owned(), Some(5)), ("10.0.0.9:1".to_owned(), None)]
}

#[tokio::test(start_paused = true)]
async fn changes_arrive_through_blocking_queries() {
    let script = Script::web(|_, nth| match nth {
        0 => page(7, TWO),
        // Nothing changed within the wait, then something did.
        1 => Page { after: 31, ..page(7, TWO) },
        2 => Page { after: 3, ..page(9, "[]") },
        _ => Page { after: 1_000_000, ..page(9, "[]") },
    });
    let mut consul =
        consul(&script, "consul://127.0.0.1:8500/or%3Fders%20x?tag=a&tag=b%26c&dc=eu", &Settings::default());
    assert_eq!(next(&mut consul).await.unwrap(), two());
    assert_eq!(next(&mut consul).await.unwrap(), []);
    let url = "/v1/health/service/or%3Fders%20x?passing=1&wait=30s&tag=a&tag=b%26c&dc=eu";
    let expected =
        [(format!("GET {url}"), 0), (format!("GET {url}&index=7"), 1), (format!("GET {url}&index=7"), 32)];
    assert_eq!(script.requests(), expected);
    assert!(timeout(Duration::from_secs(20), consul.next()).await.is_err());
    assert_eq!(script.requests().last().unwrap().0, format!("GET {url}&index=9"));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_does_not_repeat_the_question() {
    let script = Script::web(|_, _| Page { after: 5, ..page(7, TWO) });
    let mut consul = consul(&script, "consul:///orders", &Settings::default());
    for _ in 0..4 {
        assert!(timeout(Duration::from_secs(1), consul.next()).await.is_err());
        consul.refresh();
    }
    assert!(next(&mut consul).await.is_ok());
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_keep_the_endpoints_and_start_over_without_an_index() {
    let script = Script::web(|_, nth| match nth {
        1 => Page { status: 500, body: "no cluster leader".to_owned(), ..Page::default() },
        2 => page(8, "{}"),
        // Never answers in time.
        3 => Page { after: 1_000_000, ..Page::default() },
        _ => page(8, TWO),
    });
    let mut consul = consul(&script, "consul:///orders", &Settings::default());
    assert_eq!(next(&mut consul).await.unwrap(), two());
    let error = next(&mut consul).await.unwrap_err();
    assert_eq!(error, "consul://127.0.0.1:8500/orders: answers with HTTP status 500 Internal Server Error");
    let error = next(&mut consul).await.unwrap_err();
    assert!(error.contains("the answer is not a list of health entries"), "{error}");
    assert!(next(&mut consul).await.is_err());
    assert_eq!(next(&mut consul).await.unwrap(), two(), "it works again");
    let without_index: Vec<_> = script.requests().iter().map(|(line, _)| !line.contains("&index=")).collect();
    assert_eq!(without_index, [true, false, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_goes_back_or_is_missing_is_not_used_and_does_not_spin() {
    let script = Script::web(|_, nth| match nth {
        0 => page(100, TWO),
        1 => page(5, TWO),
        2 => Page { headers: String::new(), ..page(0, TWO) },
        3 => page(0, TWO),
        _ => page(5, "[]"),
    });
    let mut consul = consul(&script, "consul:///orders", &Settings::default());
    assert_eq!(next(&mut consul).await.unwrap(), two());
    assert_eq!(next(&mut consul).await.unwrap(), []);
    let requests = script.requests();
    let indices: Vec<_> =
        requests.iter().map(|(line, _)| line.split_once("&index=").map(|(_, index)| index)).collect();
    assert_eq!(indices, [None, Some("100"), None, None, None]);
    let seconds: Vec<_> = requests.iter().map(|(_, second)| *second).collect();
    assert_eq!(seconds, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_used_is_left_out_and_told_once() {
    let usable = r#"[{"Node":{"Address":"10.0.0.2"},"Service":{"Port":2}}]"#;
    let script = Script::web(move |_, nth| match nth {
        2 => Page { status: 503, ..Page::default() },
        0..=4 => page(1, BROKEN),
        _ => page(2, usable),
    });
    let mut consul = consul(&script, "consul:///orders", &Settings::default());
    let only = [("10.0.0.2:2".to_owned(), None)];
    assert_eq!(next(&mut consul).await.unwrap(), only);
    let error = next(&mut consul).await.unwrap_err();
    assert_eq!(
        error,
        "consul://127.0.0.1:8500/orders: left out \"host.example\" port 1, which is not a literal address"
    );
    assert!(next(&mut consul).await.unwrap_err().contains("HTTP status 503"));
    assert_eq!(next(&mut consul).await.unwrap(), only, "it answers again");
    assert_eq!(next(&mut consul).await.unwrap(), only, "nothing is left out any more");
    assert_eq!(script.requests().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn the_token_is_read_for_each_question() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let script = Script::web(|request, _| {
        let known = request.to_lowercase().contains("x-consul-token: first\r\n");
        page(1, if known { TWO } else { "[]" })
    });
    let settings = Settings { token_path: Some(path.clone()), ..Settings::default() };
    let mut consul = consul(&script, "consul:///orders", &settings);
    assert_eq!(next(&mut consul).await.unwrap(), two());
    std::fs::write(&path, "second").unwrap();
    assert_eq!(next(&mut consul).await.unwrap(), []);
    std::fs::remove_file(&path).unwrap();
    assert!(next(&mut consul).await.unwrap_err().contains("cannot be read"));
}

#[tokio::test(start_paused = true)]
async fn plaintext_stays_on_this_machine() {
    let script = Script::web(|_, _| page(1, TWO));
    let mut consul = consul(&script, "consul://consul.example:8500/orders", &Settings::default());
    let error = next(&mut consul).await.unwrap_err();
    assert!(error.contains("http is for this machine only"), "{error}");
    assert!(script.requests().is_empty());
}
