//! The rules under a clock that tests move.

use super::*;

fn head(kind: u8, flags: u8, stream: u32, size: u32) -> Head {
    Head { kind, flags, stream, size }
}

fn ping() -> Head {
    head(frames::PING, 0, 0, 8)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn watch() -> (Watch, Instant) {
    let now = Instant::now();
    (Watch::new(Rules::default(), now), now)
}

#[test]
fn a_ping_every_ten_seconds_without_calls_is_tolerated() {
    let (mut watch, start) = watch();
    for n in 0..60 {
        assert_eq!(watch.inbound(&ping(), start + seconds(10 * n)), Ok(()), "ping {n}");
    }
}

#[test]
fn the_fourth_ping_within_a_second_is_one_too_many() {
    let (mut watch, start) = watch();
    let outcomes: Vec<_> = (0..4).map(|_| watch.inbound(&ping(), start)).collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(Abuse::TooManyPings)]);
}

#[test]
fn serving_the_client_forgives_its_pings() {
    let (mut watch, start) = watch();
    for n in 0..20 {
        assert_eq!(watch.inbound(&ping(), start + seconds(n)), Ok(()), "ping {n}");
        watch.outbound(&head(frames::DATA, 0, 1, 5), start + seconds(n));
    }
}

#[test]
fn pings_without_streams_can_be_forbidden() {
    let start = Instant::now();
    let mut watch = Watch::new(Rules { ping_without_streams: false, ..Rules::default() }, start);
    let outcomes: Vec<_> = (0..4).map(|n| watch.inbound(&ping(), start + seconds(600 * n))).collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(Abuse::TooManyPings)]);
}

#[test]
fn a_flood_of_each_kind_is_named() {
    let floods = [
        (head(frames::RST_STREAM, 0, 1, 4), Abuse::TooManyResets),
        (head(frames::SETTINGS, 0, 0, 0), Abuse::TooManySettings),
        (head(frames::PRIORITY, 0, 1, 5), Abuse::TooManyPriorities),
        (head(frames::DATA, 0, 1, 0), Abuse::EmptyData),
        (head(0xbe, 0, 0, 0), Abuse::StrayFrames),
        (head(frames::PING, 1, 0, 8), Abuse::StrayFrames),
        (head(frames::SETTINGS, 1, 0, 0), Abuse::StrayFrames),
        (head(frames::WINDOW_UPDATE, 0, 0, 4), Abuse::TooManyWindowUpdates),
    ];
    for (frame, want) in floods {
        let (mut watch, start) = watch();
        let caught = (0..5000).find_map(|_| watch.inbound(&frame, start).err());
        assert_eq!(caught, Some(want), "{frame:?}");
    }
}

#[test]
fn a_steady_trickle_below_the_rate_is_never_a_flood() {
    let (mut watch, start) = watch();
    for n in 0..10_000 {
        let now = start + Duration::from_millis(20 * n);
        assert_eq!(watch.inbound(&head(frames::RST_STREAM, 0, 1, 4), now), Ok(()));
    }
}

#[test]
fn window_updates_are_earned_by_data() {
    let (mut watch, start) = watch();
    for _ in 0..10_000 {
        watch.outbound(&head(frames::DATA, 0, 1, 16_384), start);
        for _ in 0..10 {
            assert_eq!(watch.inbound(&head(frames::WINDOW_UPDATE, 0, 1, 4), start), Ok(()));
        }
    }
}

#[test]
fn a_connection_is_idle_from_the_end_of_its_last_stream() {
    let (mut watch, start) = watch();
    assert_eq!(watch.idle_since(), Some(start));
    let request = head(frames::HEADERS, 0x4, 1, 20);
    watch.inbound(&request, start).unwrap();
    assert_eq!(watch.idle_since(), None);
    watch.outbound(&head(frames::DATA, 0, 1, 5), start + seconds(1));
    assert_eq!(watch.idle_since(), None, "the response has not ended");
    watch.outbound(&head(frames::HEADERS, 0x5, 1, 5), start + seconds(2));
    assert_eq!(watch.idle_since(), Some(start + seconds(2)));
    watch.inbound(&head(frames::HEADERS, 0x5, 3, 20), start + seconds(3)).unwrap();
    watch.inbound(&head(frames::RST_STREAM, 0, 3, 4), start + seconds(4)).unwrap();
    assert_eq!(watch.idle_since(), Some(start + seconds(4)));
}

#[test]
fn a_header_block_is_timed_from_its_first_frame_to_end_headers() {
    let (mut watch, start) = watch();
    watch.inbound(&head(frames::HEADERS, 0, 1, 20), start).unwrap();
    watch.inbound(&head(frames::CONTINUATION, 0, 1, 20), start + seconds(3)).unwrap();
    assert_eq!(watch.header_block_since(), Some(start));
    watch.inbound(&head(frames::CONTINUATION, 0x4, 1, 20), start + seconds(4)).unwrap();
    assert_eq!(watch.header_block_since(), None);
}
