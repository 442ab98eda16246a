//! Replicas of the order service: started, kept, and ended in good order.
//!
//! ```text
//! up ── stdin: open while up lives ──▶ highball replica ── Unix socket ── edge of up
//!    ◀── stdout: its log ─────────────
//! ```
//!
//! Bounds: a replica that ends is started again after 200 ms, twice as long each time, at most 5 s; after 10 s of life from
//! the beginning. One that is asked to end has 15 s, then it is killed.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highball::net::{Address, ConnectOptions, Os, Spawner, Tasks};
use serde_json::json;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::log;

/// How long the first life of a replica may take to begin.
const START_MAX: Duration = Duration::from_secs(15);
/// How often it is tried whether it listens.
const GLANCE: Duration = Duration::from_millis(10);
/// The first pause before a replica is started again, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A life that counts as one: the pause begins at the shortest again.
const LIFE: Duration = Duration::from_secs(10);
/// How long a replica may take to end. More than its own drain.
const END_MAX: Duration = Duration::from_secs(15);
/// Of the folder with the sockets: for nobody else.
const MODE: u32 = 0o700;
/// A Unix socket's path has 108 bytes, one of them for the end (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Running replicas. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Replicas {
    first: Vec<(usize, Option<u32>)>,
    tasks: Tasks,
    stop: watch::Sender<bool>,
    killed: Arc<AtomicUsize>,
}

/// Where replicas are kept, below the data directory.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    database: PathBuf,
    log: String,
    /// Held, never read: two that share sockets would start each other's replicas again and again.
    _lock: File,
}

/// Keeps this folder for one process; the kernel lets go of it however the process ends.
fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|cause| format!("cannot open {}: {cause}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another highball up uses {}; stop it, or choose another directory with --data",
            folder.display()
        )),
        Err(TryLockError::Error(cause)) => Err(format!("cannot lock {}: {cause}", path.display())),
    }
}

impl Place {
    /// Makes a folder for sockets that nobody else may enter: who reaches a replica is not asked who it is.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(data: &Path, log: &str) -> Result<Self, String> {
        let data =
            fs::canonicalize(data).map_err(|cause| format!("cannot use {}: {cause}", data.display()))?;
        let folder = data.join("replicas");
        let made = DirBuilder::new().recursive(true).mode(MODE).create(&folder);
        // One that was there may have had another mode.
        let made = made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(MODE)));
        made.map_err(|cause| format!("cannot make {}: {cause}", folder.display()))?;
        let lock = lock(&folder)?;
        let place = Self { database: data.join("orders.db"), folder, log: log.to_owned(), _lock: lock };
        let longest = place.socket(0, "admin.sock");
        if longest.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!(
                "{} is too long for the path of a Unix socket; choose a shorter directory with --data",
                longest.display()
            ));
        }
        Ok(place)
    }

    /// The file that lists `count` replicas for a channel, written anew.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn endpoints(&self, count: usize) -> Result<PathBuf, String> {
        let file = self.folder.join("endpoints.json");
        let address = |index| json!({ "address": format!("unix:{}", self.socket(index, "sock").display()) });
        let list: Vec<_> = (1..=count).map(address).collect();
        let written = fs::write(&file, json!({ "endpoints": list }).to_string());
        written.map_err(|cause| format!("cannot write {}: {cause}", file.display()))?;
        Ok(file)
    }

    fn socket(&self, index: usize, kind: &str) -> PathBuf {
        self.folder.join(format!("{index}.{kind}"))
    }

    fn command(&self, index: usize) -> Result<Command, String> {
        let program = env::current_exe().map_err(|cause| format!("cannot find this program: {cause}"))?;
        let listen = |kind| {
            let mut text = OsString::from("unix:");
            text.push(self.socket(index, kind));
            text
        };
        let mut command = Command::new(program);
        command
            .arg("replica")
            .args([OsString::from("--listen"), listen("sock"), OsString::from("--admin"), listen("admin.sock")])
            .args([OsString::from("--database"), self.database.clone().into()])
            .args(["--log", &self.log])
            // Ends when this process does, whatever ended it; the replica drains then.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C at a terminal is for this process, which passes it on once the edge has drained.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts one and waits until it listens.
    async fn start(&self, index: usize) -> Result<Life, String> {
        let mut life = self.spawn(index)?;
        let why = tokio::select! {
            // It has said on standard error what is wrong.
            biased;
            status = life.child.wait() => match status {
                Ok(status) => status.to_string(),
                Err(cause) => cause.to_string(),
            },
            listens = timeout(START_MAX, self.listens(index)) => match listens {
                Ok(()) => return Ok(life),
                Err(_) => format!("nothing after {START_MAX:?}"),
            },
        };
        Err(format!("replica {index} did not start: {why}"))
    }

    fn spawn(&self, index: usize) -> Result<Life, String> {
        let spawned = self.command(index)?.spawn();
        let mut child = spawned.map_err(|cause| format!("cannot start replica {index}: {cause}"))?;
        Ok(Life { leash: child.stdin.take(), child })
    }

    async fn listens(&self, index: usize) {
        let address = Address::Unix(self.socket(index, "sock"));
        while Os::shared().connect(&address, ConnectOptions::default()).await.is_err() {
            sleep(GLANCE).await;
        }
    }
}

