//! A server in memory, in paused time.

use tokio::time::timeout;

use super::*;
use crate::resolver::testing::Script;
use crate::resolver::testing::web::Page;

fn etcd(script: &Arc<Script>) -> Etcd {
    let platform: Arc<dyn Platform> = script.clone();
    Etcd::new(&Target::parse("etcd:///svc/orders").unwrap(), &platform, &Settings::default()).unwrap()
}

async fn next(etcd: &mut Etcd) -> Result<Vec<(String, Option<u32>)>, String> {
    let news = timeout(Duration::from_secs(10_000), etcd.next()).await.expect("no news");
    let update = news.map_err(|error| error.to_string())?;
    Ok(update.endpoints.iter().map(|endpoint| (endpoint.name(), endpoint.attributes.weight)).collect())
}

/// A page with these keys and values.
fn kvs(entries: &[(&str, &str)]) -> Page {
    let entry = |(key, value): &(&str, &str)| serde_json::json!({"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value), "version": "1"});
    let kvs: Vec<_> = entries.iter().map(entry).collect();
    // A gateway leaves lists out that are empty.
    let body = match kvs.as_slice() {
        [] => serde_json::json!({"header": {"revision": "3"}}),
        kvs => serde_json::json!({"header": {"revision": "3"}, "kvs": kvs, "count": "2"}),
    };
    Page { body: body.to_string(), ..Page::default() }
}

#[test]
fn a_prefix_does_not_reach_into_its_neighbours() {
    for prefix in ["svc/orders", "svc/orders/"] {
        let request: serde_json::Value = serde_json::from_slice(&range(prefix)).unwrap();
        let text = |name: &str| {
            String::from_utf8(BASE64_STANDARD.decode(request[name].as_str().unwrap()).unwrap()).unwrap()
        };
        let (start, end) = (text("key"), text("range_end"));
        for (key, is_in) in [
            ("svc/orders/a", true),
            ("svc/orders/zzz/\u{10ffff}", true),
            ("svc/orders", false),
            ("svc/orders-old/a", false),
            ("svc/orders2", false),
        ] {
            assert_eq!((start.as_str()..end.as_str()).contains(&key), is_in, "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_endpoints_and_are_read_again() {
    let script = Script::web(|request, nth| {
        assert!(request.starts_with("POST /v3/kv/range HTTP/1.1\r\n"), "{request}");
        match nth {
            0..=2 => kvs(&[
                ("svc/orders/a", r#"{"Op":0,"Addr":"10.0.0.1:1","Metadata":{"weight":3}}"#),
                ("svc/orders/b", r#"{"Addr":"[::1]:2","Metadata":null}"#),
                ("svc/orders/c", r#"{"Op":1,"Addr":"10.0.0.3:1"}"#),
                ("svc/orders/d", r#"{"Op":0,"Addr":"10.0.0.1:1","Metadata":"text"}"#),
            ]),
            3 => Page { body: "{}".to_owned(), ..Page::default() },
            _ => kvs(&[]),
        }
    });
    let mut etcd = etcd(&script);
    let expected = [("10.0.0.1:1".to_owned(), Some(3)), ("[::1]:2".to_owned(), None)];
    assert_eq!(next(&mut etcd).await.unwrap(), expected);
    let error = next(&mut etcd).await.unwrap_err();
    assert!(error.contains("the answer is not a range of keys"), "{error}");
    assert_eq!(next(&mut etcd).await.unwrap(), []);
    let seconds: Vec<_> = script.requests().iter().map(|(_, second)| *second).collect();
    assert_eq!(seconds, [0, 5, 10, 15, 16]);
}

#[tokio::test(start_paused = true)]
async fn hints_bring_the_next_question_forward() {
    let script = Script::web(|_, _| kvs(&[("svc/orders/a", r#"{"Op":0,"Addr":"10.0.0.1:1"}"#)]));
    let mut etcd = etcd(&script);
    next(&mut etcd).await.unwrap();
    for _ in 0..8 {
        etcd.refresh();
        assert!(timeout(Duration::from_millis(500), etcd.next()).await.is_err());
    }
    assert!(timeout(Duration::from_secs(7), etcd.next()).await.is_err());
    let seconds: Vec<_> = script.requests().iter().map(|(_, second)| *second).collect();
    assert_eq!(seconds, [0, 1, 2, 3, 4, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_no_endpoint_is_named() {
    let script = Script::web(|_, _| {
        kvs(&[("svc/orders/config", "{}"), ("svc/orders/a", r#"{"Op":0,"Addr":"10.0.0.1:1"}"#)])
    });
    let mut etcd = etcd(&script);
    assert_eq!(next(&mut etcd).await.unwrap().len(), 1);
    assert_eq!(
        next(&mut etcd).await.unwrap_err(),
        "etcd://127.0.0.1:2379/svc/orders: left out \"svc/orders/config\", whose value is not an endpoint"
    );
    assert!(timeout(Duration::from_secs(60), etcd.next()).await.is_err(), "once");
}
