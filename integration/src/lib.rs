//! Runs everything (`cargo integration`), and what the tests that drive the real binary share.

pub mod cost;
pub mod emulator;
pub mod proxy;
pub mod scene;
pub mod suite;
pub mod tables;
mod weather;
