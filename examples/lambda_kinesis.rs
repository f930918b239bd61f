//! A function behind a Kinesis stream: each customer's orders in their sequence.
//!
//! ```console
//! $ cargo build --profile lambda --example lambda_kinesis --no-default-features --features lambda,dynamodb
//! ```
//!
//! `deploy/sam/kinesis.yaml` deploys it, and docs/kinesis-lambda.md shows how, step by step.

use lanekeeper::{Config, Done, Effect, Failure, Record, config::Layers, each};
use serde::Deserialize;
use std::{error::Error, io};

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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let lines = tracing_subscriber::fmt().json();
    lines.with_writer(io::stderr).init();
    let config = Config::load(&Layers::of_process(None, Vec::new()))?;
    lanekeeper::lambda::run(&config, each(bill)).await?;
    Ok(())
}
