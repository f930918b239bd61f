//! A function behind a stream's mapping with a tumbling window: each record is handled in the order of its
//! key, and what a window comes to, here the number of records of each key, is printed at its end.
//!
//! Configured as every function, by `lanekeeper.toml` beside it or by variables (`docs/lambda.md`).
#![expect(
    clippy::print_stdout,
    reason = "what is printed goes to the function's log"
)]

use lanekeeper::{
    Done, Failure, Program, Record, each,
    lambda::{Entry, Window, aggregate},
};
use std::{collections::BTreeMap, process::ExitCode};

fn main() -> ExitCode {
    // What is to be done of each record by itself; here that is to be readable.
    let handler = each(async |record: Record| {
        match std::str::from_utf8(record.value().unwrap_or_default()) {
            Ok(_) => Ok(Done),
            Err(error) => Err(Failure::reject(error)),
        }
    });
    let per_key = aggregate(
        |counts: &mut BTreeMap<String, u64>, record: Entry<'_>| {
            let key = String::from_utf8_lossy(record.key().unwrap_or_default());
            *counts.entry(key.into_owned()).or_default() += 1;
        },
        async |window: Window, counts: BTreeMap<String, u64>| {
            let shard = window.shard.unwrap_or_default();
            println!("window of {shard}: {counts:?}");
            Ok(())
        },
    );
    Program::new(handler).windowed(per_key).main()
}
