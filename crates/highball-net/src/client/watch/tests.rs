//! What is seen does not depend on how the bytes are cut.

use super::*;
use crate::Tasks;
use crate::client::Settings;

fn watch() -> Watch {
    let (io, _) = tokio::io::duplex(1);
    Watch::new(Box::new(io), Shared::new(&Settings::default(), Tasks::new().spawner()))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, size, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn limits_and_goodbyes_are_read_however_they_are_cut() {
    let mut bytes = frame(frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 5, 0, 4, 0, 1, 0, 0]);
    bytes.extend(frame(frames::SETTINGS, 1, 0, &[]));
    bytes.extend(frame(frames::WINDOW_UPDATE, 0, 7, &[0x7f, 0, 0, 0]));
    bytes.extend(frame(frames::DATA, 0, 1, b"\0\0\0\x07 not a frame"));
    bytes.extend(frames::goaway(9, 11, "too_many_pings"));
    for cut in 1..bytes.len() {
        let mut watch = watch();
        for piece in bytes.chunks(cut) {
            watch.inspect(piece).unwrap();
        }
        let shared = watch.shared.clone();
        assert_eq!((shared.places.limit(), shared.wire.spoken()), (5, Spoken::Http2), "cut at {cut}");
        assert!(shared.wire.was_refused(11) && !shared.wire.was_refused(9), "cut at {cut}");
        assert!(shared.story.leaving().await.is_too_many_pings(), "cut at {cut}");
        assert_eq!(shared.wire.reads(), bytes.chunks(cut).count() as u64);
    }
}

#[tokio::test]
async fn a_head_was_sent_with_its_last_byte() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(frames::HEADERS, 0, 1, b"half"));
    bytes.extend(frame(frames::CONTINUATION, 4, 1, b"rest"));
    for cut in 1..bytes.len() {
        let mut watch = watch();
        let (last, all) = bytes.split_last().unwrap();
        for piece in all.chunks(cut) {
            watch.follow(piece);
        }
        assert!(!watch.shared.wire.was_sent(1), "cut at {cut}");
        watch.follow(&[*last]);
        assert!(watch.shared.wire.was_sent(1) && !watch.shared.wire.was_sent(3), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_connection_whose_streams_are_used_up_leaves() {
    let mut watch = watch();
    watch.preface_left = 0;
    watch.follow(&frame(frames::HEADERS, 5, LAST_STREAM - 1, b""));
    assert!(!watch.shared.places.is_shut());
    watch.follow(&frame(frames::HEADERS, 5, LAST_STREAM + 1, b""));
    assert_eq!(watch.shared.story.leaving().await, Leaving::Closed);
}
