//! The real binary on the embedded log, with checkpoints, chains and effects in DynamoDB: frozen, killed,
//! cut off, throttled.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

mod bench;
mod frozen;
