//! Bearer tokens: JWTs, the keys that signed them, and the memory of those already verified.
//!
//! ```text
//!   token ── Digest ──> Cache ──hit──> Token
//!                         │ miss
//!                         v
//!            header: kid, alg ──> Keys (snapshot) ── signature ── claims ──> Token, remembered
//!                                   ^      │ unknown kid: wait for one refresh, at most
//!                  JwksSource ── follow (one task, the only writer)
//! ```
//!
//! Invariants: a key verifies with exactly one algorithm, which its own kind decides and never the token; a remembered
//! token ends with its `exp`, with the keys it was verified by, and with their staleness.

mod algorithm;
mod cache;
mod claims;
mod follow;
mod generate;
mod jwks;
mod jwt;
mod key;
mod keys;
mod mint;
mod settings;
mod shown;
mod source;
mod url;
mod verifier;

pub use algorithm::Algorithm;
pub use cache::CacheReport;
pub use generate::{GeneratedKey, generate};
pub use key::KeyError;
pub(crate) use key::read_bounded;
pub use keys::{KeysEvent, KeysReport};
pub use mint::{Claims, Signer};
pub use settings::{JwksSettings, JwksUrl, KeySource, Settings};
pub use shown::Shown;
pub use source::{Document, FileJwks, JwksSource};
pub use url::UrlJwks;
pub use verifier::{StartError, Verifier, World};

#[cfg(test)]
mod tests;
