//! What is taken, what is refused, and why.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use highball_core::envelope::seal;
use proptest::prelude::*;

use super::*;

const WIDE: Bounds = Bounds { size_bytes_max: 4 << 20, ratio_max: 100 };

fn compressed(encoding: Encoding, message: &[u8]) -> Vec<u8> {
    if encoding == Encoding::Gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(message).unwrap();
        return encoder.finish().unwrap();
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn headers(encoding: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ENCODING, HeaderValue::from_static(encoding))])
}

#[test]
fn the_encoding_is_taken_out_of_the_headers_and_an_unknown_one_is_unimplemented() {
    for (name, want) in [
        ("identity", Ok(Encoding::Identity)),
        ("gzip", Ok(Encoding::Gzip)),
        ("deflate", Ok(Encoding::Deflate)),
        ("zstd", Err(Code::Unimplemented)),
        ("gzip, gzip", Err(Code::Unimplemented)),
    ] {
        let mut headers = headers(name);
        assert_eq!(Encoding::take(&mut headers).map_err(|status| status.code()), want, "{name}");
        assert!(headers.is_empty(), "{name}");
    }
    assert_eq!(Encoding::take(&mut HeaderMap::new()), Ok(Encoding::Identity));
}

#[test]
fn a_message_of_the_limit_is_read_and_one_byte_more_is_not() {
    let message: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let packed = compressed(encoding, &message);
        let bounds = |size_bytes_max| Bounds { size_bytes_max, ..WIDE };
        assert_eq!(encoding.inflate(&packed, bounds(10_000)).unwrap(), seal(&message));
        let refused = encoding.inflate(&packed, bounds(9_999)).unwrap_err();
        assert_eq!(refused, Refused::TooLarge { size_bytes_max: 9_999 });
        assert_eq!(refused.status().code(), Code::ResourceExhausted);
        assert!(refused.to_string().contains("9999 bytes (message_size_bytes_max)"), "{refused}");
    }
}

#[test]
fn a_message_that_grows_too_much_is_refused_by_the_ratio_and_a_small_one_is_not() {
    let allowed = compressed(Encoding::Gzip, &vec![0; RATIO_FREE_SIZE_BYTES]);
    assert!(allowed.len() * 100 < RATIO_FREE_SIZE_BYTES, "a ratio that would be too large");
    assert_eq!(Encoding::Gzip.inflate(&allowed, WIDE).unwrap().len(), 5 + RATIO_FREE_SIZE_BYTES);
    let bomb = compressed(Encoding::Gzip, &vec![0; 3 << 20]);
    let refused = Encoding::Gzip.inflate(&bomb, WIDE).unwrap_err();
    assert_eq!(refused.limit().map(|limit| format!("{limit:?}")).as_deref(), Some("DecompressionRatio"));
    assert_eq!(refused.status().code(), Code::ResourceExhausted);
    assert!(refused.to_string().contains("decompression_ratio_max"), "{refused}");
    let more = Bounds { ratio_max: 2000, ..WIDE };
    assert_eq!(Encoding::Gzip.inflate(&bomb, more).unwrap().len(), 5 + (3 << 20));
}

#[test]
fn what_is_not_in_its_encoding_is_internal_and_told_in_our_words() {
    let whole = compressed(Encoding::Gzip, &[7; 100]);
    let wrong_sum: Vec<u8> =
        whole.iter().enumerate().map(|(n, b)| if n == whole.len() - 6 { !b } else { *b }).collect();
    let twice = [&whole[..], &whole[..]].concat();
    for bad in [
        &b"not gzip, though long enough to be"[..],
        &whole[..whole.len() - 5],
        &whole[..5],
        &wrong_sum,
        &twice,
    ] {
        let refused = Encoding::Gzip.inflate(bad, WIDE).unwrap_err();
        assert_eq!((refused, refused.status().code()), (Refused::Malformed, Code::Internal));
    }
    assert_eq!(Encoding::Deflate.inflate(&whole, WIDE), Err(Refused::Malformed));
}

#[test]
fn an_empty_message_may_be_compressed_or_not() {
    assert_eq!(Encoding::Gzip.inflate(&[], WIDE).unwrap(), seal(&[]));
    assert_eq!(Encoding::Gzip.inflate(&compressed(Encoding::Gzip, &[]), WIDE).unwrap(), seal(&[]));
}

proptest! {
    #[test]
    fn any_message_comes_back_as_it_was(message in proptest::collection::vec(0_u8..4, 0..9000)) {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let packed = compressed(encoding, &message);
            prop_assert_eq!(encoding.inflate(&packed, WIDE).unwrap(), seal(&message));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_within_the_bounds(packed in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bounds = Bounds { size_bytes_max: 100, ratio_max: 1 };
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            prop_assert!(encoding.inflate(&packed, bounds).map_or(0, |sealed| sealed.len()) <= 105);
        }
    }
}
