//! Runs everything (`cargo integration`), and what the tests that drive the real binary share.

pub mod benches;
mod cache;
mod cargo;
pub mod chaos;
pub mod cost;
mod detached;
pub mod emulator;
mod json_api;
pub mod kafka;
pub mod kinesis;
pub mod lambda;
pub mod proxy;
mod python;
pub mod scene;
mod server;
pub mod sqs;
pub mod suite;
pub mod tables;
pub mod templates;
mod weather;
