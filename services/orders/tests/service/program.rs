//! The program: what it says and how it ends when it cannot start, and that it starts and stops.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn orders(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Starts on a free port and reads it from the log.
fn start(dir: &Path) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut child = orders(dir).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let addr = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the program ended");
        let port = line.split("127.0.0.1:").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        if let Some(port) = port {
            break format!("127.0.0.1:{port}");
        }
    };
    (child, log, addr)
}

fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut log, addr) = start(dir.path());

    let taken =
        orders(dir.path()).args(["--database", "sqlite:other.db", "--listen", &addr]).output().unwrap();
    let sentence = refused(taken);
    assert!(sentence.contains("already in use") && sentence.lines().count() == 1, "{sentence}");

    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    std::io::copy(&mut log, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_directory_that_does_not_exist_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let output = orders(dir.path()).args(["--database", "sqlite:missing/orders.db"]).output().unwrap();
    let sentence = refused(output);
    assert!(sentence.starts_with("orders: cannot write to the database missing/orders.db"), "{sentence}");
    assert_eq!(sentence.lines().count(), 1);
}

#[test]
fn a_bad_flag_names_itself() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [["--listen", "localhost"], ["--database", "postgres://db"], ["--log", "=="]] {
        let sentence = refused(orders(dir.path()).args(bad).output().unwrap());
        assert!(sentence.contains(bad[1]), "{sentence}");
    }
}
