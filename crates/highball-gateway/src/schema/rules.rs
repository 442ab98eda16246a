//! The option `google.api.http`, read from the bytes of the method's options: it works whether or not the descriptors carry
//! the file that defines it.

use buffa::{UnknownFieldData, UnknownFields};

/// `google.api.http` on `google.protobuf.MethodOptions`.
const HTTP: u32 = 72_295_728;

/// One way to reach a method over plain HTTP (google/api/http.proto).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRule {
    /// The HTTP method in capitals; `*` for any.
    pub verb: String,
    /// The template of the path.
    pub template: String,
    /// Where the body of the request goes.
    pub body: BodyRule,
    /// The field the response is written from; `None` for the whole message.
    pub response_body: Option<String>,
}

/// Where the body of a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyRule {
    /// There is none. Fields that are not in the path are query parameters.
    None,
    /// `*`: it is the whole message, but for what is in the path. There are no query parameters.
    Whole,
    /// It is this field. The rest is in the path or are query parameters.
    Field(String),
}

/// The rules among the encoded options of a method.
pub(super) fn read(options: &[u8]) -> Result<Vec<HttpRule>, &'static str> {
    let mut rules = Vec::new();
    for bytes in texts(&decode(options)?, HTTP) {
        let fields = decode(bytes)?;
        rules.push(rule(&fields)?);
        for more in texts(&fields, 11) {
            let more = decode(more)?;
            if texts(&more, 11).next().is_some() {
                return Err("additional_bindings stand in additional_bindings");
            }
            rules.push(rule(&more)?);
        }
    }
    Ok(rules)
}

fn rule(fields: &UnknownFields) -> Result<HttpRule, &'static str> {
    const VERBS: [(u32, &str); 5] = [(2, "GET"), (3, "PUT"), (4, "POST"), (5, "DELETE"), (6, "PATCH")];
    let plain = VERBS.iter().find_map(|(number, verb)| Some(((*verb).to_owned(), text(fields, *number)?)));
    let (verb, template) = match plain {
        Some(found) => found,
        None => {
            let custom = texts(fields, 8).last().ok_or("an HTTP rule names no HTTP method")?;
            let custom = decode(custom)?;
            let kind = text(&custom, 1).ok_or("a custom HTTP rule names no kind")?;
            (kind.to_ascii_uppercase(), text(&custom, 2).unwrap_or_default())
        }
    };
    let body = match text(fields, 7).as_deref() {
        None | Some("") => BodyRule::None,
        Some("*") => BodyRule::Whole,
        Some(field) => BodyRule::Field(field.to_owned()),
    };
    let response_body = text(fields, 12).filter(|field| !field.is_empty());
    Ok(HttpRule { verb, template, body, response_body })
}

fn decode(bytes: &[u8]) -> Result<UnknownFields, &'static str> {
    UnknownFields::decode_from_slice(bytes).map_err(|_| "the option google.api.http cannot be decoded")
}

fn text(fields: &UnknownFields, number: u32) -> Option<String> {
    texts(fields, number).last().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The length-delimited values of a field.
pub(crate) fn texts(fields: &UnknownFields, number: u32) -> impl Iterator<Item = &[u8]> {
    fields.iter().filter_map(move |field| match &field.data {
        UnknownFieldData::LengthDelimited(bytes) if field.number == number => Some(bytes.as_slice()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_part_of_a_rule_is_read() {
        let schema = testing::schema();
        let rule = |verb: &str, template: &str, body, response_body: Option<&str>| HttpRule {
            verb: verb.to_owned(),
            template: template.to_owned(),
            body,
            response_body: response_body.map(str::to_owned),
        };
        let rules = |name: &str| schema.method(name).unwrap().rules().to_vec();
        assert_eq!(
            rules("shop.v1.Orders/Get"),
            [
                rule("GET", "/v1/orders/{id}", BodyRule::None, None),
                rule("GET", "/v1/users/{user}/orders/{id}", BodyRule::None, None),
            ]
        );
        assert_eq!(rules("shop.v1.Orders/Create"), [rule("POST", "/v1/orders", BodyRule::Whole, None)]);
        let field = BodyRule::Field("order".to_owned());
        assert_eq!(rules("shop.v1.Orders/Update"), [rule("PATCH", "/v1/orders/{order.id}", field, None)]);
        assert_eq!(
            rules("shop.v1.Orders/Lines"),
            [rule("GET", "/v1/orders/{id}/lines", BodyRule::None, Some("lines"))]
        );
        assert_eq!(rules("shop.v1.Orders/Purge"), [rule("PURGE", "/v1/cache", BodyRule::None, None)]);
        assert_eq!(rules("shop.v1.Orders/Chat"), []);
    }
}
