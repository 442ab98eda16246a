//! The peers: what they are called, how they are started, and what they are told.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::process::{self, Cpu, Server};

/// What stands before the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// `highball edge` without a log line per RPC, as the others run.
    Edge,
    /// `highball edge` as it comes: a log line per RPC, to a file.
    EdgeLog,
    /// hyper in front of hyper's client: what an afternoon gives.
    Naive,
    Nginx,
    Haproxy,
    Envoy,
}

/// Where the programs are.
#[derive(Debug, clap::Args)]
pub(crate) struct Programs {
    /// `highball`. Default: the one that was built beside this program.
    #[arg(long, value_name = "FILE")]
    edge: Option<PathBuf>,
    /// `nginx`, with gRPC (1.13.10 or later).
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    nginx: PathBuf,
    /// `haproxy`.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    haproxy: PathBuf,
    /// `envoy`.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    envoy: PathBuf,
    /// `h2load`. Without one the load is our own, which is slower than most peers.
    #[arg(long, value_name = "FILE", default_value = "h2load")]
    pub(crate) h2load: PathBuf,
}

/// A peer that is there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    program: PathBuf,
}

impl Peer {
    /// All, and the one that others are compared with first.
    pub(crate) const ALL: [Self; 6] =
        [Self::Edge, Self::EdgeLog, Self::Naive, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::EdgeLog => "edge-log",
            Self::Naive => "naive",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Looks for its program; `None` when it is not there or does not run.
    pub(crate) async fn find(self, programs: &Programs) -> Option<Found> {
        let own = std::env::current_exe().ok()?;
        let (program, version): (PathBuf, &[&str]) = match self {
            Self::Edge | Self::EdgeLog => {
                let program = programs.edge.clone().unwrap_or_else(|| own.with_file_name("highball"));
                // An older one has no such command.
                process::version(&program, &["edge", "--help"]).await?;
                (program, &["--version"])
            }
            Self::Naive => (own, &["--version"]),
            Self::Nginx => (process::find(&programs.nginx)?, &["-v"]),
            Self::Haproxy => (process::find(&programs.haproxy)?, &["-v"]),
            Self::Envoy => (process::find(&programs.envoy)?, &["--version"]),
        };
        let version = process::version(&program, version).await?;
        Some(Found { peer: self, version, program })
    }

    /// Its configuration, with places to fill in, and what the file is called.
    fn template(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Naive => return None,
            Self::Edge | Self::EdgeLog => ("edge.toml", include_str!("../../compare/edge.toml")),
            Self::Nginx => ("nginx.conf", include_str!("../../compare/nginx.conf")),
            Self::Haproxy => ("haproxy.cfg", include_str!("../../compare/haproxy.cfg")),
            Self::Envoy => ("envoy.yaml", include_str!("../../compare/envoy.yaml")),
        })
    }
}

impl Found {
    /// Starts it in front of `backends`, with its files in `folder`.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(
        &self,
        cpu: Cpu,
        backends: [SocketAddr; 2],
        folder: &Path,
    ) -> Result<Server, Box<dyn Error>> {
        let name = self.peer.name();
        let Some((file, template)) = self.peer.template() else {
            let mut command = process::own(cpu, "naive")?;
            command.args(backends.map(|addr| addr.to_string()));
            return Server::told(command).await;
        };
        let folder = folder.join(name);
        fs::create_dir(&folder)?;
        let (file, listen) = (folder.join(file), process::free().await?);
        fs::write(&file, filled(template, listen, backends, &folder))?;
        let mut command = process::command(cpu, &self.program);
        match self.peer {
            Peer::Edge => command.arg("edge").arg(&file).args(["--log", "warn"]),
            Peer::EdgeLog => command.arg("edge").arg(&file),
            // The folder keeps it from the one it was built for.
            Peer::Nginx => command.arg("-p").arg(&folder).args(["-e", "stderr", "-c"]).arg(&file),
            Peer::Haproxy => command.args(["-db", "-f"]).arg(&file),
            Peer::Envoy => command
                .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "-c"])
                .arg(&file),
            Peer::Naive => &mut command,
        };
        Server::at(command, listen, &folder.join("log"))
            .await
            .map_err(|error| format!("{name}: {error}").into())
    }
}

fn filled(template: &str, listen: SocketAddr, [a, b]: [SocketAddr; 2], folder: &Path) -> String {
    let values = [
        ("{{listen}}", listen.to_string()),
        ("{{listen_port}}", listen.port().to_string()),
        ("{{backend_a}}", a.to_string()),
        ("{{backend_a_port}}", a.port().to_string()),
        ("{{backend_b}}", b.to_string()),
        ("{{backend_b_port}}", b.port().to_string()),
        ("{{dir}}", folder.display().to_string()),
    ];
    values.iter().fold(template.to_owned(), |text, (place, value)| text.replace(place, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_template_is_filled() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (file, template) in Peer::ALL.into_iter().filter_map(Peer::template) {
            let text = filled(template, addr(1001), [addr(1002), addr(1003)], Path::new("/folder"));
            assert!(!text.contains("{{"), "{file}: {text}");
            for port in ["1001", "1002", "1003"] {
                assert!(text.contains(port), "{file} does not name {port}");
            }
        }
    }
}
