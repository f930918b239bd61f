//! `lanekeeper value`: reads the table that effects write.

use super::{Common, block_on, exit::CommandError, output};
use crate::{run::open_store, sqlite::Access};
use clap::{Args, Subcommand};
use serde_json::json;

/// Values read at a time.
const PAGE: usize = 1_000;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper value list accounts
  lanekeeper value get accounts acct-7")]
pub(crate) struct ValueArguments {
    #[command(subcommand)]
    command: ValueCommand,
}

#[derive(Subcommand)]
enum ValueCommand {
    /// Print one value as JSON.
    #[command(after_help = "Example:\n  lanekeeper value get accounts acct-7")]
    Get {
        /// The table, as effects name it.
        table: String,
        /// The key.
        key: String,
        /// Print a document with table, key and value.
        #[arg(long)]
        json: bool,
    },
    /// Print all values of a table, by key: key, tab, JSON.
    #[command(after_help = "Example:\n  lanekeeper value list accounts")]
    List {
        /// The table, as effects name it.
        table: String,
        /// Print one document a line, with key and value.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(common: &Common, arguments: ValueArguments) -> Result<(), CommandError> {
    let config = common.config()?;
    block_on(async {
        let store = open_store(&config, Access::Read)?;
        match arguments.command {
            ValueCommand::Get { table, key, json } => {
                let value = store.value(&table, &key).await?.ok_or_else(|| {
                    CommandError::Usage(format!(
                        "table `{}` has no key `{}` in {}",
                        output::shown(&table),
                        output::shown(&key),
                        store.describe()
                    ))
                })?;
                if json {
                    output::json(&json!({"format": 1, "table": table, "key": key, "value": value}))
                } else {
                    output::json(&value)
                }
            }
            ValueCommand::List { table, json } => {
                let mut after: Option<String> = None;
                loop {
                    let page = store.values(&table, after.as_deref(), PAGE).await?;
                    for (key, value) in &page {
                        if json {
                            output::json(
                                &json!({"format": 1, "table": table, "key": key, "value": value}),
                            )?;
                        } else {
                            output::data(&format!("{}\t{value}", output::shown(key)))?;
                        }
                    }
                    match page.into_iter().next_back() {
                        Some((key, _)) => after = Some(key),
                        None => return Ok(()),
                    }
                }
            }
        }
    })
}
