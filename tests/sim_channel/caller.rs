//! A call as an application makes it, and what it must come to.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Channel, Code, Status, WaitForReady};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Instant, sleep, timeout};

use crate::config::Method;
use crate::host::{self, CALL, WATCHED};
use crate::ledger::{Ended, Ledger, now};
use crate::plan::Call;

/// What a call may take beyond its deadline: the granularity of tokio's timers.
const TICK: Duration = Duration::from_millis(2);

/// Messages a client streams.
const STREAMED: usize = 4;

/// Makes a call to its end and judges it.
pub(crate) async fn run(channel: &Channel, call: Call, ledger: &Arc<Ledger>) -> Ended {
    let (began, started) = (now(), Instant::now());
    let work = async {
        let response = channel.call(request(&call)).await;
        read(response, &call, ledger).await
    };
    let outcome = match call.dropped_after {
        Some(after) => timeout(after, work).await.ok(),
        None => Some(work.await),
    };
    let took = started.elapsed();
    if call.deadline.is_some_and(|deadline| took > deadline + TICK) {
        ledger
            .violation(format_args!("call {} took {took:?}, its deadline was {:?}", call.id, call.deadline));
    }
    let (Call { id, channel, method, .. }, name) = (call, call.method.name());
    let ended = match &outcome {
        None => {
            ledger.note(format_args!("{name} {id} was dropped"));
            Ended { id, channel, began, code: None, host: None }
        }
        Some((status, bytes)) => {
            ledger.note(format_args!("{name} {id} ended after {took:?}: {status}"));
            let host = (status.code() == Code::Ok).then(|| check(method, &call, bytes, ledger)).flatten();
            Ended { id, channel, began, code: Some(status.code()), host }
        }
    };
    ledger.ended(ended.clone());
    ended
}

fn request(
    call: &Call,
) -> Request<StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>> {
    let path = format!("/shop.v1.Shop/{}", call.method.name());
    let mut request =
        Request::post(path).header("content-type", "application/grpc").header(CALL, call.id.to_string());
    if let Some(deadline) = call.deadline {
        request = request.header("grpc-timeout", format!("{}m", deadline.as_millis()));
    }
    let frames: Vec<Frame<Bytes>> = messages(call).into_iter().map(Frame::data).collect();
    let frames = stream::iter(frames.into_iter().enumerate()).then(|(n, frame)| async move {
        if n > 0 {
            sleep(Duration::from_millis(7)).await;
        }
        Ok(frame)
    });
    let mut request = request.body(StreamBody::new(frames.boxed())).expect("a request");
    request.extensions_mut().insert(WaitForReady(call.wait_for_ready));
    request
}

/// What the request carries, sealed.
fn messages(call: &Call) -> Vec<Bytes> {
    let count = match call.method {
        Method::Get | Method::Watch => 1,
        Method::Upload | Method::Chat => STREAMED,
    };
    let message = |n: usize| seal(&vec![b'a' + (call.id as u8 + n as u8) % 26; call.message_bytes]);
    (0..count).map(message).collect()
}

/// The status a response ends with, and its data as it came.
async fn read(response: Response<Body>, call: &Call, ledger: &Ledger) -> (Status, BytesMut) {
    let mut data = BytesMut::new();
    if let Some(status) = host::status_of(response.headers()) {
        return (status, data);
    }
    let mut body = response.into_body();
    let fault = loop {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(more) => data.extend_from_slice(&more),
                Err(frame) => match Status::from_headers(&frame.into_trailers().unwrap_or_default()) {
                    Some(status) => return (status, data),
                    None => break "ended with trailers without a status".to_owned(),
                },
            },
            Some(Err(error)) => break format!("had a body that failed: {error}"),
            None => break "ended without a status".to_owned(),
        }
    };
    ledger.violation(format_args!("call {} {fault}", call.id));
    (Status::new(Code::Internal, "no status"), data)
}

/// An answer is whole, and that of one attempt. Returns the server it came from, if it says.
fn check(method: Method, call: &Call, data: &[u8], ledger: &Ledger) -> Option<String> {
    let sent: BytesMut = messages(call).iter().flatten().copied().collect();
    if method == Method::Chat {
        if data != sent {
            ledger.violation(format_args!("chat {} heard {} of {} bytes", call.id, data.len(), sent.len()));
        }
        return None;
    }
    let heard = String::from_utf8_lossy(unsealed(data).first().copied().unwrap_or_default()).into_owned();
    let host = heard.split(' ').next().unwrap_or_default().to_owned();
    let id = call.id;
    let wanted: BytesMut = match method {
        Method::Watch => (0..WATCHED).flat_map(|n| seal(format!("{host} {id} {n}").as_bytes())).collect(),
        _ => BytesMut::from(&seal(format!("{host} {id} {}", host::digest(&sent)).as_bytes())[..]),
    };
    if data != wanted {
        ledger.violation(format_args!("call {id} got {:?}", String::from_utf8_lossy(data)));
    }
    Some(host)
}

/// The messages in `data`.
fn unsealed(mut data: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = data.split_first_chunk::<5>() {
        let [_, a, b, c, d] = *prefix;
        let size = (u32::from_be_bytes([a, b, c, d]) as usize).min(rest.len());
        let (message, after) = rest.split_at(size);
        messages.push(message);
        data = after;
    }
    messages
}
