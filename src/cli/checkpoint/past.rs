//! Lines of a partition's history: past checkpoints and operators' acts.

use super::{
    document::{CheckpointView, lane_name},
    view::settled,
};
use crate::{
    cli::{
        output::{moment, shown},
        view::key_text,
    },
    position::Position,
    store::{HistoryEvent, HistoryItem},
};
use serde::Serialize;

/// A line of history.
#[derive(Serialize)]
pub(super) struct Past {
    at: String,
    #[serde(flatten)]
    what: PastEvent,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum PastEvent {
    Checkpoint {
        epoch: u64,
        generation: u64,
        checkpoint: CheckpointView,
    },
    Decided {
        lane: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_base64: Option<String>,
        position: Position,
        verb: &'static str,
        by: String,
        why: Option<String>,
    },
    Rewound {
        epoch: u64,
        generation: u64,
        checkpoint: CheckpointView,
        verb: &'static str,
        to: String,
        by: String,
        why: Option<String>,
    },
}

/// For machines.
pub(super) fn past(item: &HistoryItem) -> Past {
    Past {
        at: moment(item.at),
        what: match &item.what {
            HistoryEvent::Checkpoint {
                epoch,
                generation,
                checkpoint,
            } => PastEvent::Checkpoint {
                epoch: *epoch,
                generation: *generation,
                checkpoint: checkpoint.into(),
            },
            HistoryEvent::Decided {
                lane,
                head,
                decision,
            } => {
                let (lane, key, key_base64) = lane_name(lane);
                PastEvent::Decided {
                    lane,
                    key,
                    key_base64,
                    position: head.clone(),
                    verb: decision.verb.name(),
                    by: decision.by.clone(),
                    why: decision.why.clone(),
                }
            }
            HistoryEvent::Rewound {
                epoch,
                generation,
                checkpoint,
                note,
            } => PastEvent::Rewound {
                epoch: *epoch,
                generation: *generation,
                checkpoint: checkpoint.into(),
                verb: note.verb.name(),
                to: note.to.clone(),
                by: note.by.clone(),
                why: note.why.clone(),
            },
        },
    }
}

/// For people.
pub(super) fn past_text(item: &HistoryItem) -> String {
    match &item.what {
        HistoryEvent::Checkpoint {
            epoch,
            generation,
            checkpoint,
        } => format!(
            "checkpoint: {}, {} open; epoch {epoch}, generation {generation}",
            settled(checkpoint),
            checkpoint.open.positions().len()
        ),
        HistoryEvent::Decided {
            lane,
            head,
            decision,
        } => format!(
            "{} of {} at {head} by {}{}",
            decision.verb.name(),
            key_text(lane),
            shown(&decision.by),
            why_text(decision.why.as_deref())
        ),
        HistoryEvent::Rewound {
            epoch,
            generation,
            checkpoint,
            note,
        } => format!(
            "{} to {} by {}{}: {}, {} open; epoch {epoch}, generation {generation}",
            note.verb.name(),
            shown(&note.to),
            shown(&note.by),
            why_text(note.why.as_deref()),
            settled(checkpoint),
            checkpoint.open.positions().len()
        ),
    }
}

fn why_text(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(", since \"{}\"", shown(why)))
}
