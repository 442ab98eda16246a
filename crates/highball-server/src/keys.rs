//! Telling what happens to the keys of tokens, for as long as a server runs.

use std::sync::Arc;

use highball_auth::Guard;
use highball_auth::token::{KeysEvent, Verifier};
use highball_telemetry::{Event, JwksRefresh, Telemetry, Tokens};

/// What verifies tokens here, if anything does; shown in the metrics from now on.
pub(crate) fn shown(telemetry: &Telemetry, guard: Option<&Guard>) -> Option<Arc<Verifier>> {
    let verifier = guard?.authenticator().verifier()?.clone();
    let weak = Arc::downgrade(&verifier);
    telemetry.observe_tokens(move || weak.upgrade().map(|verifier| read(&verifier)));
    Some(verifier)
}

/// Reports each read of the keys, until they are not followed any more.
pub(crate) async fn watch(telemetry: Telemetry, verifier: Arc<Verifier>) {
    let report = |event: &KeysEvent<'_>| match *event {
        KeysEvent::Refreshed { keys, skipped, removed, warning } => {
            telemetry.report(&Event::Jwks(JwksRefresh::Read { keys, skipped, removed, warning }));
        }
        KeysEvent::RefreshFailed { error, stale, .. } => {
            telemetry.report(&Event::Jwks(JwksRefresh::Failed { error, stale }));
        }
        _ => {}
    };
    verifier.watch_keys(report).await;
}

fn read(verifier: &Verifier) -> Tokens {
    let cache = verifier.cache();
    Tokens {
        entries: cache.entries as u64,
        hits: cache.hits,
        misses: cache.misses,
        evictions: cache.evictions,
        keys_age: verifier.keys().age,
    }
}
