//! The sentinel, frame by frame.

use super::super::control::QUESTION;
use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LONG: Duration = Duration::from_secs(3600);
const SETTINGS: [u8; 9] = [0, 0, 0, frames::SETTINGS, 0, 0, 0, 0, 0];

fn ack(payload: [u8; 8]) -> Vec<u8> {
    let mut frame = frames::ping(payload);
    frame[4] = 1;
    frame
}

#[tokio::test]
async fn the_answer_to_our_ping_is_kept_from_h2_and_nothing_else_is() {
    let (io, mut peer) = tokio::io::duplex(1 << 16);
    let timeouts = Timeouts { preface: LONG, header_block: LONG, write_stall: LONG };
    let (mut sentinel, control) = Sentinel::new(Box::new(io), Rules::default(), timeouts);
    let hello = [PREFACE, &SETTINGS].concat();
    peer.write_all(&hello).await.unwrap();
    let mut seen = vec![0; hello.len()];
    sentinel.read_exact(&mut seen).await.unwrap();

    control.ask();
    sentinel.flush().await.unwrap();
    let mut question = [0; 17];
    peer.read_exact(&mut question).await.unwrap();
    assert_eq!(question[..], frames::ping(QUESTION));

    // Alone, it is no end of the stream.
    peer.write_all(&ack(QUESTION)).await.unwrap();
    tokio::task::yield_now().await;
    let foreign = ack(*b"of h2   ");
    peer.write_all(&foreign).await.unwrap();
    let mut seen = vec![0; foreign.len()];
    sentinel.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, foreign);

    // Between others, only it goes. A second one nobody asked for.
    control.ask();
    sentinel.flush().await.unwrap();
    peer.write_all(&[&SETTINGS[..], &ack(QUESTION), &foreign, &ack(QUESTION)].concat()).await.unwrap();
    drop(peer);
    let mut seen = Vec::new();
    sentinel.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, [&SETTINGS[..], &foreign, &ack(QUESTION)].concat());
}
