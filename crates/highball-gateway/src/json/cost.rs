//! What a JSON text will cost, from one look at its bytes.

use highball_core::{Code, Status};

/// How deep objects and arrays may nest: as deep as protobuf itself decodes.
const DEPTH_MAX: usize = 100;

/// A message with one field: it, its place in a list, and a node of the tree of its fields.
const OBJECT_SIZE_BYTES: usize = 1024;

/// A value in a list or a field.
const VALUE_SIZE_BYTES: usize = 80;

/// Refuses a text that nests too deep, or would take more than `memory_size_bytes_max` once read. It need not be JSON.
pub(super) fn check(text: &[u8], memory_size_bytes_max: usize) -> Result<(), Status> {
    let (mut depth, mut memory) = (0_usize, 0_usize);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => {
                depth += 1;
                memory += if *byte == b'{' { OBJECT_SIZE_BYTES } else { VALUE_SIZE_BYTES };
                if depth > DEPTH_MAX {
                    let message = format!("the JSON nests deeper than {DEPTH_MAX}");
                    return Err(Status::new(Code::InvalidArgument, message));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => memory += VALUE_SIZE_BYTES,
            _ => {}
        }
        if memory > memory_size_bytes_max {
            let message = format!(
                "the JSON has so many values that it would take more than {memory_size_bytes_max} bytes in memory"
            );
            return Err(Status::new(Code::ResourceExhausted, message));
        }
    }
    Ok(())
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_and_numbers_of_values_are_bounded_and_strings_do_not_count() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(check(&nested(100), usize::MAX).is_ok());
        assert_eq!(check(&nested(101), usize::MAX).unwrap_err().code(), Code::InvalidArgument);
        let string = format!(r#"["{}\"{}"]"#, "{".repeat(200), ",".repeat(200));
        assert!(check(string.as_bytes(), 1000).is_ok());
        let many = format!("[{}{{}}]", "{},".repeat(999));
        assert!(check(many.as_bytes(), 1_200_000).is_ok());
        assert_eq!(check(many.as_bytes(), 1_000_000).unwrap_err().code(), Code::ResourceExhausted);
    }
}
