//! Keys that make calls safe to repeat.

use http::{HeaderMap, HeaderValue};
use uuid::{NoContext, Timestamp, Uuid};

use super::Error;
use crate::clock::Micros;
use crate::domain::request_key;

/// The metadata that carries a key.
pub const HEADER: &str = request_key::HEADER;

/// Methods that create something, and whose retries need a key.
const CREATE: [&str; 4] = [
    "/ecommerce.v1.OrderService/CreateOrder",
    "/ecommerce.v1.OrderService/BatchCreateOrders",
    "/user.v1.UserService/CreateUser",
    "/user.v2.UserService/CreateUser",
];

/// Gives a call a key if it needs one and has none. Above the channel, so that all attempts carry the same.
pub(super) fn provide(path: &str, headers: &mut HeaderMap) {
    if CREATE.contains(&path)
        && !headers.contains_key(HEADER)
        && let Ok(key) = HeaderValue::try_from(new_key())
    {
        headers.insert(HEADER, key);
    }
}

/// A key of the caller's own. Checked here, because the generated client drops a header it cannot send, and a call without
/// the key that it should have had may order twice.
pub(super) fn given(key: &str) -> Result<HeaderValue, Error> {
    let refused = |cause: request_key::BadKey| Error::invalid(HEADER, cause.to_string());
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, HeaderValue::try_from(key).map_err(|_| refused(request_key::BadKey::Malformed))?);
    request_key::from_headers(&headers).map_err(refused)?;
    headers.remove(HEADER).ok_or_else(|| refused(request_key::BadKey::Malformed))
}

/// A UUID of version 7: keys of one time lie together in the server's index.
fn new_key() -> String {
    let (seconds, nanos) = Micros::now().split();
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_create_get_a_key_of_their_own_and_others_get_none() {
        let key = |path: &str| {
            let mut headers = HeaderMap::new();
            provide(path, &mut headers);
            headers.get(HEADER).map(|key| key.to_str().unwrap().to_owned())
        };
        for path in CREATE {
            let (one, two) = (key(path).unwrap(), key(path).unwrap());
            assert_ne!(one, two, "{path}");
            assert_eq!(Uuid::parse_str(&one).unwrap().get_version_num(), 7);
        }
        assert_eq!(key("/ecommerce.v1.OrderService/ProcessOrders"), None);
    }

    #[test]
    fn a_key_of_the_callers_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static("mine"));
        provide(CREATE[0], &mut headers);
        assert_eq!(headers.get_all(HEADER).iter().collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn a_key_that_cannot_travel_is_refused_before_the_call() {
        for bad in ["", "two words", "a\nb", &"x".repeat(129)] {
            assert_eq!(given(bad).unwrap_err().code(), highball::Code::InvalidArgument, "{bad:?}");
        }
        assert_eq!(given("order-1").unwrap(), "order-1");
    }
}
