//! The end of a server: lame duck, drain, force, report.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highball_net::{Drain, Phase, Tasks};
use highball_telemetry::Event;
use tokio::time::{Instant, sleep, timeout};

use crate::accept::Ends;
use crate::rpc::Host;

/// After force, the time connections get to carry their last frames out before their tasks are aborted. Longer than the
/// connection's own farewell, which is the orderly way.
const ABORT_AFTER: Duration = Duration::from_secs(1);

/// A server that was told to stop.
pub(crate) struct Leaving {
    pub(crate) host: Arc<Host>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) ends: Arc<Ends>,
    /// What accepts connections for RPCs.
    pub(crate) loops: Tasks,
    /// Connections for RPCs, on whatever threads they are.
    pub(crate) connections: Tasks,
    /// The ports beside.
    pub(crate) side_tasks: Tasks,
}

impl Leaving {
    pub(crate) async fn run(self) -> DrainReport {
        let cut_before = self.ends.cut.load(Ordering::Relaxed);
        let started = Instant::now();
        let draining = self.drain.listen();
        if draining.is_handed_over() {
            // Clients come back as soon as they are told to go; they must find the other process only.
            self.loops.finished().await;
        } else {
            self.host.health.drain();
            self.enter(Phase::LameDuck, "lame_duck");
            tokio::select! {
                () = sleep(self.host.settings.lame_duck) => {}
                () = draining.begun() => {}
                () = draining.handed_over() => {}
            }
        }
        self.enter(Phase::Draining, "drain");
        self.loops.finished().await;
        tokio::select! {
            () = self.connections.finished() => {}
            () = sleep(self.host.settings.drain_timeout) => {}
            () = draining.reached(Phase::Forced) => {}
        }
        if self.connections.running() > 0 || self.drain.phase() == Phase::Forced {
            self.enter(Phase::Forced, "force");
            // Whatever is left then never took its last frames.
            timeout(ABORT_AFTER, self.connections.finished()).await.ok();
        }
        self.connections.abort_all();
        // In vain for a task that never yields; the drain ends all the same.
        timeout(ABORT_AFTER, self.connections.finished()).await.ok();
        // A probe that still watches would be waited for below.
        drop(self.side_tasks);
        // The streams of an aborted connection are dropped by the runtime soon after it; the report must have them all.
        let patience = Instant::now() + ABORT_AFTER;
        while self.host.in_flight.now() > 0 && Instant::now() < patience {
            sleep(Duration::from_millis(1)).await;
        }
        let connections_cut = self.ends.cut.load(Ordering::Relaxed) - cut_before;
        report(&self.host, connections_cut, started.elapsed())
    }

    fn enter(&self, phase: Phase, name: &str) {
        self.drain.advance(phase);
        let open = self.ends.open.load(Ordering::Relaxed);
        let rpcs = self.host.in_flight.now();
        self.host.telemetry.report(&Event::Draining { phase: name, rpcs, connections: open });
    }
}

fn report(host: &Host, connections_cut: u64, took: Duration) -> DrainReport {
    let report = DrainReport {
        finished: host.in_flight.finished_in_drain(),
        cut: host.in_flight.cut(),
        connections_cut,
        took,
    };
    let DrainReport { finished, cut, connections_cut, took } = report;
    host.telemetry.report(&Event::Drained { finished, cut, connections_cut, took });
    report
}

/// What became of the work that was in flight when the server was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// RPCs that ended by themselves after the signal, whenever they began.
    pub finished: u64,
    /// RPCs that were answered UNAVAILABLE or lost because time was up.
    pub cut: u64,
    /// Connections that were closed although their client had not let go.
    pub connections_cut: u64,
    /// From the signal to the end.
    pub took: Duration,
}

impl DrainReport {
    /// 0 when nothing was cut, 1 otherwise. A connection counts too: a response that its caller had not read may have been
    /// in it, and the RPC was over when its last byte was handed to HTTP/2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.cut > 0 || self.connections_cut > 0)
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, cut, connections_cut, took } = self;
        write!(
            f,
            "drained in {took:.1?}: {finished} RPCs finished, {cut} cut; {connections_cut} connections cut"
        )
    }
}
