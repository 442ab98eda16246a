//! What a token endpoint answers (RFC 6749, sections 5.1 and 5.2). Nothing of it is repeated but the name of an error that is
//! known: the rest is for us alone, or may be anything.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::credentials::bearer::bearer;
use crate::credentials::renewal::{Granted, LIFETIME_MAX};

/// Longest answer of a token endpoint.
pub const BODY_SIZE_BYTES_MAX: usize = 64 << 10;

/// RFC 6749, section 5.2, and two that servers borrow from section 4.1.2.1.
const ERRORS: [&str; 8] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
];

/// # Errors
/// What is wrong with the answer, to be put behind the name of who gave it.
pub(super) fn read(response: &Response<Bytes>, lifetime: Duration) -> Result<Granted, String> {
    let status = response.status();
    if status.is_redirection() {
        return Err(format!(
            "answered {status}, and redirects are not followed; name the token endpoint itself"
        ));
    }
    let body = serde_json::from_slice::<Map<String, Value>>(response.body()).ok();
    if status != StatusCode::OK {
        let error = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
        let known = ERRORS.iter().find(|known| error == Some(**known));
        return Err(
            known.map_or_else(|| format!("answered {status}"), |known| format!("answered {status}: {known}"))
        );
    }
    let body = body.ok_or("answered with something else than a JSON object")?;
    let kind = text(&body, "token_type").ok_or("answered without token_type")?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("answered with a token that is no bearer token".to_owned());
    }
    let token = text(&body, "access_token").ok_or("answered without access_token")?;
    let value = bearer(token).map_err(|why| format!("answered with a token that {why}"))?;
    Ok(Granted { value, lifetime: expires_in(&body, lifetime)? })
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// Seconds. Some servers write the number as a string.
fn expires_in(body: &Map<String, Value>, default: Duration) -> Result<Duration, String> {
    let seconds = match body.get("expires_in") {
        None | Some(Value::Null) => return Ok(default),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_f64(),
    };
    match seconds {
        Some(seconds) if seconds > 0.0 => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LIFETIME_MAX).min(LIFETIME_MAX))
        }
        _ => Err("answered with an expires_in that is no time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<(HeaderValue, u64), String> {
        let response = Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap();
        let granted = read(&response, Duration::from_secs(300))?;
        Ok((granted.value, granted.lifetime.as_secs()))
    }

    #[test]
    fn a_token_is_read_with_its_lifetime() {
        let check = |expires_in: &str, want: u64| {
            let body = format!(r#"{{"access_token":"abc","token_type":"bEARER"{expires_in},"scope":[1]}}"#);
            let (value, lifetime) = answer(200, &body).unwrap();
            assert_eq!((value, lifetime), (HeaderValue::from_static("Bearer abc"), want), "{expires_in}");
        };
        check(r#","expires_in":3600"#, 3600);
        check(r#","expires_in":"3599""#, 3599);
        check("", 300);
        check(r#","expires_in":null"#, 300);
        check(r#","expires_in":1e300"#, 24 * 3600);
    }

    #[test]
    fn what_is_no_token_is_an_error_that_repeats_nothing() {
        for (status, body, want) in [
            (200, "hunter2", "JSON"),
            (200, r#"["hunter2"]"#, "JSON"),
            (200, r#"{"access_token":"hunter2"}"#, "token_type"),
            (200, r#"{"access_token":"hunter2","token_type":"mac"}"#, "no bearer"),
            (200, r#"{"access_token":["hunter2"],"token_type":"bearer"}"#, "without access_token"),
            (200, r#"{"access_token":"hunter2\n","token_type":"bearer"}"#, "visible ASCII"),
            (200, r#"{"access_token":"hunter2","token_type":"bearer","expires_in":0}"#, "expires_in"),
            (200, r#"{"access_token":"hunter2","token_type":"bearer","expires_in":"nan"}"#, "expires_in"),
            (200, r#"{"access_token":"hunter2","token_type":"bearer","expires_in":"hunter2"}"#, "expires_in"),
            (
                400,
                r#"{"error":"invalid_scope","error_description":"hunter2"}"#,
                "400 Bad Request: invalid_scope",
            ),
            (401, r#"{"error":"hunter2"}"#, "401"),
            (302, "hunter2", "redirects"),
            (500, "hunter2", "500"),
        ] {
            let error = answer(status, body).unwrap_err();
            assert!(error.contains(want) && !error.contains("hunter2"), "{body}: {error}");
        }
    }
}
