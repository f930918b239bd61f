//! What the engine's tests share: a world (source, store, handlers, clock) around one engine, and a
//! naive reference that is asked about every action.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::type_complexity,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses another part of the world"
)]

mod answers;
mod checks;
mod commits;
mod heal;
mod lane;
mod operators;
mod part;
mod random;
mod record;
mod reference;
mod rest;
mod rng;
mod snapshots;
mod store;
mod world;

pub use lane::{Mode, Owed, Stage};
pub use random::{Case, Seen, play};
pub use record::{ROOM, Rec, key_of, limits};
pub use rng::Rng;
pub use world::{End, World, done, effects, reject, retry};
