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
//! $ cargo run --release --features kafka --example kafka -- run
//! ```
//!
//! SIGTERM or Ctrl-C drains. The program has the command line in it: `recover` and `replay` call the same
//! handler, and `status`, `lanes` and the others work as with any worker.

use lanekeeper::{Done, Effect, Failure, Program, Record, each_with};
use std::{process::ExitCode, sync::Arc, time::Duration};

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

fn main() -> ExitCode {
    let handler = each_with(Bank, async |bank: Arc<Bank>, record: Record| {
        // No try will ever succeed: its lane is parked, all others go on.
        let (account, cents) = payment(&record).ok_or_else(|| Failure::reject("no payment"))?;
        // The id is the same at every try, also after a crash: the bank can drop what it knows.
        bank.book(&record.id(), account, cents).await?;
        // Written together with the checkpoint: it counts exactly once.
        Ok(Done::with(vec![Effect::add("totals", account, cents)]))
    });
    Program::new(handler).main()
}
