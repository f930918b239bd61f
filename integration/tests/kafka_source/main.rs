//! The real binary as a member of a group, on a real Kafka.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails loudly, and tells its figures"
)]

mod added;
mod bench;
mod examples;
mod gaps;
mod groups;
mod held;
mod newcomer;
mod operators;
mod patterns;
mod protocols;
mod reads;
mod recovery;
mod starts;
mod stuck;
mod undecodable;
