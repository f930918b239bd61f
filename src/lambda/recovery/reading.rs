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
/// Milliseconds by which all of a page has arrived later where nothing behind it is looked for that arrived
/// earlier.
const MARGIN: i64 = 60_000;

/// Where a part of a shard begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) begin: Begin,
    /// There is an open record at this place, there or behind: where there is none any more, something is
    /// lost.
    pub(crate) certain: Option<Position>,
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
    /// The first one; or the last one that was read before them.
    pub(crate) from: Position,
    /// It is the latter: they were there when reading began.
    pub(crate) is_behind: bool,
    /// The oldest that is left; `None`: the shard holds none.
    pub(crate) oldest: Option<Position>,
    /// It went on at what is left.
    pub(crate) went_on: bool,
}

/// For people; the shard is named where it is shown.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = &self.from;
        match self.is_behind {
            false => write!(f, "records from {from} on are asked for and gone: ")?,
            true => write!(f, "records behind {from} may be gone since it was read: ")?,
        }
        match &self.oldest {
            Some(oldest) => write!(f, "the stream keeps the shard from {oldest} on")?,
            None => f.write_str("the stream keeps nothing of the shard any more")?,
        }
        match (self.went_on, &self.oldest) {
            (true, _) => f.write_str("; it went on there"),
            (false, Some(_)) => f.write_str("; nothing of that was run, since `on_gap` does not allow that: with `on_gap = \"earliest\"` it goes on at what is left"),
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
        begins
            && self.is_before_end(position)
            && self.key.as_deref().is_none_or(|own| key == Some(own))
    }

    fn is_before_end(&self, position: &Position) -> bool {
        match &self.until {
            // An aggregate's number is all of its records.
            Until::Through(last) => position <= last || is_in(position, last),
            Until::Before(next) => position < next,
            Until::Now | Until::Time(_) => true,
        }
    }

    /// Leaves out what lies behind the end, and says whether all does that comes after these rows.
    fn cut(&self, rows: &mut Vec<Row>, tip: Option<i64>) -> bool {
        // Times of arrival are those of several machines: a later record may have an earlier one.
        let all_arrived_by = |rows: &[Row], end: Option<i64>| {
            let is_later = |row: &Row| row.arrival.zip(end).is_some_and(|(at, end)| at >= end);
            !rows.is_empty() && rows.iter().all(is_later)
        };
        let is_over = match &self.until {
            Until::Through(last) => rows.iter().any(|row| row.position > *last),
            Until::Before(next) => rows.iter().any(|row| row.position >= *next),
            Until::Time(end) => all_arrived_by(rows, Some(end.saturating_add(MARGIN))),
            // What is closed has an end of its own.
            Until::Now if self.shard.last.is_some() => false,
            Until::Now => all_arrived_by(rows, tip.map(|tip| tip.saturating_add(1))),
        };
        rows.retain(|row| match &self.until {
            Until::Through(last) => row.position <= *last,
            Until::Before(next) => row.position < *next,
            Until::Time(end) => row.arrival.is_none_or(|at| at < *end),
            Until::Now => !is_over,
        });
        is_over
    }
}

/// Whether a position is that of a record in an aggregate.
pub(super) fn is_in(position: &Position, aggregate: &Position) -> bool {
    aggregate.sub().is_none() && position.sub().is_some() && position.number() == aggregate.number()
}

/// The sequence number itself.
pub(super) fn whole(position: &Position) -> Position {
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
                is_caught_up,
                is_end: _,
                in_doubt,
            } = self.cursor.next(BATCH_MAX).await?;
            self.is_over = is_caught_up;
            let newest = rows.iter().filter_map(|row| row.arrival).max();
            if self.tip.is_none() {
                self.tip = { newest.zip(behind) }.map(|(at, behind)| at.saturating_add(behind));
            }
            let mut gap = None;
            if (!rows.is_empty() || self.is_over) && !self.has_begun {
                self.has_begun = true;
                gap = self.gap(rows.first()).await?;
            } else if let Some(last) = in_doubt {
                gap = self.gap_behind(last).await?;
            }
            if gap.as_ref().is_some_and(|gap| !gap.went_on) {
                went.gap = gap;
                self.is_over = true;
                return Ok(None);
            }
            went.gap = went.gap.take().or(gap);
            self.is_over |= self.work.cut(&mut rows, self.tip);
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn oldest(&self) -> Result<Option<Position>, StreamError> {
        first_from(&self.stream, &self.work.shard.id, Begin::Horizon).await
    }

    /// What may be gone behind the record that was read last, since it was.
    async fn gap_behind(&self, last: Position) -> Result<Option<Gap>, StreamError> {
        let oldest = self.oldest().await?;
        // As long as something up to there is kept, all behind it is.
        if oldest.as_ref().is_some_and(|oldest| *oldest <= last) {
            return Ok(None);
        }
        Ok(Some(Gap {
            from: last,
            is_behind: true,
            went_on: self.work.on_gap == OnGap::Earliest,
            oldest,
        }))
    }

    /// What is gone of what was asked for; `first`: what came first.
    async fn gap(&self, first: Option<&Row>) -> Result<Option<Gap>, StreamError> {
        let wanted = self.work.from.certain.as_ref();
        let Some(wanted) = wanted.filter(|wanted| self.work.is_before_end(wanted)) else {
            return Ok(None);
        };
        let number = whole(wanted);
        if first.is_some_and(|row| row.position <= number) {
            return Ok(None);
        }
        // A place at which no record ever was is none that is lost.
        let is_oldest = self.cursor.fell_back() || self.work.from.begin == Begin::Horizon;
        let oldest = match first {
            Some(row) if is_oldest => Some(row.position.clone()),
            Some(_) | None => self.oldest().await?,
        };
        if oldest.as_ref().is_some_and(|oldest| *oldest <= number) {
            return Ok(None);
        }
        Ok(Some(Gap {
            from: wanted.clone(),
            is_behind: false,
            went_on: self.work.on_gap == OnGap::Earliest && oldest.is_some(),
            oldest,
        }))
    }
}
