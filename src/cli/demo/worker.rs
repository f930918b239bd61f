//! The demo's worker: the Rust handler that adds to accounts, slowly and unreliably.

use super::plan::{Amount, Request, Timing};
use crate::{Condition, Done, Effect, Failure, Handler, Record, handler::Answer, record::Run};

/// The value table of the accounts.
pub(super) const ACCOUNTS: &str = "accounts";

/// One try as the experiment draws it.
pub(super) struct Worker {
    pub(super) timing: Timing,
}

impl Handler for Worker {
    async fn handle(&self, run: Run) -> Answer {
        match self.apply(run.first(), run.attempt()).await {
            Ok(done) => Answer {
                done: 1,
                effects: done.effects.into_iter().map(|effect| (0, effect)).collect(),
                failure: None,
            },
            Err(failure) => Answer::failed(failure),
        }
    }
}

impl Worker {
    async fn apply(&self, record: &Record, attempt: u32) -> Result<Done, Failure> {
        let request: Request = serde_json::from_slice(record.value().unwrap_or_default())?;
        if request.id == 0 {
            // Opens an account before the burst.
            let opened = Effect::put(ACCOUNTS, &request.account, 0);
            return Ok(Done::with(vec![opened]));
        }
        let draw = self.timing.of(request.id, attempt);
        tokio::time::sleep(draw.delay).await;
        let Amount::Number(amount) = request.amount else {
            return Err(Failure::retry("the amount is not a number"));
        };
        if draw.raises {
            return Err(Failure::retry("the ledger hiccupped"));
        }
        let add = Effect::add(ACCOUNTS, &request.account, amount).only_if(Condition::Exists(true));
        Ok(Done::with(vec![add]))
    }
}
