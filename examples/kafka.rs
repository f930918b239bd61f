//! A member of a consumer group with a handler in Rust: each account's payments in their order.
//!
//! ```console
//! $ cat lanekeeper.toml
//! app = "payments"
//! cap = 100
//! [sources.payments]
//! type = "kafka"
//! bootstrap_servers = "127.0.0.1:9092"
//! topics = ["payments"]
//! [failure]
//! then = "park"
//! $ cargo run --release --features kafka --example kafka
//! ```
//!
//! SIGTERM or Ctrl-C drains; `lanekeeper status` and `lanes` work as with any worker.

use lanekeeper::{Config, Done, Effect, Failure, Record, config::Layers, each_with};
use std::{error::Error, sync::Arc, time::Duration};

/// Stands for whatever the payments go to.
struct Bank;

impl Bank {
    async fn book(&self, _id: &str, account: &str, _cents: i64) -> Result<(), Failure> {
        match account {
            // Nobody's attempt is used up: the lane waits, and where all fail so, one call at a time probes.
            "closed-today" => Err(Failure::target("the bank is closed")),
            "busy" => Err(Failure::retry_after("later", Duration::from_secs(2))),
            _ => Ok(()),
        }
    }
}

/// `ann 250`: an account and cents. A tombstone has no value.
fn payment(record: &Record) -> Option<(&str, i64)> {
    let text = std::str::from_utf8(record.value()?).ok()?;
    let (account, cents) = text.split_once(' ')?;
    Some((account, cents.parse().ok()?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config = Config::load(&Layers::of_process(None, Vec::new()))?;
    let handler = each_with(Bank, async |bank: Arc<Bank>, record: Record| {
        // No try will ever succeed: its lane is parked, all others go on.
        let (account, cents) = payment(&record).ok_or_else(|| Failure::reject("no payment"))?;
        // The id is the same at every try, also after a crash: the bank can drop what it knows.
        bank.book(&record.id(), account, cents).await?;
        // Written together with the checkpoint: it counts exactly once.
        Ok(Done::with(vec![Effect::add("totals", account, cents)]))
    });
    let report = lanekeeper::run(&config, handler).await?;
    tracing::info!(done = report.done, "drained");
    Ok(())
}
