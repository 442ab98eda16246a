//! What a verifier accepts, and what it remembers.

mod accepts;
mod follows;
mod remembers;
