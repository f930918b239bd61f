//! The store's table: what the store itself finds, as findings.

use super::{Findings, State};
use crate::{
    cli::{block_on, exit::Exit},
    config::Config,
    store::dynamodb::{DynamodbStore, Weight},
};

impl Findings {
    /// Gives whether its checkpoints can be asked for.
    pub(super) fn table(&mut self, config: &Config, table: &str) -> bool {
        let store = DynamodbStore::new(table, &config.app);
        let found = match block_on(async { Ok(store.check().await) }) {
            Ok(found) => found,
            Err(error) => {
                self.wrong("store", error.to_string(), error.exit());
                return false;
            }
        };
        let mut readable = true;
        for finding in found {
            let (state, exit) = match finding.weight {
                Weight::Sound => (State::Ok, Exit::Fine),
                Weight::Odd => (State::Note, Exit::Fine),
                Weight::Wrong => (State::Wrong, Exit::OutOfReach),
                Weight::Foreign => (State::Wrong, Exit::Usage),
            };
            readable &= state != State::Wrong;
            self.add(finding.what, state, finding.message, exit);
        }
        readable
    }
}
