//! A program that cannot start says why in one sentence, and ends with 2.

use std::path::Path;

use serde_json::Value;

use crate::program::{Program, refused};

/// What a program that must not start says to people.
async fn sentence(dir: &Path, flags: &[&str]) -> String {
    let output = refused(dir, flags).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["message"], "listening", "it does not: {line}");
    }
    String::from_utf8(output.stderr).unwrap()
}

/// One line that begins and goes on as expected.
#[track_caller]
fn check(sentence: &str, begins: &str, says: &str) {
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with(begins) && sentence.contains(says), "{sentence}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let taken = program.addr().to_string();
    let other = ["--database", "sqlite:other.db", "--listen", &taken];
    let says = sentence(dir.path(), &other).await;
    check(&says, &format!("orders: cannot listen on {taken}: "), "already in use");
    program.stop().await;
}

#[tokio::test]
async fn a_taken_admin_port_is_named_before_anything_listens() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    let taken = program.admin.to_string();
    let other = ["--database", "sqlite:other.db", "--listen", "127.0.0.1:0", "--admin", &taken];
    let says = sentence(dir.path(), &other).await;
    check(&says, &format!("orders: cannot listen on {taken}: "), "already in use");
    program.stop().await;
}

#[tokio::test]
async fn a_database_that_another_program_keeps_to_itself_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path()).await;
    // As programs did from before the file could be shared.
    let lock = std::fs::File::options().write(true).open(dir.path().join("orders.db.lock")).unwrap();
    lock.try_lock().unwrap();
    let says = sentence(dir.path(), &["--listen", "127.0.0.1:0"]).await;
    check(&says, "orders: the database orders.db is in use", "another process");
    program.stop().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "not a directory").unwrap();
    for path in ["missing/orders.db", "file/orders.db", "/proc/orders.db"] {
        let database = format!("sqlite:{path}");
        let says = sentence(dir.path(), &["--listen", "127.0.0.1:0", "--database", &database]).await;
        check(&says, &format!("orders: cannot write to the database {path}: "), "");
    }
}

#[tokio::test]
async fn a_directory_for_a_socket_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let says = sentence(dir.path(), &["--listen", "unix:missing/orders.sock"]).await;
    let begins = "orders: cannot listen on unix:missing/orders.sock: ";
    check(&says, begins, "its directory does not exist");
}

#[tokio::test]
async fn a_bad_log_filter_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let says = sentence(dir.path(), &["--log", "=="]).await;
    check(&says, "orders: invalid log filter \"==\"", "");
}

#[tokio::test]
async fn a_bad_flag_is_named_with_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, first_line) in [
        (
            &["--listen", "localhost"][..],
            "error: invalid value 'localhost' for '--listen <ADDR>': expected IP:PORT such as",
        ),
        (&["--admin", "9090"], "error: invalid value '9090' for '--admin <ADDR>': expected IP:PORT such as"),
        (
            &["--database", "postgres://db"],
            "error: invalid value 'postgres://db' for '--database <sqlite:PATH>': \"postgres://db\" is not a database",
        ),
        (&["--prot", "1"], "error: unexpected argument '--prot' found"),
    ] {
        let says = sentence(dir.path(), flags).await;
        assert!(says.starts_with(first_line), "{says}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}
