//! A worker as a service: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts it or
//! waits for it. What is measured, and what each page says when, stands in `docs/metrics.md`.
//!
//! The loop shows what it does in a [`Watch`](crate::processor::Watch); everything here reads that, on a
//! thread of its own, so that a loop that hangs is told of instead of making the pages hang.

mod families;
mod health;
mod server;

pub use server::Server;
