//! CPU time of another process, to the nanosecond.

use std::fs;
use std::io;
use std::time::Duration;

/// What all threads of the process have used so far. A thread that ended would be forgotten; servers end none.
pub(crate) fn used(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // The first field is the time on a CPU: Documentation/scheduler/sched-stats.rst.
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_cpu = stat.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        nanos += on_cpu.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(nanos))
}
