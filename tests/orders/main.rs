//! The reference service as a process.
fn main() {}
