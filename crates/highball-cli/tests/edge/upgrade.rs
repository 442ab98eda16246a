//! A new process takes the place of the old one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use highball::core::envelope::seal;
use highball::{Channel, Status};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::program::{Folder, Program, backend, signal, soon, to, value};

/// Ends a successor, which is nobody's child, with the test.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        // In vain when it has ended.
        std::process::Command::new("kill").args(["-KILL", &self.0.to_string()]).output().ok();
    }
}

async fn call(channel: &Channel) -> Status {
    let request = Request::post("/shop.v1.Orders/Get").header("content-type", "application/grpc");
    let response = channel.call(request.body(Full::new(seal(b""))).unwrap()).await;
    if let Some(status) = Status::from_headers(response.headers()) {
        return status;
    }
    let whole = response.into_body().collect().await.unwrap();
    Status::from_headers(whole.trailers().unwrap()).unwrap()
}

#[tokio::test]
async fn sigusr2_replaces_the_process_and_no_call_is_lost() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let mut program = Program::start(&folder).await;
    let channel = Channel::new(&format!("static:///{}", program.addr())).unwrap();
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        while !over.load(Ordering::Relaxed) {
            let status = call(&channel).await;
            assert_eq!(status.code(), highball::Code::Ok, "{status}");
            made.fetch_add(1, Ordering::Relaxed);
        }
    };
    let upgrade = async {
        // What a reload refuses comes with the new process.
        folder.write(&to(&shop).replace("workers = 2", "workers = 1"));
        signal("USR2", program.pid).await;
        let banner = program.next_banner().await;
        let pid = value(&banner, "highball edge takes over, process").parse().unwrap();
        let successor = Successor(pid);
        assert_eq!(value(&banner, "worker threads"), "1");
        assert_eq!(value(&banner, "gRPC (plaintext HTTP/2)"), program.addr().to_string());
        let said = program.said("drained in ").await;
        let before = made.load(Ordering::Relaxed);
        soon("calls to the successor", async {
            while made.load(Ordering::Relaxed) < before + 100 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        over.store(true, Ordering::Relaxed);
        (successor, said, program)
    };
    let ((), (successor, said, mut program)) = tokio::join!(load, upgrade);
    assert!(said.contains(" 0 cut"), "{said}");
    println!("{} calls, none lost", made.load(Ordering::Relaxed));
    drop(channel);
    signal("TERM", successor.0).await;
    assert!(program.said("drained in ").await.contains(" 0 cut"));
    soon("the end of the successor", async {
        let alive =
            async || Command::new("kill").args(["-0", &successor.0.to_string()]).output().await.unwrap();
        while alive().await.status.success() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (code, log) = program.ended().await;
    assert_eq!(code, Some(0), "{log:?}");
    shop.drained().await;
}

#[tokio::test]
async fn a_successor_that_cannot_start_changes_nothing() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let mut program = Program::start(&folder).await;
    folder.write("not a file for an edge");
    signal("USR2", program.pid).await;
    let said = program.said("nothing is started").await;
    assert!(said.contains("edge.toml:1:"), "{said}");
    let channel = Channel::new(&format!("static:///{}", program.addr())).unwrap();
    assert_eq!(call(&channel).await.code(), highball::Code::Ok);
    drop(channel);
    assert_eq!(program.terminated().await.0, Some(0));
    shop.drained().await;
}

#[tokio::test]
async fn systemd_hears_ready_signs_of_life_and_who_the_main_process_is() {
    let shop = backend("shop").await;
    let folder = Folder::new(&to(&shop));
    let socket = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let heard = async |wanted: &str| {
        let mut buffer = [0; 256];
        soon(wanted, async {
            loop {
                let size = manager.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8_lossy(&buffer[..size]);
                assert!(
                    !text.starts_with("STOPPING") || wanted == "STOPPING=1",
                    "the unit goes on: {wanted}"
                );
                if text.starts_with(wanted) {
                    break text.into_owned();
                }
            }
        })
        .await
    };
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let mut program = Program::start_in(&folder, &variables).await;
    heard("READY=1").await;
    heard("WATCHDOG=1").await;
    signal("USR2", program.pid).await;
    let banner = program.next_banner().await;
    let successor = Successor(value(&banner, "highball edge takes over, process").parse().unwrap());
    assert_eq!(heard("MAINPID=").await, format!("MAINPID={}", successor.0));
    program.said("drained in ").await;
    heard("WATCHDOG=1").await;
    signal("TERM", successor.0).await;
    heard("STOPPING=1").await;
    program.said("drained in ").await;
    assert_eq!(program.ended().await.0, Some(0));
    shop.drained().await;
}
