//! Values as columns and back: numbers, positions, checkpoints.

use crate::{
    checkpoint::{Checkpoint, OpenSet},
    position::Position,
    sqlite::{Fault, RowChecksum},
};
use partitions::Resume;
use rusqlite::{Row, ToSql};

/// SQLite's integers are signed; no number of ours comes near the bound.
pub(super) fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A column that is never negative.
pub(super) fn unsigned(column: &str, n: i64) -> Result<u64, Fault> {
    u64::try_from(n).map_err(|_| damaged(column, "it is negative"))
}

/// As [`unsigned`], of 32 bits.
pub(super) fn unsigned_32(column: &str, n: i64) -> Result<u32, Fault> {
    u32::try_from(n).map_err(|_| damaged(column, "it does not fit 32 bits"))
}

pub(super) fn position(column: &str, text: &str) -> Result<Position, Fault> {
    Position::from_padded(text).map_err(|error| damaged(column, error))
}

pub(super) fn position_or_null(
    column: &str,
    text: Option<&str>,
) -> Result<Option<Position>, Fault> {
    text.map(|text| position(column, text)).transpose()
}

/// A row whose checksum fits and whose content does not: written by something else.
pub(super) fn damaged(column: &str, why: impl std::fmt::Display) -> Fault {
    Fault::Damaged(format!("column `{column}`: {why}"))
}

/// The columns of a checkpoint, in the tables of checkpoints and of history.
#[derive(Default)]
pub(super) struct CheckpointColumns {
    resume: Option<String>,
    settled_to: Option<String>,
    open: Option<Vec<u8>>,
    attempts: Option<String>,
    announced: Option<String>,
    incarnation: Option<String>,
    ended: Option<i64>,
}

impl CheckpointColumns {
    /// All null for `None`.
    pub(super) fn of(checkpoint: Option<&Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else {
            return Self::default();
        };
        let attempts = checkpoint.attempts.iter();
        let announced = checkpoint.announced.iter();
        Self {
            resume: Some(match &checkpoint.resume {
                Resume::Beginning => "beginning".to_owned(),
                Resume::At(position) => format!("at {}", position.padded()),
                Resume::After(position) => format!("after {}", position.padded()),
            }),
            settled_to: checkpoint.settled_to.as_ref().map(Position::padded),
            open: Some(checkpoint.open.encode().to_vec()),
            attempts: Some(pairs(attempts.map(|(p, n)| (p, (*n).into())))),
            announced: Some(pairs(announced.map(|(p, alone)| (p, (*alone).into())))),
            incarnation: checkpoint.incarnation.clone(),
            ended: Some(checkpoint.ended.into()),
        }
    }

    /// Reads seven columns from index `first` on.
    pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            resume: row.get(first)?,
            settled_to: row.get(first + 1)?,
            open: row.get(first + 2)?,
            attempts: row.get(first + 3)?,
            announced: row.get(first + 4)?,
            incarnation: row.get(first + 5)?,
            ended: row.get(first + 6)?,
        })
    }

    /// In the order of [`CheckpointColumns::read`].
    pub(super) fn parameters(&self) -> [&dyn ToSql; 7] {
        [
            &self.resume,
            &self.settled_to,
            &self.open,
            &self.attempts,
            &self.announced,
            &self.incarnation,
            &self.ended,
        ]
    }

    pub(super) fn sum(&self, sum: RowChecksum) -> RowChecksum {
        sum.text_or_null(self.resume.as_deref())
            .text_or_null(self.settled_to.as_deref())
            .blob_or_null(self.open.as_deref())
            .text_or_null(self.attempts.as_deref())
            .text_or_null(self.announced.as_deref())
            .text_or_null(self.incarnation.as_deref())
            .integer_or_null(self.ended)
    }

    pub(super) fn decode(self) -> Result<Option<Checkpoint>, Fault> {
        let Some(resume) = self.resume else {
            return Ok(None);
        };
        let resume = match resume.split_once(' ') {
            None if resume == "beginning" => Resume::Beginning,
            Some(("at", text)) => Resume::At(position("resume", text)?),
            Some(("after", text)) => Resume::After(position("resume", text)?),
            _ => return Err(damaged("resume", format!("it is `{resume}`"))),
        };
        let open = OpenSet::decode(&self.open.unwrap_or_default())
            .map_err(|error| damaged("open", error))?;
        Ok(Some(Checkpoint {
            resume,
            settled_to: position_or_null("settled_to", self.settled_to.as_deref())?,
            open,
            attempts: read_pairs("attempts", self.attempts.as_deref())?,
            announced: read_pairs("announced", self.announced.as_deref())?,
            incarnation: self.incarnation,
            ended: self.ended == Some(1),
        }))
    }
}

fn pairs<'a>(all: impl Iterator<Item = (&'a Position, serde_json::Value)>) -> String {
    let all: Vec<serde_json::Value> = all
        .map(|(position, what)| serde_json::json!([position.padded(), what]))
        .collect();
    serde_json::Value::Array(all).to_string()
}

fn read_pairs<T: serde::de::DeserializeOwned>(
    column: &str,
    text: Option<&str>,
) -> Result<Vec<(Position, T)>, Fault> {
    let all: Vec<(String, T)> =
        serde_json::from_str(text.unwrap_or("[]")).map_err(|error| damaged(column, error))?;
    all.into_iter()
        .map(|(text, what)| Ok((position(column, &text)?, what)))
        .collect()
}
