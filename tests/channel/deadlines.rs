//! Deadlines from one call to the next.

use highball::Code;
use tokio::sync::mpsc;

use super::*;

/// The milliseconds a `grpc-timeout` gives.
fn millis(timeout: &str) -> f64 {
    let (number, unit) = timeout.split_at(timeout.len() - 1);
    let factor = match unit {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "S" => 1e3,
        other => panic!("{other}"),
    };
    number.parse::<f64>().unwrap() * factor
}

/// Passes every call on.
async fn relay(to: &TestServer) -> TestServer {
    let channel = channel(&[to]);
    host(move |_| {
        let channel = channel.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            channel.call(request(GET, b"on behalf")).await
        }
    })
    .await
}

#[tokio::test]
async fn a_call_made_while_handling_another_has_the_time_that_is_left() {
    let inner = host(|request: Request<Body>| async move {
        let timeout = request.headers().get("grpc-timeout").cloned();
        stub::messages(&[timeout.map(|value| value.as_bytes().to_vec()).unwrap_or_default().as_slice()])
    })
    .await;
    let outer = relay(&inner).await;
    let channel = channel(&[&outer]);
    let mut request = request(GET, b"");
    request.headers_mut().insert("grpc-timeout", "5S".parse().unwrap());
    let outcome = call(&channel, request).await;
    let left = millis(&outcome.text());
    assert!(left > 0.0 && left < 4_981.0, "{outcome:?}");
}

#[tokio::test]
async fn the_end_of_the_call_that_is_handled_ends_the_calls_made_for_it() {
    let (gone, mut heard) = mpsc::channel::<()>(1);
    let (begun, mut began) = mpsc::channel::<()>(1);
    let inner = host(move |_| {
        let (gone, begun) = (gone.clone(), begun.clone());
        async move {
            begun.send(()).await.unwrap();
            // Dropped with the handler.
            let _gone = gone;
            std::future::pending().await
        }
    })
    .await;
    let outer = relay(&inner).await;
    let channel = channel(&[&outer]);
    let calling = tokio::spawn(async move { get(&channel).await.status.code() });
    tokio::time::timeout(PATIENCE, began.recv()).await.unwrap().unwrap();
    calling.abort();
    // Nobody else holds the sender but the server's closure, whose calls are over.
    let ended = async {
        loop {
            let active =
                inner.telemetry.render().contains("grpc_active_requests{method=\"shop.v1.Shop/Get\"} 0");
            if active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the inner call is cancelled");
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn time_that_is_up_says_what_it_was_spent_on() {
    let server = host(|_| std::future::pending()).await;
    let channel = channel(&[&server]);
    let mut request = request(GET, b"");
    request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let outcome = call(&channel, request).await;
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded, "{outcome:?}");
    assert!(outcome.status.message().contains("the server did not answer"), "{outcome:?}");
}
