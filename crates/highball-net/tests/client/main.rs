//! The client side of HTTP/2, against h2 servers that follow a script, raw frames, and our own server.

#![expect(
    clippy::disallowed_methods,
    reason = "tasks and sockets of tests end with the runtime of their test"
)]

mod endings;
mod flow;
mod handshakes;
mod keepalive;
mod random;
mod served;
mod slots;
mod world;
