//! Handlers in Rust: a closure, a closure with shared state, and the trait, which gets whole runs.

use lanekeeper::{Answer, Done, Effect, Failure, Handler, Record, Run, each, each_with};
use std::sync::Arc;

struct Ledger;

impl Ledger {
    // Stands for a call of whatever the records are for.
    async fn book(&self, _account: &str, _cents: i64) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn cents(record: &Record) -> Result<i64, Failure> {
    let text = std::str::from_utf8(record.value().unwrap_or_default())?;
    // No try will ever succeed.
    (text.parse()).map_err(|error| Failure::reject(format!("`{text}` is no amount: {error}")))
}

/// Adds up each account in the store itself: an effect is written together with the checkpoint, so it
/// counts exactly once, whatever crashes.
struct Totals;

impl Handler for Totals {
    async fn handle(&self, run: Run) -> Answer {
        let mut answer = Answer::default();
        for record in run.records() {
            match cents(record) {
                Ok(cents) => {
                    let account = String::from_utf8_lossy(record.key().unwrap_or_default());
                    let effect = Effect::add("totals", &account, cents);
                    answer.effects.push((answer.done, effect));
                    answer.done += 1;
                }
                // What is done stays done; what follows in this lane waits.
                Err(failure) => {
                    answer.failure = Some(failure);
                    break;
                }
            }
        }
        answer
    }
}

fn main() {
    let simple = each(async |record: Record| {
        cents(&record)?;
        Ok(Done)
    });
    let with_state = each_with(Ledger, async |ledger: Arc<Ledger>, record: Record| {
        let account = String::from_utf8_lossy(record.key().unwrap_or_default());
        // Any error means: try again later. A refused connection blames the target.
        ledger.book(&account, cents(&record)?).await?;
        Ok(Done::with(vec![Effect::put("last", &account, record.id())]))
    });
    let _handlers: (_, _, Totals) = (simple, with_state, Totals);
}
