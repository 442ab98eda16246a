//! One round of load: `h2load` of nghttp2, or our own where it is missing.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::calls;
use crate::process::{self, Cpu};
use crate::setting::Setting;

/// One round may take this long; then the run fails.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Where the load comes from.
#[derive(Debug)]
pub(crate) struct Load {
    /// `h2load`, when there is one.
    pub(crate) h2load: Option<PathBuf>,
    pub(crate) cpu: Cpu,
    /// For bodies and logs.
    pub(crate) folder: PathBuf,
}

/// What one round looked like from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    /// RPCs per second.
    pub(crate) rate: f64,
    /// Microseconds, the median and the 99th percentile.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Load {
    /// `rpcs` RPCs to `addr`, each of which must succeed and bring back every byte.
    ///
    /// # Errors
    /// One did not, or it takes too long.
    pub(crate) async fn round(
        &self,
        addr: SocketAddr,
        setting: Setting,
        rpcs: u32,
    ) -> Result<Seen, Box<dyn Error>> {
        timeout(ROUND_MAX, async {
            match &self.h2load {
                Some(program) => self.h2load(program, addr, setting, rpcs).await,
                None => self.own(addr, setting, rpcs).await,
            }
        })
        .await
        .map_err(|_| format!("a round takes more than {ROUND_MAX:?}"))?
    }

    async fn h2load(
        &self,
        program: &Path,
        addr: SocketAddr,
        setting: Setting,
        rpcs: u32,
    ) -> Result<Seen, Box<dyn Error>> {
        let (body, log) = (self.folder.join("message"), self.folder.join("latencies"));
        let message = setting.message();
        fs::write(&body, &message)?;
        // It appends.
        fs::remove_file(&log).ok();
        let mut command = process::command(self.cpu, program);
        command.args(["--threads=1", "--header=content-type: application/grpc", "--header=te: trailers"]);
        command.arg(format!("--requests={rpcs}"));
        command.arg(format!("--clients={}", setting.connections));
        command.arg(format!("--max-concurrent-streams={}", setting.streams));
        command.arg("-d").arg(&body);
        command.arg("--log-file").arg(&log);
        command.arg(format!("http://{addr}{}", calls::PATH));
        let output = output(command).await?;
        let data = u64::from(rpcs) * message.len() as u64;
        let rate =
            report(&output, rpcs, data).ok_or_else(|| format!("not every RPC succeeded:\n{output}"))?;
        let (p50, p99) = percentiles(&fs::read_to_string(&log)?, rpcs)?;
        Ok(Seen { rate, p50, p99 })
    }

    async fn own(&self, addr: SocketAddr, setting: Setting, rpcs: u32) -> Result<Seen, Box<dyn Error>> {
        let mut command = process::own(self.cpu, "load")?;
        command.args([addr.to_string(), setting.argument(), rpcs.to_string()]);
        let started = tokio::time::Instant::now();
        let output = output(command).await?;
        let rate = f64::from(rpcs) / started.elapsed().as_secs_f64();
        let (p50, p99) = percentiles(&output, rpcs)?;
        Ok(Seen { rate, p50, p99 })
    }
}

async fn output(mut command: Command) -> Result<String, Box<dyn Error>> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
    if !output.status.success() {
        return Err(format!("the load: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The requests per second in the report of `h2load`; `None` unless `rpcs` succeeded and brought `data` bytes.
fn report(text: &str, rpcs: u32, data: u64) -> Option<f64> {
    let line = |start: &str| text.lines().find(|line| line.starts_with(start));
    let whole = line("requests:")?.contains(&format!(" {rpcs} succeeded, 0 failed, 0 errored, 0 timeout"))
        && line("status codes:")?.contains(&format!(" {rpcs} 2xx,"))
        && line("traffic:")?.ends_with(&format!("({data}) data"));
    let rate = line("finished in ")?.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    rate.parse().ok().filter(|_| whole)
}

/// The median and the 99th percentile of the third column.
fn percentiles(log: &str, rpcs: u32) -> Result<(f64, f64), Box<dyn Error>> {
    let latency = |line: &str| line.split('\t').nth(2).and_then(|column| column.parse::<u32>().ok());
    let mut sorted: Vec<u32> = log.lines().filter_map(latency).collect();
    if sorted.is_empty() || sorted.len() != rpcs as usize {
        return Err(format!("{} latencies of {rpcs} RPCs", sorted.len()).into());
    }
    sorted.sort_unstable();
    // The smallest value that so many per cent do not exceed.
    let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100) - 1).copied().unwrap_or(0);
    Ok((f64::from(at(50)), f64::from(at(99))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
starting benchmark...

finished in 453.32ms, 88238.10 req/s, 9.26MB/s
requests: 40000 total, 40000 started, 40000 done, 40000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 40000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 4.20MB (4400576) total, 1.11MB (1164480) headers (space savings 78.40%), 2.63MB (2760000) data
";

    #[test]
    fn a_report_counts_only_when_all_came_back() {
        assert_eq!(report(REPORT, 40_000, 2_760_000), Some(88_238.10));
        assert_eq!(report(REPORT, 40_000, 2_760_001), None);
        assert_eq!(report(REPORT, 4_000, 2_760_000), None);
        assert_eq!(report(&REPORT.replace("40000 2xx", "39999 2xx"), 40_000, 2_760_000), None);
        assert_eq!(report(&REPORT.replace("0 errored", "1 errored"), 40_000, 2_760_000), None);
        assert_eq!(report("", 0, 0), None);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let log: String = (1..=200).rev().map(|value| format!("0\t200\t{value}\n")).collect();
        assert_eq!(percentiles(&log, 200).expect("a log"), (100.0, 198.0));
        assert_eq!(percentiles("5\t200\t7\n", 1).expect("a log"), (7.0, 7.0));
        assert!(percentiles(&log, 201).is_err());
        assert!(percentiles("", 0).is_err());
    }
}
