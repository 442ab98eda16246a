//! A platform whose answers are written down.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_net::names::{Lookup, LookupError};
use highball_net::{Address, ConnectOptions, Io, ListenAddr, Listener, Platform};
use tokio::time::{Instant, sleep};

/// What a name server says, and when.
pub(super) enum Answer {
    Addresses(&'static [&'static str], Option<u64>),
    Many(u16),
    Texts(&'static [&'static str]),
    NotFound,
    Silence,
    /// The same, some seconds later.
    After(u64, Box<Answer>),
}

type Names = Box<dyn Fn(&str, usize) -> Answer + Send + Sync>;

pub(super) struct Script {
    /// Gets the name and how often it was asked for before.
    answer: Names,
    log: Log,
    #[cfg(any(feature = "consul", feature = "etcd"))]
    pub(super) web: Option<web::Server>,
}

/// Every question, with the milliseconds since the start.
#[derive(Clone)]
struct Log {
    started: Instant,
    asked: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Log {
    /// How often it was noted before.
    fn note(&self, question: &str) -> usize {
        let mut asked = self.asked.lock().unwrap();
        let nth = asked.iter().filter(|(asked, _)| asked == question).count();
        asked.push((question.to_owned(), u64::try_from(self.started.elapsed().as_millis()).unwrap()));
        nth
    }
}

impl Script {
    pub(super) fn new(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self::with(Box::new(answer)))
    }

    fn with(answer: Names) -> Self {
        Self {
            answer,
            log: Log { started: Instant::now(), asked: Arc::default() },
            #[cfg(any(feature = "consul", feature = "etcd"))]
            web: None,
        }
    }

    /// Whole seconds since the start at which a name was asked for.
    pub(super) fn seconds(&self, name: &str) -> Vec<u64> {
        let asked = self.log.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == name).map(|(_, millis)| millis / 1000).collect()
    }

    async fn ask(&self, name: &str) -> Answer {
        let mut answer = (self.answer)(name, self.log.note(name));
        while let Answer::After(seconds, later) = answer {
            sleep(Duration::from_secs(seconds)).await;
            answer = *later;
        }
        answer
    }
}

fn failure(name: &str, answer: &Answer) -> LookupError {
    let name = name.to_owned();
    match answer {
        Answer::Silence => LookupError::Unavailable { name, cause: "nobody answers".to_owned() },
        _ => LookupError::NotFound { name, ttl: None },
    }
}

impl Platform for Script {
    fn bind<'a>(&'a self, _: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
    }

    fn connect<'a>(&'a self, _: &'a Address, _: ConnectOptions) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        #[cfg(any(feature = "consul", feature = "etcd"))]
        if let Some(web) = &self.web {
            return async { Ok(web.connect()) }.boxed();
        }
        async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        async move {
            match self.ask(name).await {
                Answer::Addresses(addresses, ttl) => Ok(Lookup {
                    records: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                    ttl: ttl.map(Duration::from_secs),
                }),
                Answer::Many(count) => Ok(Lookup {
                    records: (0..count)
                        .map(|n| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]))
                        .collect(),
                    ttl: None,
                }),
                other => Err(failure(name, &other)),
            }
        }
        .boxed()
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        async move {
            match self.ask(name).await {
                Answer::Texts(texts) => {
                    let records = texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
                    Ok(Lookup { records, ttl: None })
                }
                other => Err(failure(name, &other)),
            }
        }
        .boxed()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn random(&self) -> u64 {
        0
    }
}

/// A web server in memory, as much of one as the fetching of one page needs.
#[cfg(any(feature = "consul", feature = "etcd"))]
pub(super) mod web {
    use highball_net::Tasks;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// What the server says, and after how many seconds.
    #[derive(Default)]
    pub(in super::super) struct Page {
        pub(in super::super) after: u64,
        /// 0 is 200.
        pub(in super::super) status: u16,
        /// Whole lines.
        pub(in super::super) headers: String,
        pub(in super::super) body: String,
    }

    /// Gets a request as text, and how many came before.
    type Pages = Arc<dyn Fn(&str, usize) -> Page + Send + Sync>;

    pub(in super::super) struct Server {
        pages: Pages,
        requests: Log,
        tasks: Tasks,
    }

    impl Script {
        /// A web server on every loopback address.
        pub(in super::super) fn web(
            answer: impl Fn(&str, usize) -> Page + Send + Sync + 'static,
        ) -> Arc<Self> {
            let mut script = Self::with(Box::new(|_, _| Answer::Addresses(&["127.0.0.1"], None)));
            let requests = Log { started: script.log.started, asked: Arc::default() };
            script.web = Some(Server { pages: Arc::new(answer), requests, tasks: Tasks::new() });
            Arc::new(script)
        }

        /// The first line of each request, without its HTTP version, and the whole second at which it came.
        pub(in super::super) fn requests(&self) -> Vec<(String, u64)> {
            let requests = self.web.as_ref().unwrap().requests.asked.lock().unwrap();
            let line = |request: &str| request.lines().next().unwrap().replace(" HTTP/1.1", "");
            requests.iter().map(|(request, millis)| (line(request), millis / 1000)).collect()
        }
    }

    impl Server {
        pub(super) fn connect(&self) -> Box<dyn Io> {
            let (client, server) = tokio::io::duplex(64 << 10);
            self.tasks.spawn(serve(server, self.pages.clone(), self.requests.clone()));
            Box::new(client)
        }
    }

    async fn serve(mut stream: DuplexStream, pages: Pages, requests: Log) {
        let request = read(&mut stream).await;
        let nth = requests.asked.lock().unwrap().len();
        requests.note(&request);
        let page = pages(&request, nth);
        sleep(Duration::from_secs(page.after)).await;
        let status = if page.status == 0 { 200 } else { page.status };
        let (headers, body) = (page.headers, page.body);
        let response =
            format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        // Whoever asked may have gone away.
        drop(stream.write_all(response.as_bytes()).await);
    }

    async fn read(stream: &mut DuplexStream) -> String {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return String::from_utf8(read).unwrap();
                }
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return String::from_utf8(read).unwrap();
            }
        }
    }
}
