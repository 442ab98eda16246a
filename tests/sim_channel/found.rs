//! Seeds that have failed once.
