//! Places, priorities, and storms in virtual time.

mod drift;
mod places;
mod storms;
mod world;
