//! The real binary on the embedded log, with checkpoints, chains and effects in DynamoDB: frozen, killed,
//! cut off, throttled.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails loudly, its helpers too"
)]

mod bench;
mod chain;
mod demo;
mod frozen;
mod kills;
mod limit;
