//! A server that does what a script says, attempt by attempt.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use highball::Code;
use highball::core::envelope::seal;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What becomes of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// A genuine trailers-only answer with one more header.
    Fail(Code, Option<(&'static str, &'static str)>),
    /// Headers, then this status.
    Late(Code),
    /// One message and OK.
    Succeed,
    /// Reads the whole request, then fails.
    ReadAndFail(Code),
    /// Resets the stream.
    Reset(h2::Reason),
    /// Does not answer, and is told when the stream is reset.
    Hang,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The headers of each attempt and when they came.
    pub(crate) attempts: Vec<(HeaderMap, Instant)>,
    /// Streams reset by the client.
    pub(crate) cancelled: usize,
}

pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Follows `script`, and repeats its last line.
    pub(crate) async fn start(script: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(io, script.clone(), noted.clone()));
            }
        });
        Self { addr, seen, task }
    }

    pub(crate) fn attempts(&self) -> usize {
        self.seen.lock().unwrap().attempts.len()
    }

    /// The values of a header, attempt by attempt.
    pub(crate) fn header(&self, name: &str) -> Vec<Option<String>> {
        let seen = self.seen.lock().unwrap();
        let text = |headers: &HeaderMap| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        seen.attempts.iter().map(|(headers, _)| text(headers)).collect()
    }

    /// Time between attempts.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap();
        seen.attempts.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
    }

    /// Waits until so many streams were reset by the client.
    pub(crate) async fn cancelled(&self, count: usize) {
        while self.seen.lock().unwrap().cancelled < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(io: tokio::net::TcpStream, script: Arc<Mutex<VecDeque<Act>>>, seen: Arc<Mutex<Seen>>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path().starts_with("/grpc.health") {
            fail(respond, Code::Unimplemented, None);
            continue;
        }
        let act = {
            let mut script = script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().copied() }
        };
        let (head, body) = request.into_parts();
        seen.lock().unwrap().attempts.push((head.headers, Instant::now()));
        tokio::spawn(play(act.expect("a script has a line"), respond, body, seen.clone()));
    }
}

async fn play(act: Act, mut respond: SendResponse<Bytes>, mut body: h2::RecvStream, seen: Arc<Mutex<Seen>>) {
    match act {
        Act::Fail(code, header) => fail(respond, code, header),
        Act::Late(code) => {
            let mut stream = respond.send_response(head(), false).unwrap();
            stream.send_trailers(status(code)).unwrap();
        }
        Act::Succeed => {
            let mut stream = respond.send_response(head(), false).unwrap();
            stream.send_data(seal(b"done"), false).unwrap();
            stream.send_trailers(status(Code::Ok)).unwrap();
        }
        Act::ReadAndFail(code) => {
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            fail(respond, code, None);
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::Hang => {
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            if reset.is_ok() {
                seen.lock().unwrap().cancelled += 1;
            }
        }
    }
}

pub(crate) fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

pub(crate) fn status(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code as u16));
    trailers
}

pub(crate) fn fail(
    mut respond: SendResponse<Bytes>,
    code: Code,
    header: Option<(&'static str, &'static str)>,
) {
    let mut response = head();
    response.headers_mut().extend(status(code));
    if let Some((name, value)) = header {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // The client may have reset the stream already.
    respond.send_response(response, true).ok();
}
