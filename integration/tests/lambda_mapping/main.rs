//! Our own event source mapping, by the facts that were recorded on AWS: what it is to prove of the real
//! binary, it must do itself first. Here the functions are stubs.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

mod environments;
mod fifo;
mod kafka;
mod kinesis;
mod reports;
mod servers;
mod shards;
mod sqs;
mod stubs;
mod windows;
