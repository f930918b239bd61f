//! The real binary: arguments, exit codes, messages, documents.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly, also in the functions that its cases share"
)]

mod checkpoint;
mod demo;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod examples;
mod help;
mod import;
mod lanes;
mod lint;
#[cfg(feature = "metrics")]
mod metrics;
mod newcomer;
mod put;
mod recover;
mod refused;
mod replay;
mod rewind;
mod run;
mod world;
