//! What a demo leaves in a table: its app is removed, or named.

use super::{Files, setup, stage::runtime};
use crate::{
    cli::{exit::CommandError, output},
    run::open_store,
    sqlite::Access,
};

/// Removes the demo's app from the table, or says how to look at it.
pub(super) fn end(files: &Files, table: &str, keep: bool) {
    let app = &files.app;
    let config = files.config.display();
    if keep {
        output::note(&format!(
            "demo: its checkpoints and accounts are kept in DynamoDB table `{table}`, app `{app}`: \
             `lanekeeper -c {config} status` shows them, `lanekeeper -c {config} store forget {app} --yes` removes them"
        ));
    } else if let Err(error) = forget(files) {
        output::note(&format!(
            "demo: app `{app}` could not be removed from DynamoDB table `{table}`: {error}"
        ));
    }
}

fn forget(files: &Files) -> Result<(), CommandError> {
    let store = open_store(&setup::config(files)?, Access::Existing)?;
    Ok(runtime()?.block_on(store.forget())?)
}
