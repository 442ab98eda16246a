//! Page sizes and page tokens.
//!
//! A token says where the page before ended. It is sealed with a key of this database, together with the list
//! and the filter it was made for: a token that was changed, or is used for another list, is refused rather
//! than misread.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;
use uuid::Uuid;

/// Rows of a page when the caller does not say.
pub(crate) const DEFAULT_SIZE: usize = 50;

/// Most rows of a page.
pub(crate) const MAX_SIZE: usize = 100;

/// Bytes of the seal: half of SHA-256, which is plenty against guessing online.
const SEAL: usize = 16;

/// First byte of a token, so that the format can change.
const VERSION: u8 = 1;

/// The page_token is not one we gave for this list and filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("page_token is not valid for this request")]
pub(crate) struct BadToken;

/// Rows to answer for a `page_size` that is not negative.
pub(crate) fn size(requested: i32) -> usize {
    match usize::try_from(requested) {
        Ok(0) | Err(_) => DEFAULT_SIZE,
        Ok(size) => size.min(MAX_SIZE),
    }
}

/// Which list a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum List {
    /// Orders, filtered by user.
    Orders = 1,
    /// Users, filtered by a filter.
    Users = 2,
}

/// Seals and opens tokens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    /// With a secret of this database.
    pub(crate) const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The token for the page after the row `last`.
    pub(crate) fn seal(&self, list: List, filter: &str, last: Uuid) -> String {
        let mac = self.mac(list, filter, last).finalize().into_bytes();
        let mut token = Vec::with_capacity(1 + 16 + SEAL);
        token.push(VERSION);
        token.extend_from_slice(last.as_bytes());
        token.extend(mac.iter().take(SEAL));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The row after which the page begins.
    pub(crate) fn open(&self, list: List, filter: &str, token: &str) -> Result<Uuid, BadToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
        let (version, rest) = bytes.split_first().ok_or(BadToken)?;
        let (id, seal) = rest.split_first_chunk::<16>().ok_or(BadToken)?;
        if *version != VERSION || seal.len() != SEAL {
            return Err(BadToken);
        }
        let last = Uuid::from_bytes(*id);
        self.mac(list, filter, last).verify_truncated_left(seal).map_err(|_| BadToken)?;
        Ok(last)
    }

    fn mac(&self, list: List, filter: &str, last: Uuid) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&[VERSION, list as u8]);
        mac.update(last.as_bytes());
        mac.update(filter.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: TokenKey = TokenKey::new([7; 32]);
    const ROW: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

    #[test]
    fn sizes_have_a_default_and_a_cap() {
        assert_eq!([0, 1, 99, 100, 101, i32::MAX].map(size), [50, 1, 99, 100, 100, 100]);
    }

    #[test]
    fn a_token_opens_for_its_own_list_and_filter() {
        let token = KEY.seal(List::Orders, "ada", ROW);
        assert_eq!(KEY.open(List::Orders, "ada", &token), Ok(ROW));
        assert_eq!(KEY.open(List::Orders, "bob", &token), Err(BadToken));
        assert_eq!(KEY.open(List::Orders, "", &token), Err(BadToken));
        assert_eq!(KEY.open(List::Users, "ada", &token), Err(BadToken));
        assert_eq!(TokenKey::new([8; 32]).open(List::Orders, "ada", &token), Err(BadToken));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = KEY.seal(List::Orders, "ada", ROW);
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(KEY.open(List::Orders, "ada", &changed), Err(BadToken), "{place}");
            let shorter = token.get(..place).unwrap();
            assert_eq!(KEY.open(List::Orders, "ada", shorter), Err(BadToken));
        }
        assert_eq!(KEY.open(List::Orders, "ada", &format!("{token}AAAA")), Err(BadToken));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,64}") {
            prop_assert_eq!(KEY.open(List::Users, "", &text), Err(BadToken));
        }
    }
}
