//! `lanekeeper audit`: checks G1 to G8 over recorded histories.

use super::{
    exit::{CommandError, Exit},
    output,
};
use crate::{audit::Audit, history::ReadError};
use clap::Args;
use std::{os::unix::fs::MetadataExt as _, path::PathBuf};

#[derive(Args)]
#[command(after_help = "Example:
  lanekeeper run --until-idle --history run.jsonl; lanekeeper audit run.jsonl

Give the histories of all workers of an app at once. It exits 0 when all guarantees hold, 1 when one \
is broken, 2 when the histories cannot be judged.")]
pub(crate) struct AuditArguments {
    /// Histories, as `run --history` wrote them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &AuditArguments) -> Result<Exit, CommandError> {
    let mut audit = Audit::new();
    let mut seen = Vec::new();
    for file in &arguments.files {
        // Read twice, every start of it would overlap with itself.
        if let Ok(metadata) = file.metadata() {
            let id = (metadata.dev(), metadata.ino());
            if seen.contains(&id) {
                return Err(CommandError::Usage(format!(
                    "`{}` is given twice: name each history once",
                    file.display()
                )));
            }
            seen.push(id);
        }
        audit
            .add_file(file)
            .map_err(|error: ReadError| CommandError::Usage(error.to_string()))?;
    }
    let verdict = audit.finish();
    // A broken guarantee is a defect of lanekeeper's own.
    let exit = match (verdict.violations.is_empty(), verdict.errors.is_empty()) {
        (false, _) => Exit::Internal,
        (true, false) => Exit::Usage,
        (true, true) => Exit::Fine,
    };
    if arguments.json {
        let counts: serde_json::Map<_, _> = { verdict.counts.all() }
            .into_iter()
            .map(|(name, count)| (name.replace([' ', '-'], "_"), count.into()))
            .collect();
        let place = |place: &crate::audit::Place| serde_json::json!({"worker": place.worker, "seq": place.seq, "t": place.t});
        let violations: Vec<_> = { &verdict.violations }
            .iter()
            .map(|violation| {
                serde_json::json!({
                    "guarantee": violation.guarantee.to_string(),
                    "what": violation.what,
                    "at": place(&violation.at),
                    "line": violation.line,
                    "earlier": violation.earlier.iter().map(place).collect::<Vec<_>>(),
                })
            })
            .collect();
        output::json(&serde_json::json!({
            "format": 1,
            "passes": verdict.passes(),
            "violations": violations,
            "more_violations": verdict.more,
            "errors": verdict.errors,
            "counts": counts,
        }))?;
    } else {
        output::data(&verdict.to_string())?;
    }
    Ok(exit)
}
