//! The one `google.rpc.Status` this workspace writes itself. Three messages of two fields each do not need a code generator.

use std::time::Duration;

use buffa::encoding::{Tag, WireType, encode_varint};
use bytes::Bytes;

/// An encoded `google.rpc.Status` with a `google.rpc.RetryInfo` in it.
pub(crate) fn retry_info(code: i32, message: &str, delay: Duration) -> Bytes {
    let mut duration = Vec::new();
    varint(1, delay.as_secs(), &mut duration);
    varint(2, u64::from(delay.subsec_nanos()), &mut duration);
    let mut info = Vec::new();
    bytes(1, &duration, &mut info);
    let mut any = Vec::new();
    bytes(1, b"type.googleapis.com/google.rpc.RetryInfo", &mut any);
    bytes(2, &info, &mut any);
    let mut status = Vec::new();
    varint(1, u64::from(code.unsigned_abs()), &mut status);
    bytes(2, message.as_bytes(), &mut status);
    bytes(3, &any, &mut status);
    status.into()
}

fn varint(field: u32, value: u64, out: &mut Vec<u8>) {
    Tag::new(field, WireType::Varint).encode(out);
    encode_varint(value, out);
}

fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    Tag::new(field, WireType::LengthDelimited).encode(out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_info_is_what_protobuf_says() {
        let encoded = retry_info(8, "m", Duration::from_millis(1500));
        let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
        let mut want = vec![8, 8, 18, 1, b'm', 26, 54, 10, 40];
        want.extend_from_slice(type_url);
        // retry_delay { seconds: 1, nanos: 500000000 }
        want.extend([18, 10, 10, 8, 8, 1, 16, 0x80, 0xca, 0xb5, 0xee, 0x01]);
        assert_eq!(encoded, want);
    }
}
