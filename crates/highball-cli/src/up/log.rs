//! The log of a replica, line by line into the log of this process.

use highball::telemetry;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// A longer line is passed on in parts.
const LINE_SIZE_BYTES_MAX: u64 = 64 << 10;

/// Passes on what a replica logs, until it ends. Cancel safe: a line is passed on or not.
pub(super) async fn relay(replica: usize, log: impl AsyncRead + Unpin) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut log).take(LINE_SIZE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => telemetry::log::relay(&marked(replica, &line)),
        }
    }
}

/// With a field that says whose it is.
fn marked(replica: usize, line: &[u8]) -> Vec<u8> {
    let line = line.trim_ascii_end();
    let mut marked = match line.strip_prefix(b"{") {
        Some(rest) => [format!("{{\"replica\":{replica},").as_bytes(), rest].concat(),
        // Nothing of ours is written so; it must not break who reads the log.
        None => {
            json!({ "replica": replica, "message": String::from_utf8_lossy(line) }).to_string().into_bytes()
        }
    };
    marked.push(b'\n');
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_whose_it_is_and_is_json() {
        for (line, want) in [
            (&b"{\"level\":\"INFO\"}\n"[..], "{\"replica\":2,\"level\":\"INFO\"}\n"),
            (b"panic: \"x\"\n", "{\"message\":\"panic: \\\"x\\\"\",\"replica\":2}\n"),
        ] {
            let marked = String::from_utf8(marked(2, line)).unwrap();
            assert_eq!(marked, want);
            serde_json::from_str::<serde_json::Value>(&marked).unwrap();
        }
    }
}
