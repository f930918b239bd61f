//! A function behind a Kinesis stream: each customer's orders in their sequence.
//!
//! ```console
//! $ cargo build --profile lambda --example lambda_kinesis --no-default-features --features lambda,dynamodb
//! ```
//!
//! `deploy/sam/kinesis.yaml` deploys it, and docs/kinesis-lambda.md shows how, step by step. With the command
//! line in it, it is what runs that which the deployment has left open, by the same handler:
//!
//! ```console
//! $ cargo run --release --example lambda_kinesis --features lambda,dynamodb,kinesis -- recover
//! ```

use lanekeeper::{Done, Effect, Failure, Program, Record, each};
use serde::Deserialize;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Order {
    amount: i64,
}

async fn bill(record: Record) -> Result<Done, Failure> {
    // The partition key.
    let customer = String::from_utf8_lossy(record.key().unwrap_or_default());
    let order: Order = serde_json::from_slice(record.value().unwrap_or_default())
        .map_err(|error| Failure::reject(format!("no order: {error}")))?;
    if order.amount < 0 {
        // No try will ever succeed: the lane of this customer stops here, all others go on.
        return Err(Failure::reject("negative amount"));
    }
    // Written together with what says that the record is done: it counts exactly once.
    let total = Effect::add("totals", &customer, order.amount);
    Ok(Done::with(vec![total]))
}

fn main() -> ExitCode {
    Program::new(each(bill)).main()
}