impl Replicas {
    /// Starts `count` of them, one after the other: the first makes the database. Returns when all of them listen.
    ///
    /// # Errors
    /// A sentence; none runs then.
    ///
    /// # Cancel safety
    /// Dropping the future kills what was started.
    pub(super) async fn start(place: Place, count: usize) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let replicas = Self { first: Vec::new(), tasks: Tasks::new(), stop, killed: Arc::default() };
        let (mut replicas, place) = (replicas, Arc::new(place));
        for index in 1..=count {
            let mut life = place.start(index).await?;
            replicas.first.push((index, life.child.id()));
            note_start(&mut life, index, &replicas.tasks.spawner());
            let keeper = Keeper {
                index,
                place: place.clone(),
                logs: replicas.tasks.spawner(),
                killed: replicas.killed.clone(),
            };
            replicas.tasks.spawn(keeper.keep(life, stopped.clone()));
        }
        Ok(replicas)
    }

    /// Their numbers and process ids, as they were started first.
    pub(super) fn first(&self) -> &[(usize, Option<u32>)] {
        &self.first
    }

    /// Asks all of them to drain and waits for their end, in bounds. How many had to be killed.
    pub(super) async fn stop(self) -> usize {
        self.stop.send_replace(true);
        self.tasks.finished().await;
        self.killed.load(Ordering::Relaxed)
    }
}

/// A replica that runs.
#[derive(Debug)]
struct Life {
    child: Child,
    /// Its standard input. Not left to `child`, which closes it as soon as somebody waits for the end.
    leash: Option<ChildStdin>,
}

/// Keeps one replica.
struct Keeper {
    index: usize,
    place: Arc<Place>,
    logs: Spawner,
    killed: Arc<AtomicUsize>,
}

impl Keeper {
    async fn keep(self, first: Life, mut stop: watch::Receiver<bool>) {
        let index = self.index;
        let (mut running, mut pause) = (Some(first), PAUSE_MIN);
        loop {
            let begun = Instant::now();
            if let Some(mut life) = running.take() {
                let ended = tokio::select! {
                    status = life.child.wait() => status,
                    () = told(&mut stop) => return self.end(life).await,
                };
                let how = ended.map_or_else(|cause| cause.to_string(), |status| status.to_string());
                if begun.elapsed() >= LIFE {
                    pause = PAUSE_MIN;
                }
                tracing::warn!(replica = index, how, pause = ?pause, "a replica ended; it is started again");
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = told(&mut stop) => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
            match self.place.spawn(index) {
                Ok(mut life) => {
                    note_start(&mut life, index, &self.logs);
                    running = Some(life);
                }
                Err(error) => tracing::warn!(replica = index, error, "a replica cannot be started"),
            }
        }
    }

    /// Closes its input, which asks it to drain, and waits.
    async fn end(&self, life: Life) {
        let Life { mut child, leash } = life;
        drop(leash);
        if timeout(END_MAX, child.wait()).await.is_err() {
            self.killed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(replica = self.index, "a replica did not end; it is killed");
            // Fails when it has ended in this moment.
            child.start_kill().ok();
            child.wait().await.ok();
        }
    }
}

/// Resolves when the replicas are to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Its sender is gone when nobody is left who could keep a replica.
    stop.wait_for(|stop| *stop).await.ok();
}

/// Says that it runs, and passes its log on.
fn note_start(life: &mut Life, index: usize, logs: &Spawner) {
    tracing::info!(replica = index, pid = life.child.id(), "a replica runs");
    if let Some(log) = life.child.stdout.take() {
        logs.spawn(log::relay(index, log));
    }
}
