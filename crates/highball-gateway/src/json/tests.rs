//! JSON as callers write it, and what they hear of it.

use proptest::prelude::*;

use super::*;
use crate::testing;

fn order(schema: &Schema) -> MessageIndex {
    schema.pool().message_index("shop.v1.Order").unwrap()
}

fn round_trip(text: &str) -> Result<String, Status> {
    let schema = testing::schema();
    let settings = Settings::default();
    let wire = to_wire(&schema, order(&schema), text.as_bytes(), &settings)?;
    Ok(String::from_utf8(of_wire(&schema, order(&schema), &wire, &settings)?).unwrap())
}

#[test]
fn json_is_read_in_every_spelling_and_written_in_one() {
    for (read, written) in [
        ("{}", "{}"),
        (r#"{"cents":7}"#, r#"{"cents":"7"}"#),
        (r#"{"cents":"-9223372036854775808"}"#, r#"{"cents":"-9223372036854775808"}"#),
        (r#"{"status":"STATUS_OPEN"}"#, r#"{"status":"STATUS_OPEN"}"#),
        (r#"{"status":2}"#, r#"{"status":"STATUS_DONE"}"#),
        (r#"{"status":77}"#, r#"{"status":77}"#),
        (r#"{"created_at":"2026-01-31T12:00:00.5+01:00"}"#, r#"{"createdAt":"2026-01-31T11:00:00.500Z"}"#),
        (r#"{"leadTime":"1.5s"}"#, r#"{"leadTime":"1.500s"}"#),
        (r#"{"blob":"_-8"}"#, r#"{"blob":"/+8="}"#),
        (r#"{"note":"x"}"#, r#"{"note":"x"}"#),
        (r#"{"rank":0,"card":null}"#, r#"{"rank":0}"#),
        (r#"{"weight":"NaN"}"#, r#"{"weight":"NaN"}"#),
        (r#"{"mask":"createdAt,lines"}"#, r#"{"mask":"createdAt,lines"}"#),
        (r#"{"attributes":{"a":[1,null,{"b":true}]}}"#, r#"{"attributes":{"a":[1.0,null,{"b":true}]}}"#),
        (r#"{"byName":{"a":{"sku":"s"}}}"#, r#"{"byName":{"a":{"sku":"s"}}}"#),
        (
            r#"{"extra":{"count":2,"@type":"type.googleapis.com/shop.v1.Line"}}"#,
            r#"{"extra":{"@type":"type.googleapis.com/shop.v1.Line","count":2}}"#,
        ),
    ] {
        assert_eq!(round_trip(read).as_deref(), Ok(written), "{read}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_field() {
    for (text, want) in [
        ("{", "the JSON ends too early, at line 1, column 1"),
        ("", "the JSON ends too early, at line 1, column 0"),
        ("{]", "not JSON at line 1, column 2"),
        ("{} x", "not JSON at line 1, column 4"),
        ("{\n \"nope\": 1}", "line 2, column 7: shop.v1.Order has no field \"nope\""),
        (r#"{"parent":{"nope":1}}"#, "line 1, column 17: shop.v1.Order has no field \"parent.nope\""),
        (
            r#"{"lines":[{"count":1},{"count":"x"}]}"#,
            "line 1, column 34: field lines[1].count takes a whole number of 32 bits",
        ),
        (r#"{"cents":true}"#, "line 1, column 13: field cents takes a whole number of 64 bits"),
        (
            r#"{"status":"OPEN"}"#,
            "line 1, column 16: field status takes one of STATUS_UNSPECIFIED, STATUS_OPEN, STATUS_DONE",
        ),
        (r#"{"byName":{"a":{"sku":1}}}"#, "line 1, column 23: field byName.a.sku takes a string"),
        (r#"{"byName":{"a":7}}"#, "line 1, column 16: field byName.a takes an object, shop.v1.Line"),
        (r#"{"lines":7}"#, "line 1, column 10: field lines takes an array, each an object, shop.v1.Line"),
        (r#"{"id":"a","id":"b"}"#, "line 1, column 14: field id stands twice"),
        (r#"{"card":"a","voucher":1}"#, "line 1, column 24: field voucher excludes another that is set"),
        (
            r#"{"createdAt":"today"}"#,
            "line 1, column 21: field createdAt takes a time such as \"2026-01-31T12:00:00Z\"",
        ),
        (
            r#"{"lines":[{"count":1.5},{"count":2}]}"#,
            "line 1, column 22: field lines[0].count takes a whole number of 32 bits",
        ),
        ("[]", "line 1, column 0: this is not a JSON shop.v1.Order"),
    ] {
        let status = round_trip(text).unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, want), "{text}");
    }
}

#[test]
fn unknown_fields_may_be_ignored() {
    let schema = testing::schema();
    let settings = Settings { ignore_unknown_fields: true, ..Settings::default() };
    let text = br#"{"nope":{"a":[1]},"id":"a","lines":[{"nope":1}]}"#;
    let wire = to_wire(&schema, order(&schema), text, &settings).unwrap();
    let back = of_wire(&schema, order(&schema), &wire, &settings).unwrap();
    assert_eq!(back, br#"{"id":"a","lines":[{}]}"#);
}

#[test]
fn nesting_is_bounded_in_both_directions() {
    let deep = |depth: usize| format!("{}{}", r#"{"parent":"#.repeat(depth), "{}") + &"}".repeat(depth);
    assert!(round_trip(&deep(99)).is_ok());
    assert!(round_trip(&deep(100)).unwrap_err().message().contains("nests deeper"));
    let schema = testing::schema();
    let mut wire = Vec::new();
    for _ in 0..120 {
        let mut outer = vec![0x72];
        buffa::encoding::encode_varint(wire.len() as u64, &mut outer);
        outer.extend_from_slice(&wire);
        wire = outer;
    }
    let status = of_wire(&schema, order(&schema), &wire, &Settings::default()).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
}

/// JSON-like text: mostly what a caller could send, cut and glued.
fn texts() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"id\"",
        "\"lines\"",
        "\"parent\"",
        "\"byName\"",
        "\"extra\"",
        "\"@type\"",
        "\"attributes\"",
        "\"status\"",
        "null",
        "1",
        "-1e999",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"",
        "\\",
        "\n",
        " ",
        "true",
        "\"é\"",
    ]);
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in texts()) {
        if let Err(status) = round_trip(&text) {
            prop_assert!(matches!(status.code(), Code::InvalidArgument | Code::Internal));
        }
    }

    #[test]
    fn a_message_survives_its_json(
        id in ".{0,20}", cents in any::<i64>(), status in 0_i32..3, rank in proptest::option::of(any::<i32>()),
        seconds in -62_135_596_800_i64..253_402_300_799, nanos in 0_i32..1_000_000_000,
        blob in proptest::collection::vec(any::<u8>(), 0..20),
        lines in proptest::collection::vec((".{0,8}", any::<i32>()), 0..4),
    ) {
        use buffa_descriptor::{ReflectMessageMut as _, Value};
        let schema = testing::schema();
        let pool = schema.pool();
        let index = order(&schema);
        let new = |name: &str, fields: Vec<(&str, Value)>| {
            let mut message = DynamicMessage::new_by_name(Arc::clone(pool), name).unwrap();
            let descriptor = pool.message(message.message_index());
            for (field, value) in fields {
                message.set(descriptor.field_by_name(field).unwrap(), value);
            }
            message
        };
        let time = new("google.protobuf.Timestamp", vec![("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))]);
        let line = |(sku, count)| {
            Value::Message(new("shop.v1.Line", vec![("sku", Value::String(sku)), ("count", Value::I32(count))]))
        };
        let mut fields = vec![
            ("id", Value::String(id)), ("cents", Value::I64(cents)), ("status", Value::EnumNumber(status)),
            ("created_at", Value::Message(time)), ("blob", Value::Bytes(blob)),
            ("lines", Value::List(lines.into_iter().map(line).collect())),
        ];
        fields.extend(rank.map(|rank| ("rank", Value::I32(rank))));
        let wire = new("shop.v1.Order", fields).encode_to_vec();
        let settings = Settings::default();
        let text = of_wire(&schema, index, &wire, &settings).unwrap();
        prop_assert_eq!(to_wire(&schema, index, &text, &settings).unwrap(), wire);
    }
}
