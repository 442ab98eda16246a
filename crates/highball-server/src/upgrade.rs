//! One process after the other on the same sockets: asking for it, and being asked.

use std::sync::Arc;

use highball_net::handover::TakeOver;
use highball_net::{Drain, Handover, Phase};
use highball_telemetry::{Event, Telemetry};
use tokio::signal::unix::Signal;

use crate::Health;

/// Starts a successor each time it is asked to, until one has taken over; then the drain begins. A server that is told to
/// stop while it waits for a successor stops, and so does the successor.
pub(crate) async fn watch(
    handover: Arc<Handover>,
    drain: Arc<Drain>,
    telemetry: Telemetry,
    mut asked: Signal,
) {
    let stopping = drain.listen();
    while asked.recv().await.is_some() {
        telemetry.report(&Event::SuccessorStarting);
        let outcome = tokio::select! {
            outcome = handover.pass_on() => outcome,
            () = stopping.reached(Phase::LameDuck) => return,
        };
        match outcome {
            Ok(pid) => {
                telemetry.report(&Event::HandedOver { pid });
                drain.hand_over();
                return;
            }
            Err(error) => {
                let (reason, error) = (error.label(), error.to_string());
                telemetry.report(&Event::HandoverFailed { reason, error: &error });
            }
        }
    }
}

/// Waits until the predecessor, if there is one, has let go.
pub(crate) async fn take_over(handover: Option<&Handover>, health: &Health, telemetry: &Telemetry) {
    let Some(handover) = handover else { return };
    let abandoned = match handover.take_over(health.ready()).await {
        TakeOver::Nobody => return,
        TakeOver::Passed => false,
        TakeOver::Abandoned => true,
    };
    telemetry.report(&Event::TookOver { abandoned });
}
