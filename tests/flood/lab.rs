//! What every attack is held to.

use std::time::Duration;

use highball::Code;
use highball::server::Settings;
use highball_testkit::TestServer;
use highball_testkit::raw::Raw;
use peak_alloc::PeakAlloc;
use tokio::sync::{Mutex, MutexGuard};

use crate::{ENHANCE_YOUR_CALM, GET, server};

/// Counts the bytes that are allocated in this process.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The counter is the whole process's: one attack at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// What may stay allocated after an attack: a metric that was counted for the first time, a table that has grown, and the
/// runtime of a test that waits for its turn. Every attack here moves more than that.
const LEFTOVERS_BYTES_MAX: usize = 64 << 10;

/// Longest wait for what must happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is attacked alone, from a known state of the process.
pub(crate) struct Lab {
    pub(crate) server: TestServer,
    /// Bytes allocated before the attack.
    at_rest: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Waits for its turn, starts a server and warms it up: what is allocated once is allocated.
    pub(crate) async fn open(settings: Settings) -> Self {
        let turn = TURN.lock().await;
        let server = server(settings).await;
        let mut lab = Self { server, at_rest: 0, _turn: turn };
        for _ in 0..3 {
            lab.expect_service().await;
        }
        lab.expect_rest().await;
        lab.at_rest = steady().await;
        MEMORY.reset_peak_usage();
        lab
    }

    /// An attacker that has said its preface with these SETTINGS.
    pub(crate) async fn attacker(&self, settings: &[(u16, u32)]) -> Raw {
        Raw::connect(self.server.addr(), settings).await
    }

    /// The most that was allocated at once during the attack. Both ends are in this process.
    pub(crate) fn peak(&self) -> usize {
        MEMORY.peak_usage().saturating_sub(self.at_rest)
    }

    /// The attacker is told why, and the abuse is counted once.
    pub(crate) async fn expect_calmed(&self, attacker: &mut Raw, kind: &str) {
        let (code, debug) =
            attacker.ended().await.unwrap_or_else(|| panic!("{kind}: closed without a GOAWAY"));
        assert_eq!((code, debug.as_str()), (ENHANCE_YOUR_CALM, kind));
        self.expect_abuse(kind).await;
    }

    /// The abuse is counted once.
    pub(crate) async fn expect_abuse(&self, kind: &str) {
        self.expect_line(&format!("h2_abuse_total{{kind=\"{kind}\"}} 1")).await;
    }

    /// The metrics say so, soon: what a client sees may come a moment before it is counted.
    pub(crate) async fn expect_line(&self, line: &str) {
        self.expect_page(|page| page.lines().any(|have| have == line)).await;
    }

    pub(crate) async fn expect_page(&self, expected: impl Fn(&str) -> bool) {
        let counted = async {
            while !expected(&self.server.telemetry.render()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, counted).await;
        assert!(outcome.is_ok(), "{}", self.server.telemetry.render());
    }

    /// The end of an attack. A new client is served while the attackers are still there; then they leave, with whatever
    /// they hold, and everything is as it was.
    pub(crate) async fn aftermath(self, attackers: impl Sized) {
        self.expect_service().await;
        drop(attackers);
        self.expect_rest().await;
        let kept = self.kept(PATIENCE).await;
        assert!(kept <= LEFTOVERS_BYTES_MAX, "{kept} bytes are still allocated after the attack");
        self.server.forced().await;
    }

    /// Bytes that are still allocated, once they are few enough or the patience is over.
    async fn kept(&self, patience: Duration) -> usize {
        let kept = || MEMORY.current_usage().saturating_sub(self.at_rest);
        let given_back = async {
            while kept() > LEFTOVERS_BYTES_MAX {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(patience, given_back).await.ok();
        kept()
    }

    async fn expect_service(&self) {
        let client = self.server.client().await;
        let reply = tokio::time::timeout(PATIENCE, client.unary(GET, b"ping")).await;
        assert_eq!(reply.expect("an answer").code(), Code::Ok);
    }

    /// No connection is open and no RPC is in flight.
    async fn expect_rest(&self) {
        let busy = |line: &str| {
            let gauge = line.starts_with("connections_open ") || line.starts_with("grpc_active_requests{");
            gauge && !line.ends_with(" 0")
        };
        self.expect_page(|page| !page.lines().any(busy)).await;
    }
}

/// What is allocated once nothing moves any more.
async fn steady() -> usize {
    let mut seen = MEMORY.current_usage();
    let mut calm = 0;
    while calm < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = MEMORY.current_usage();
        calm = if now.abs_diff(seen) < 1024 { calm + 1 } else { 0 };
        seen = now;
    }
    seen
}

#[tokio::test]
async fn a_leak_is_seen() {
    let lab = Lab::open(Settings::default()).await;
    let leaked = vec![7_u8; 2 * LEFTOVERS_BYTES_MAX];
    assert!(lab.kept(Duration::from_millis(100)).await > LEFTOVERS_BYTES_MAX);
    drop(leaked);
    lab.aftermath(()).await;
}
