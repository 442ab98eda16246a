//! What attempts read, and what is kept for them.

use super::*;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};

fn source(chunks: &[&'static str]) -> Body {
    let frames: Vec<_> =
        chunks.iter().map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from(*chunk)))).collect();
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn replay(chunks: &[&'static str], call: usize, channel: usize) -> (Replay, Arc<Budget>) {
    let budget = Budget::new(channel);
    (Replay::new(source(chunks), usize::MAX, call, budget.clone()), budget)
}

/// Reads one chunk, which must be there.
fn next(cursor: &mut Cursor) -> Option<Result<String, String>> {
    let frame = cursor.frame().now_or_never().expect("the source never waits")?;
    Some(match frame {
        Ok(frame) => Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()),
        Err(error) => Err(error.to_string()),
    })
}

fn text(text: &str) -> Option<Result<String, String>> {
    Some(Ok(text.to_owned()))
}

#[test]
fn every_attempt_reads_the_request_from_its_start() {
    let (replay, budget) = replay(&["a", "bb", "ccc"], 1000, 1000);
    let mut first = replay.attempt().unwrap();
    assert_eq!((next(&mut first), next(&mut first)), (text("a"), text("bb")));
    let mut second = replay.attempt().unwrap();
    assert_eq!(
        (next(&mut second), next(&mut second), next(&mut second)),
        (text("a"), text("bb"), text("ccc"))
    );
    assert_eq!((next(&mut first), next(&mut first), next(&mut second)), (text("ccc"), None, None));
    assert!(first.is_end_stream() && second.is_end_stream());
    assert_eq!(budget.kept(), 6 + 3 * FRAME_COST_BYTES);
    drop((first, second, replay));
    assert_eq!(budget.kept(), 0);
}

#[test]
fn a_committed_call_keeps_nothing_and_tells_the_others() {
    let (replay, budget) = replay(&["a", "bb", "ccc"], 1000, 1000);
    let (mut first, mut second) = (replay.attempt().unwrap(), replay.attempt().unwrap());
    next(&mut first);
    next(&mut first);
    replay.commit(second.id());
    assert!(replay.attempt().is_none() && !replay.can_repeat());
    assert_eq!(next(&mut first), Some(Err("another attempt was chosen".into())));
    assert_eq!((next(&mut second), next(&mut second)), (text("a"), text("bb")));
    assert_eq!(budget.kept(), 0, "what the chosen one has read is forgotten");
    assert_eq!((next(&mut second), next(&mut second)), (text("ccc"), None));
    assert_eq!(budget.kept(), 0);
}

#[test]
fn a_request_beyond_the_bound_of_its_call_or_channel_goes_on_with_one_attempt() {
    let two_frames = 3 + 2 * FRAME_COST_BYTES;
    for (call, channel) in [(two_frames, 1000), (1000, two_frames)] {
        let (replay, budget) = replay(&["a", "bb", "ccc", "dddd"], call, channel);
        let mut first = replay.attempt().unwrap();
        let mut second = replay.attempt().unwrap();
        assert_eq!((next(&mut first), next(&mut first)), (text("a"), text("bb")));
        assert_eq!(next(&mut second), text("a"));
        assert_eq!(budget.kept(), two_frames);
        assert_eq!(next(&mut first), text("ccc"), "nothing is lost");
        assert!(!replay.can_repeat());
        assert_eq!(next(&mut second), Some(Err("another attempt was chosen".into())));
        assert_eq!((next(&mut first), next(&mut first)), (text("dddd"), None));
        assert_eq!(budget.kept(), 0);
    }
}

#[test]
fn a_broken_request_breaks_every_attempt() {
    let frames = [Ok(Frame::data(Bytes::from("a"))), Err(BodyError::new("cable cut"))];
    let source = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let replay = Replay::new(source, usize::MAX, 100, Budget::new(100));
    for _ in 0..2 {
        let mut attempt = replay.attempt().unwrap();
        assert_eq!(next(&mut attempt), text("a"));
        assert_eq!(next(&mut attempt), Some(Err("CANCELLED: the request ended early: cable cut".into())));
        assert!(!attempt.is_end_stream());
    }
}

#[tokio::test]
async fn a_waiting_attempt_is_woken_although_the_source_knows_another() {
    let (tx, rx) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BodyError>>(4);
    let stream =
        futures_util::stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|frame| (frame, rx)) });
    let replay = Replay::new(Body::new(StreamBody::new(stream.boxed())), usize::MAX, 100, Budget::new(100));
    let (mut first, mut second) = (replay.attempt().unwrap(), replay.attempt().unwrap());
    let tasks = highball_net::Tasks::new();
    let (one, heard) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        one.send(first.frame().await.is_some()).ok();
    });
    let (two, gone) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        // Polls second, so that the source remembers this task; then it is cancelled.
        tokio::time::timeout(std::time::Duration::from_millis(1), second.frame()).await.ok();
        drop(second);
        two.send(()).ok();
    });
    gone.await.unwrap();
    tx.send(Ok(Frame::data(Bytes::from("a")))).await.unwrap();
    assert!(heard.await.unwrap());
}

#[test]
fn frames_without_bytes_are_bounded_too() {
    let (replay, budget) = replay(&[""; 100], 10 * FRAME_COST_BYTES, 1_000_000);
    let mut first = replay.attempt().unwrap();
    for _ in 0..100 {
        assert_eq!(next(&mut first), text(""));
    }
    assert!(!replay.can_repeat());
    assert_eq!(budget.kept(), 0);
}

#[test]
fn nobody_keeps_the_request_of_a_call_whose_only_attempt_is_over() {
    struct Witness {
        _held: Arc<()>,
    }
    impl http_body::Body for Witness {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Pending
        }
    }
    let held = Arc::new(());
    let source = Body::new(Witness { _held: held.clone() });
    let replay = Replay::new(source, usize::MAX, 1000, Budget::new(1000));
    let mut attempt = replay.attempt().unwrap();
    assert!(!replay.is_unfinished());
    assert!(attempt.frame().now_or_never().is_none());
    assert!(replay.is_unfinished(), "it waits for the application");
    replay.commit(attempt.id());
    drop(attempt);
    assert_eq!(Arc::strong_count(&held), 1);
}
