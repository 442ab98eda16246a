//! Under a supervisor that listens, as systemd does.

use std::collections::HashSet;

use tokio::net::UnixDatagram;

use crate::program::{Program, soon};

#[tokio::test]
async fn a_supervisor_hears_ready_then_signs_of_life_then_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify.sock");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let program = Program::start_in(dir.path(), &variables, &[]).await;
    let mut buffer = [0; 256];
    let mut heard = HashSet::new();
    let mut first = None;
    soon("ready and two signs of life", async {
        let mut signs = 0;
        while signs < 2 || !heard.contains("READY=1") {
            let size = supervisor.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            for line in text.lines() {
                signs += usize::from(line == "WATCHDOG=1");
                first.get_or_insert_with(|| line.to_owned());
                heard.insert(line.to_owned());
            }
        }
    })
    .await;
    assert_eq!(first.as_deref(), Some("READY=1"));
    program.terminate().await;
    soon("stopping", async {
        loop {
            let size = supervisor.recv(&mut buffer).await.unwrap();
            if buffer[..size].starts_with(b"STOPPING=1") {
                break;
            }
        }
    })
    .await;
    assert_eq!(program.ended().await.status.code(), Some(0));
}
