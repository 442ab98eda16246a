//! Files of several clusters, and backends that remember what they were asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use h2::server::Builder;
use highball::Code;
use highball::core::envelope::seal;
use highball_edge::settings::{Settings, read};
use highball_testkit::Client;
use http::{HeaderMap, Uri};

use super::peer::{Peer, Rpc, serve};
use super::scripted::{head, status};

/// A file: these lines at the top, these clusters, then everything else.
pub(crate) fn text(top: &str, clusters: &[String], rest: &str) -> String {
    let clusters = clusters.concat();
    format!("{top}\nadmin = '127.0.0.1:0'\n[[listeners]]\naddress = '127.0.0.1:0'\n{clusters}{rest}\n")
}

/// A cluster of these backends, with more lines.
pub(crate) fn cluster(name: &str, backends: &[SocketAddr], lines: &str) -> String {
    let addrs: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
    format!("[clusters.{name}]\ntarget = 'static:///{}'\n{lines}\n", addrs.join(","))
}

/// What a reload is given.
pub(crate) fn settings(text: &str) -> Settings {
    read::read(text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings
}

/// One request, as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

/// A backend that reads each request, remembers it, and answers with its name.
pub(crate) struct Recorder {
    pub(crate) peer: Peer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub(crate) async fn start(name: impl Into<String>) -> Self {
        let (name, seen): (String, _) = (name.into(), Arc::<Mutex<Vec<Seen>>>::default());
        let noted = seen.clone();
        let each = move |rpc| {
            let (name, noted) = (name.clone(), noted.clone());
            async move {
                let (rpc, one) = received(rpc).await;
                noted.lock().unwrap().push(one);
                answer(rpc, &[name.as_bytes()]);
            }
        };
        // With the window of servers as they are: h2 takes as many small frames as its window is large.
        let mut builder = Builder::new();
        builder.initial_connection_window_size(1 << 20);
        let peer = Peer::start(move |_, io| serve(io, builder.clone(), each.clone())).await;
        Self { peer, seen }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.peer.addr
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request came")
    }
}

/// The whole request.
pub(crate) async fn received(mut rpc: Rpc) -> (Rpc, Seen) {
    let mut one =
        Seen { uri: rpc.request.uri().clone(), headers: rpc.request.headers().clone(), body: Vec::new() };
    let body = rpc.request.body_mut();
    while let Some(Ok(data)) = body.data().await {
        one.body.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    (rpc, one)
}

/// These messages, and OK. The other side may be gone.
pub(crate) fn answer(mut rpc: Rpc, messages: &[&[u8]]) {
    let Ok(mut stream) = rpc.respond.send_response(head(), false) else { return };
    for message in messages {
        stream.send_data(seal(message), false).ok();
    }
    stream.send_trailers(status(Code::Ok)).ok();
}

/// The first message of an answer that is OK.
pub(crate) async fn says(client: &Client, path: &str, headers: &[(&str, &str)]) -> String {
    let reply = client.call(path, headers, &[b"hello"]).await;
    assert_eq!(reply.code(), Code::Ok, "{reply:?}");
    String::from_utf8(reply.messages[0].to_vec()).unwrap()
}
