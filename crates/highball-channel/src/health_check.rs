//! The two messages of `grpc.health.v1.Health` (grpc `doc/health-checking.md`), by hand: a string and a number.

use buffa::encoding::{Tag, WireType, decode_varint, encode_varint, skip_field};
use bytes::{BufMut as _, Bytes, BytesMut};
use highball_core::envelope::seal;

/// `HealthCheckRequest { string service = 1; }`, in its envelope. An empty name is the server as a whole.
#[must_use]
pub fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        encode_varint(service.len() as u64, &mut message);
        message.put_slice(service.as_bytes());
    }
    seal(&message)
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, without its envelope: the number, 0 when it is absent. Unknown fields
/// are skipped; `None` when it is no such message.
#[must_use]
pub fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = Tag::decode(&mut message).ok()?;
        match (tag.field_number(), tag.wire_type()) {
            (1, WireType::Varint) => status = decode_varint(&mut message).ok()?,
            _ => skip_field(tag, &mut message).ok()?,
        }
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_service_is_the_first_field() {
        assert_eq!(request(""), seal(b""));
        assert_eq!(request("a.B"), seal(b"\x0a\x03a.B"));
    }
}
