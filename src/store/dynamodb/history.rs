//! History lines: past checkpoints and operators' acts, seven days long.

use super::{
    DynamodbStore, Query,
    attributes::{Reader, Wrong, bytes, checkpoint, json, number, text},
    schema::{self, EXPIRES_AT, HISTORY, Item},
};
use crate::{
    record::{LaneKey, PartitionName},
    store::{HistoryEvent, HistoryItem, StoreError, rules::HISTORY_MILLIS},
};
use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

/// A line as an item. Its key holds the time, and what tells it from another of the same millisecond.
pub(super) fn item(app: &str, partition: &PartitionName, line: &HistoryItem) -> Item {
    let sk = format!("{HISTORY}{:020}#{}", line.at.max(0), Uuid::new_v4());
    let mut item = schema::key(schema::partition(app, partition), sk);
    let mut put = |name: &str, value: AttributeValue| {
        item.insert(name.to_owned(), value);
    };
    put("at", number(line.at));
    put("written", number(super::now_millis()));
    let expires_at = line.at.saturating_add(HISTORY_MILLIS) / 1000;
    put(EXPIRES_AT, number(expires_at));
    match &line.what {
        HistoryEvent::Checkpoint {
            epoch, generation, ..
        } => {
            put("what", text("checkpoint"));
            put("epoch", number(epoch));
            put("generation", number(generation));
        }
        HistoryEvent::Decided {
            lane,
            head,
            decision,
        } => {
            put("what", text("decided"));
            put("lane", bytes(lane.bytes()));
            put("name", text(lane.to_string()));
            put("head", text(head.padded()));
            put("decision", json(decision));
        }
        HistoryEvent::Rewound {
            epoch,
            generation,
            note,
            ..
        } => {
            put("what", text("rewound"));
            put("epoch", number(epoch));
            put("generation", number(generation));
            put("note", json(note));
        }
    }
    if let HistoryEvent::Checkpoint { checkpoint: of, .. }
    | HistoryEvent::Rewound { checkpoint: of, .. } = &line.what
    {
        for (name, value) in checkpoint(of) {
            if let Some(value) = value {
                item.insert(name.to_owned(), value);
            }
        }
    }
    item
}

fn decode(item: &Item) -> Result<HistoryItem, Wrong> {
    let of = Reader(item);
    let checkpoint = || {
        of.checkpoint()?
            .ok_or_else(|| Wrong("attribute `resume`: it is missing".to_owned()))
    };
    let what = match of.text("what")? {
        "checkpoint" => HistoryEvent::Checkpoint {
            epoch: of.number("epoch")?,
            generation: of.number("generation")?,
            checkpoint: checkpoint()?,
        },
        "decided" => HistoryEvent::Decided {
            lane: LaneKey::from_bytes(of.bytes("lane")?)
                .ok_or_else(|| Wrong("attribute `lane`: its tag is not known".to_owned()))?,
            head: of.position("head")?,
            decision: of.json("decision")?,
        },
        "rewound" => HistoryEvent::Rewound {
            epoch: of.number("epoch")?,
            generation: of.number("generation")?,
            checkpoint: checkpoint()?,
            note: of.json("note")?,
        },
        other => {
            return Err(Wrong(format!(
                "attribute `what`: it is `{other}`, of no kind that this version knows"
            )));
        }
    };
    Ok(HistoryItem {
        at: of.number("at")?,
        what,
    })
}

impl DynamodbStore {
    pub(super) async fn read_history(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let query = Query::begins(schema::partition(&self.app, partition), HISTORY);
        let mut lines = Vec::new();
        for item in self.query_all(query).await? {
            let line = decode(&item).and_then(|line| {
                let written: i64 = Reader(&item).number("written")?;
                Ok((written, line))
            });
            lines.push(line.map_err(|wrong| {
                let sk = schema::sk_of(&item);
                self.damaged(format_args!("{sk} of {partition}"), &wrong)
            })?);
        }
        // The table deletes what is too old some day. As in every store, what is too old is told when a
        // line is written, and that line stays.
        let last = lines.iter().map(|(written, _)| *written).max().unwrap_or(0);
        let oldest = last.saturating_sub(HISTORY_MILLIS);
        lines.retain(|(written, line)| line.at >= oldest || *written == last);
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }
}
