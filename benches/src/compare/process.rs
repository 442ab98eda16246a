//! Processes: each is a child, on a CPU of its own choosing, and ends with us.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

/// A process has this long until it accepts connections.
const START_MAX: Duration = Duration::from_secs(20);

/// Between looks whether it does.
const START_POLL: Duration = Duration::from_millis(20);

/// How much of what a failed process wrote is shown.
const LOG_SIZE_BYTES_MAX: usize = 2000;

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cpu {
    /// Wherever the kernel puts it.
    Any,
    /// On this one, by `taskset` of util-linux.
    One(u8),
}

/// A command line on `cpu`.
pub(crate) fn command(cpu: Cpu, program: &Path) -> Command {
    let mut command = match cpu {
        Cpu::Any => Command::new(program),
        Cpu::One(number) => {
            // It becomes the program: the process is the same.
            let mut command = Command::new("taskset");
            command.arg("--cpu-list").arg(number.to_string()).arg(program);
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// A part of this program, in a process of its own.
///
/// # Errors
/// The program does not know where it is.
pub(crate) fn own(cpu: Cpu, part: &str) -> Result<Command, Box<dyn Error>> {
    let mut command = command(cpu, &std::env::current_exe()?);
    command.arg(part);
    Ok(command)
}

/// Something that listens; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// What a part of this program says.
    lines: Option<Lines<BufReader<ChildStderr>>>,
}

impl Server {
    /// Starts what chooses its own port and [`tell`]s it.
    ///
    /// # Errors
    /// It does not start or does not say where it listens.
    pub(crate) async fn told(mut command: Command) -> Result<Self, Box<dyn Error>> {
        let mut child = spawn(command.stdin(Stdio::piped()).stderr(Stdio::piped()))?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let line = timeout(START_MAX, lines.next_line()).await??;
        let line = line.ok_or("a process did not say where it listens")?;
        let addr = line.parse().map_err(|_| line)?;
        Ok(Self { child, addr, lines: Some(lines) })
    }

    /// Starts what was told to listen on `addr`, and waits until it does. It writes to the file `log`.
    ///
    /// # Errors
    /// It ends or is not there in time; with the end of what it wrote.
    pub(crate) async fn at(
        mut command: Command,
        addr: SocketAddr,
        log: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let output = File::create(log)?;
        let child = spawn(command.stdout(output.try_clone()?).stderr(output))?;
        let mut server = Self { child, addr, lines: None };
        match timeout(START_MAX, server.listens()).await.unwrap_or(Err("it does not listen".into())) {
            Ok(()) => Ok(server),
            Err(error) => Err(format!("{error}:\n{}", end_of(log)).into()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "from outside")]
    async fn listens(&mut self) -> Result<(), Box<dyn Error>> {
        while TcpStream::connect(self.addr).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            sleep(START_POLL).await;
        }
        Ok(())
    }

    /// How many RPCs a backend has answered so far.
    ///
    /// # Errors
    /// It ended, or is no backend.
    pub(crate) async fn answered(&mut self) -> Result<u64, Box<dyn Error>> {
        self.child.stdin.as_mut().ok_or("no backend")?.write_all(b"?").await?;
        let lines = self.lines.as_mut().ok_or("no backend")?;
        let line = timeout(START_MAX, lines.next_line()).await??;
        Ok(line.ok_or("a backend ended")?.parse()?)
    }

    /// The process.
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn pid(&self) -> Result<u32, Box<dyn Error>> {
        Ok(self.child.id().ok_or("a process ended")?)
    }

    /// What it has in memory, in bytes.
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
        Ok(kib * 1024)
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("cannot start {:?}: {error}", command.as_std().get_program()))
}

/// Tells the process that started this one.
#[expect(clippy::print_stderr, reason = "whoever started this process reads it")]
pub(crate) fn tell(what: impl Display) {
    eprintln!("{what}");
}

/// A port that was free a moment ago.
///
/// # Errors
/// There is none.
#[expect(clippy::disallowed_methods, reason = "for somebody else")]
pub(crate) async fn free() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

/// Where a command is, as a shell would look for it, and where Debian keeps those of administrators.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    let named = program.components().count() > 1;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut candidates: Box<dyn Iterator<Item = PathBuf>> = match named {
        true => Box::new(std::iter::once(program.to_owned())),
        false => Box::new(folders.map(|folder| folder.join(program))),
    };
    candidates.find(|candidate| candidate.is_file())
}

/// What a command writes when asked for its version: the first line; `None` when it fails.
pub(crate) async fn version(program: &Path, args: &[impl AsRef<OsStr>]) -> Option<String> {
    let output = timeout(START_MAX, Command::new(program).args(args).kill_on_drop(true).output());
    let output = output.await.ok()?.ok()?;
    // nginx writes it to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    output.status.success().then(|| line.to_owned())
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_SIZE_BYTES_MAX);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}
