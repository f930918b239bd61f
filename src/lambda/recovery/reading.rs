//! A part of a shard, read from its beginning to its end, and what of it is gone.

use super::Went;
use crate::{
    position::Position,
    source::{
        OnGap,
        kinesis::{Begin, Cursor, Part, Row, Shard, Shards, StreamError, first_from},
    },
};
use std::{fmt, sync::Arc};

/// Records of one batch at most: what its mark takes in the table, and what a kill repeats.
const BATCH_MAX: u32 = 1_000;

/// Where a part of a shard begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) begin: Begin,
    /// There is a record at the place: where there is none any more, something is lost.
    pub(crate) is_certain: bool,
}

/// Where it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// With what the shard holds as of the beginning.
    Now,
    /// With this position.
    Through(Position),
    /// Before this position.
    Before(Position),
    /// Before what arrived then or later, in milliseconds since 1970.
    Time(i64),
}

/// A part of one shard, and which of its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Work {
    pub(crate) shard: Shard,
    pub(crate) from: Start,
    pub(crate) until: Until,
    /// Records of this key alone.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) on_gap: OnGap,
}

/// Records that are asked for and gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    /// The first one.
    pub(crate) from: Position,
    /// The oldest that is left; `None`: the shard holds none.
    pub(crate) oldest: Option<Position>,
    /// It went on at what is left.
    pub(crate) went_on: bool,
}

/// For people; the shard is named where it is shown.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records from {} on are asked for and gone: ", self.from)?;
        match &self.oldest {
            Some(oldest) => write!(f, "the stream keeps the shard from {oldest} on")?,
            None => f.write_str("the stream keeps nothing of the shard any more")?,
        }
        match (self.went_on, &self.oldest) {
            (true, _) => f.write_str("; it went on there"),
            (false, Some(_)) => f.write_str("; nothing of it was run, since `on_gap` does not allow that: with `on_gap = \"earliest\"` it goes on at what is left"),
            (false, None) => Ok(()),
        }
    }
}

impl Work {
    /// Whether a record of the rows that were read is meant.
    pub(super) fn wants(&self, position: &Position, key: Option<&[u8]>) -> bool {
        let begins = match &self.from.begin {
            Begin::At(first) => position >= first,
            Begin::After(last) => position > last,
            Begin::Horizon | Begin::Time(_) => true,
        };
        let ends = match &self.until {
            // An aggregate's number is all of its records.
            Until::Through(last) => position <= last || is_in(position, last),
            Until::Before(next) => position < next,
            Until::Now | Until::Time(_) => true,
        };
        begins && ends && self.key.as_deref().is_none_or(|own| key == Some(own))
    }

    /// Whether a row lies behind the end.
    fn is_behind(&self, row: &Row, tip: Option<i64>) -> bool {
        let arrived_by = |end: Option<i64>| end.zip(row.arrival);
        match &self.until {
            Until::Through(last) => row.position > *last,
            Until::Before(next) => row.position >= *next,
            Until::Time(end) => arrived_by(Some(*end)).is_some_and(|(end, at)| at >= end),
            Until::Now => arrived_by(tip).is_some_and(|(tip, at)| at > tip),
        }
    }
}

/// Whether a position is that of a record in an aggregate.
fn is_in(position: &Position, aggregate: &Position) -> bool {
    aggregate.sub().is_none() && position.sub().is_some() && position.number() == aggregate.number()
}

/// The sequence number itself.
fn whole(position: &Position) -> Position {
    let number = position
        .number()
        .and_then(|n| Position::sequence(n, None).ok());
    number.unwrap_or_else(|| position.clone())
}

/// One shard on its way.
pub(super) struct Reading<'w> {
    stream: Arc<dyn Shards>,
    work: &'w Work,
    cursor: Cursor,
    /// When the newest record arrived that was there at the beginning, by the stream's clock.
    tip: Option<i64>,
    has_begun: bool,
    is_over: bool,
}

impl<'w> Reading<'w> {
    pub(super) fn new(stream: &Arc<dyn Shards>, work: &'w Work) -> Self {
        let begin = match &work.from.begin {
            Begin::At(position) => Begin::At(whole(position)),
            other @ (Begin::Horizon | Begin::After(_) | Begin::Time(_)) => other.clone(),
        };
        Self {
            stream: Arc::clone(stream),
            work,
            cursor: Cursor::new(Arc::clone(stream), Arc::clone(&work.shard.id), begin),
            tip: None,
            has_begun: false,
            is_over: false,
        }
    }

    /// Rows up to the end, at least one; `None`: it is reached, or there is a gap that is refused.
    pub(super) async fn next(&mut self, went: &mut Went) -> Result<Option<Vec<Row>>, StreamError> {
        while !self.is_over {
            let Part {
                mut rows,
                behind,
                is_end,
            } = self.cursor.next(BATCH_MAX).await?;
            let is_full = rows.len() >= BATCH_MAX as usize;
            self.is_over = is_end || (behind == 0 && !is_full);
            let arrived = rows.last().and_then(|row| row.arrival);
            if self.tip.is_none() {
                self.tip = arrived.map(|at| at.saturating_add(behind));
            }
            if (!rows.is_empty() || self.is_over) && !self.has_begun {
                self.has_begun = true;
                went.gap = self.gap(rows.first()).await?;
                if went.gap.as_ref().is_some_and(|gap| !gap.went_on) {
                    self.is_over = true;
                    return Ok(None);
                }
            }
            let work = self.work;
            if let Some(end) = { rows.iter() }.position(|row| work.is_behind(row, self.tip)) {
                rows.truncate(end);
                self.is_over = true;
            }
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// What is gone of what was asked for; `first`: what came first.
    async fn gap(&self, first: Option<&Row>) -> Result<Option<Gap>, StreamError> {
        let Begin::At(wanted) = &self.work.from.begin else {
            return Ok(None);
        };
        let number = whole(wanted);
        if !self.work.from.is_certain || first.is_some_and(|row| row.position <= number) {
            return Ok(None);
        }
        // A place at which no record ever was is none that is lost.
        let oldest = match first {
            Some(row) if self.cursor.fell_back() => Some(row.position.clone()),
            Some(_) | None => first_from(&self.stream, &self.work.shard.id, Begin::Horizon).await?,
        };
        if oldest.as_ref().is_some_and(|oldest| *oldest <= number) {
            return Ok(None);
        }
        Ok(Some(Gap {
            from: wanted.clone(),
            went_on: self.work.on_gap == OnGap::Earliest && oldest.is_some(),
            oldest,
        }))
    }
}
