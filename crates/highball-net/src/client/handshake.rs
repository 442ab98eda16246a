//! From a byte stream to a connection.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::time::timeout;

use super::Connection;
use super::driver::Driver;
use super::error::{ConnectError, ConnectErrorKind};
use super::settings::Settings;
use super::shared::Shared;
use super::watch::Watch;
use super::wire::Spoken;
use crate::{Io, Spawner};

/// Speaks HTTP/2 over `io` and resolves once the peer's SETTINGS have come: a connection that is accepted alone proves
/// nothing. What drives the connection then runs under `spawner`, and so do the request bodies of streams that go both ways.
///
/// # Errors
/// [`ConnectError`], a sentence for the operator; after [`Settings::settings_timeout`] at the latest.
///
/// # Cancel safety
/// Dropping the future closes `io`.
pub async fn handshake(
    io: Box<dyn Io>,
    settings: &Settings,
    spawner: &Spawner,
) -> Result<Connection, ConnectError> {
    let begun = begin(io, settings, spawner.clone());
    let Ok(begun) = timeout(settings.settings_timeout, begun).await else {
        return Err(ConnectError::new(ConnectErrorKind::Timeout, None));
    };
    let driver = begun?;
    let connection = Connection::new(driver.shared().clone());
    spawner.spawn(driver);
    Ok(connection)
}

async fn begin(io: Box<dyn Io>, settings: &Settings, spawner: Spawner) -> Result<Driver, ConnectError> {
    let shared = Shared::new(settings, spawner);
    let watch = Watch::new(io, shared.clone());
    let (door, connection) = settings
        .builder()
        .handshake(watch)
        .await
        .map_err(|error| ConnectError::new(ConnectErrorKind::Lost, Some(error.into())))?;
    shared.open(door);
    let mut driver = Driver::new(connection, shared.clone(), settings);
    let ended = poll_fn(|cx| {
        let ended = Pin::new(&mut driver).poll(cx).is_ready();
        if ended || shared.wire.spoken() == Spoken::Http2 { Poll::Ready(ended) } else { Poll::Pending }
    })
    .await;
    if !ended {
        return Ok(driver);
    }
    let kind = match shared.wire.spoken() {
        Spoken::Tls => ConnectErrorKind::Tls,
        Spoken::Http1 => ConnectErrorKind::Http1,
        Spoken::Other => ConnectErrorKind::NotHttp2,
        Spoken::Nothing | Spoken::Http2 => ConnectErrorKind::Lost,
    };
    let cause = if kind == ConnectErrorKind::Lost { shared.story.trouble() } else { None };
    Err(ConnectError::new(kind, cause.map(Into::into)))
}
