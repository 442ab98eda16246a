//! Clients that ping without calling, for minutes of simulated time.

use std::time::Duration;

use bytes::Bytes;
use highball::net::http::Settings as ConnectionSettings;
use highball::{Server, Settings};
use highball_testkit::stub;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use turmoil::net::TcpStream;

use crate::{PORT, listen};

/// A client that pings every `interval` and calls nobody for ten minutes; whether its connection then still serves, or
/// why it ended.
fn ten_quiet_minutes(interval: Duration) -> Result<(), String> {
    let mut sim = turmoil::Builder::new()
        .tick_duration(Duration::from_millis(50))
        .simulation_duration(Duration::from_secs(1200))
        .build();
    sim.host("server", || async {
        // Idle connections are left alone here: only the pings are judged.
        let connection = ConnectionSettings { idle_max: Duration::from_secs(3600), ..Default::default() };
        let settings = Settings { connection, ..Settings::default() };
        let server =
            Server::new(stub::service(|_| async { stub::messages(&[b"pong"]) })).with_settings(settings);
        listen(server).bind().await?.run(std::future::pending()).await;
        Ok(())
    });
    let (told, outcome) = std::sync::mpsc::sync_channel(1);
    sim.client("client", async move {
        let io = TokioIo::new(TcpStream::connect(("server", PORT)).await?);
        let (mut sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_while_idle(true)
            .handshake::<_, Empty<Bytes>>(io)
            .await?;
        let ended = tokio::time::timeout(Duration::from_secs(600), connection);
        let outcome = tokio::select! {
            ended = ended => match ended {
                Ok(Ok(())) => Err("closed".to_owned()),
                Ok(Err(error)) => Err(format!("{error:?}")),
                Err(_) => Ok(()),
            },
            () = sender_lives(&mut sender) => Err("closed".to_owned()),
        };
        told.send(outcome)?;
        Ok(())
    });
    sim.run().expect("the simulation ends by itself");
    outcome.recv().expect("the client tells")
}

/// Resolves when the connection takes no more requests.
async fn sender_lives(sender: &mut hyper::client::conn::http2::SendRequest<Empty<Bytes>>) {
    let request = http::Request::post("http://server/a.B/C").header("content-type", "application/grpc");
    // One call at the start, so that the pings come on a connection that has been used.
    if let Ok(response) = sender.send_request(request.body(Empty::new()).expect("a request")).await {
        response.into_body().frame().await;
    }
    std::future::pending::<()>().await;
}

#[test]
fn pings_every_ten_seconds_without_calls_are_tolerated_for_ten_minutes() {
    assert_eq!(ten_quiet_minutes(Duration::from_secs(10)), Ok(()));
}

#[test]
fn pings_every_second_are_too_many() {
    let ended = ten_quiet_minutes(Duration::from_secs(1)).unwrap_err();
    assert!(ended.contains("too_many_pings"), "{ended}");
}
