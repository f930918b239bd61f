//! The emulator of DynamoDB, and the fault proxy before it.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]
#![expect(clippy::expect_used, clippy::panic, reason = "as above")]

mod client;
mod conflicts;
mod facts;
mod faults;
mod limits;
mod together;
