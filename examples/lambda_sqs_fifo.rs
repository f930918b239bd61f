//! A function behind an SQS FIFO queue: each account's payments, a message group, in their order.
//!
//! ```console
//! $ cargo build --profile lambda --example lambda_sqs_fifo --no-default-features --features lambda,dynamodb
//! ```
//!
//! `deploy/sam/sqs-fifo.yaml` deploys it, as docs/kinesis-lambda.md shows for a stream.

use lanekeeper::{Done, Effect, Failure, Program, Record, each_with};
use std::{process::ExitCode, sync::Arc, time::Duration};

/// Stands for whatever the payments go to.
struct Bank;

impl Bank {
    async fn book(&self, _id: &str, account: &str, _cents: i64) -> Result<(), Failure> {
        match account {
            // Nobody's attempt is used up. Where all fail so, the invocation fails, and the mapping backs off.
            "closed-today" => Err(Failure::target("the bank is closed")),
            // Waits within the invocation, or in the queue where that would take too long.
            "busy" => Err(Failure::retry_after("later", Duration::from_secs(2))),
            _ => Ok(()),
        }
    }
}

async fn pay(bank: Arc<Bank>, record: Record) -> Result<Done, Failure> {
    // The message group. A message's attributes are headers.
    let account = String::from_utf8_lossy(record.key().unwrap_or_default());
    let text = String::from_utf8_lossy(record.value().unwrap_or_default());
    let cents: i64 = { text.trim().parse() }
        // No try will ever succeed: the group stops here, all others go on.
        .map_err(|error| Failure::reject(format!("no payment: {error}")))?;
    // The id is the same at every try, also in another instance: the bank can drop what it knows.
    bank.book(&record.id(), &account, cents).await?;
    // Written together with what says that the message is done: it counts exactly once.
    Ok(Done::with(vec![Effect::add("totals", &account, cents)]))
}

fn main() -> ExitCode {
    Program::new(each_with(Bank, pay)).main()
}
