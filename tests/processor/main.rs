//! The store suites, and what drives the whole processor.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly and tells its figures, also in the functions that its cases share"
)]

mod conformance;
mod directed;
#[cfg(feature = "dynamodb")]
mod dynamodb_store;
#[cfg(feature = "local")]
mod full_memory;
mod gaps;
mod group;
#[cfg(all(feature = "kafka", feature = "local"))]
mod kafka_source;
#[cfg(feature = "lambda")]
mod lambda;
#[cfg(feature = "local")]
mod local_log;
mod memory_store;
mod simulation;
#[cfg(feature = "local")]
mod sqlite_store;
