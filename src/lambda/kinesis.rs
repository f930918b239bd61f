//! Records of a Kinesis shard. Their positions are their sequence numbers, and those of an aggregate's
//! records have a sub-sequence number behind it, from 0.

use super::{
    delivery::{Delivered, Item, NotUnpacked, Span, Unpacked},
    event::{EventError, Place, shown, text::Text},
};
#[cfg(all(feature = "cli", feature = "kinesis"))]
use crate::source::kinesis::Row;
use crate::{kpl, position::Position};
use prost::bytes::Bytes;
use serde::Deserialize;

/// The `eventSource` of its records.
pub(super) const SOURCE: &str = "aws:kinesis";

/// What stands under `kinesis`.
#[derive(Deserialize)]
pub(super) struct Raw<'a> {
    /// Absent, null or empty where Kinesis places records by itself (`RecordDistributionStrategy=AUTO`).
    #[serde(borrow, rename = "partitionKey")]
    key: Option<Text<'a>>,
    #[serde(borrow, rename = "sequenceNumber")]
    number: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    /// Seconds since 1970, with a fraction.
    #[serde(rename = "approximateArrivalTimestamp")]
    arrival: Option<f64>,
}

/// One shard's records as they come.
#[derive(Default)]
pub(super) struct Shard<'a> {
    delivered: Option<Delivered>,
    /// The last record: whether others share its number is seen when the next one comes.
    pending: Option<Pending<'a>>,
    /// How many of the same number came directly before it.
    before: u32,
}

struct Pending<'a> {
    index: usize,
    number: Text<'a>,
    key: Option<Text<'a>>,
    data: Data<'a>,
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
}

/// A payload, as an event or the stream itself has it.
enum Data<'a> {
    Base64(Text<'a>),
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    Bytes(&'a [u8]),
}

impl Pending<'_> {
    fn place(&self) -> Place {
        place(self.index, &self.number)
    }

    /// Its position, or that of a record in it.
    fn position(&self, sub: Option<u32>) -> Result<Position, EventError> {
        Position::sequence(&self.number, sub).map_err(|_| EventError::Malformed {
            place: self.place(),
            field: "kinesis.sequenceNumber",
            found: shown(&self.number),
            expected: "at most 129 decimal digits without leading zeros",
        })
    }

    /// Kinesis has no empty partition key: what has none is written so, too.
    fn key(&self) -> Option<&str> {
        self.key.as_deref().filter(|key| !key.is_empty())
    }
}

fn place(index: usize, id: &str) -> Place {
    Place {
        index,
        id: Some(shown(id)),
    }
}

impl<'a> Shard<'a> {
    /// The next record.
    pub(super) fn take(
        &mut self,
        index: usize,
        event_id: Option<&Text<'a>>,
        raw: Option<Raw<'a>>,
    ) -> Result<(), EventError> {
        let missing = |field| EventError::Missing {
            place: Place {
                index,
                id: event_id.map(|id| shown(id)),
            },
            field,
        };
        let raw = raw.ok_or_else(|| missing("kinesis"))?;
        let next = Pending {
            index,
            number: { raw.number }.ok_or_else(|| missing("kinesis.sequenceNumber"))?,
            key: raw.key,
            data: Data::Base64(raw.data.ok_or_else(|| missing("kinesis.data"))?),
            timestamp: { raw.arrival }.map(|seconds| (seconds * 1000.0).round() as i64),
        };
        let event_id = event_id.ok_or_else(|| missing("eventID"))?;
        self.is_of(index, event_id)?;
        self.follow(next)
    }

    /// The records of a shard as they were read from it; `None`: there are none.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) fn read(shard: &str, rows: &'a [Row]) -> Result<Option<Delivered>, EventError> {
        let mut read = Self {
            delivered: (!rows.is_empty()).then(|| Delivered::new(shard, shard)),
            ..Self::default()
        };
        for (index, row) in rows.iter().enumerate() {
            read.follow(Pending {
                index,
                number: row.position.number().unwrap_or_default().into(),
                key: row.key.as_deref().map(Text::from),
                data: Data::Bytes(&row.data),
                timestamp: row.arrival,
            })?;
        }
        read.finish()
    }

    fn follow(&mut self, next: Pending<'a>) -> Result<(), EventError> {
        let is_shared = { self.pending.as_ref() }.is_some_and(|last| last.number == next.number);
        self.flush(is_shared)?;
        self.before = if is_shared { self.before + 1 } else { 0 };
        self.pending = Some(next);
        Ok(())
    }

    /// One shard's records make an event; which shard it is says nothing but the first part of their ids.
    fn is_of(&mut self, index: usize, event_id: &str) -> Result<(), EventError> {
        let shard = event_id.split_once(':').map(|(shard, _)| shard);
        let shard =
            shard
                .filter(|shard| !shard.is_empty())
                .ok_or_else(|| EventError::Malformed {
                    place: place(index, event_id),
                    field: "eventID",
                    found: shown(event_id),
                    expected: "`{shard}:{sequence number}`",
                })?;
        match &self.delivered {
            None => self.delivered = Some(Delivered::new(shard, shard)),
            Some(delivered) if **delivered.name() == *shard => {}
            Some(delivered) => {
                return Err(EventError::Mixed {
                    place: place(index, event_id),
                    field: "eventID",
                    first: format!("of shard `{}`", shown(delivered.name())),
                    found: format!("of shard `{}`", shown(shard)),
                });
            }
        }
        Ok(())
    }

    /// Makes entries of the last record, now that it is known whether its number is its own.
    fn flush(&mut self, is_shared: bool) -> Result<(), EventError> {
        let (Some(pending), Some(delivered)) = (self.pending.take(), &mut self.delivered) else {
            return Ok(());
        };
        let sub = (is_shared || self.before > 0).then_some(self.before);
        let position = pending.position(sub)?;
        let key = pending.key();
        if key.is_none() && delivered.unplaced.is_none() {
            delivered.unplaced = Some(position.clone());
        }
        let key = key.map(|key| delivered.append(key.as_bytes()));
        let value = match &pending.data {
            Data::Base64(text) => {
                delivered
                    .append_base64(text)
                    .ok_or_else(|| EventError::Base64 {
                        place: pending.place(),
                        field: "kinesis.data",
                    })?
            }
            #[cfg(all(feature = "cli", feature = "kinesis"))]
            Data::Bytes(bytes) => delivered.append(bytes),
        };
        match sub {
            Some(_) => delivered.sharing += 1,
            None if kpl::is_marked(delivered.slice(value)) => {
                return unpack(delivered, &pending, position, key, value);
            }
            None => {}
        }
        push(delivered, &pending, position, key, value);
        Ok(())
    }

    /// What came; `None`: nothing.
    pub(super) fn finish(mut self) -> Result<Option<Delivered>, EventError> {
        self.flush(false)?;
        let Some(mut delivered) = self.delivered else {
            return Ok(None);
        };
        delivered.seal().map_err(|position| EventError::Twice {
            partition: delivered.name().to_string(),
            id: { position.number() }.map_or_else(|| position.to_string(), str::to_owned),
        })?;
        delivered
            .unpacked
            .sort_by(|a, b| a.position.cmp(&b.position));
        delivered
            .not_unpacked
            .sort_by(|a, b| a.position.cmp(&b.position));
        Ok(Some(delivered))
    }
}

/// Reads an aggregate apart, or takes it as it came.
fn unpack(
    delivered: &mut Delivered,
    pending: &Pending<'_>,
    position: Position,
    key: Option<Span>,
    value: Span,
) -> Result<(), EventError> {
    let data = Bytes::from(delivered.take_back(value));
    let aggregate = match kpl::decode(&data) {
        Ok(Some(aggregate)) => aggregate,
        plain => {
            if let Err(why) = plain {
                let position = position.clone();
                delivered.not_unpacked.push(NotUnpacked { position, why });
            }
            let value = delivered.append(&data);
            push(delivered, pending, position, key, value);
            return Ok(());
        }
    };
    delivered.unpacked.push(Unpacked {
        position,
        records: aggregate.records().len(),
        // Of one without a key [`Delivered::unplaced`] tells.
        mixed_key: pending
            .key()
            .and_then(|key| aggregate.mixed_key(Some(key.as_bytes()))),
    });
    let keys = aggregate.keys().iter();
    let keys: Vec<Span> = keys.map(|key| delivered.append(key)).collect();
    for (sub, record) in (0..).zip(aggregate.records()) {
        let position = pending.position(Some(sub))?;
        let value = delivered.append(record.data);
        push(
            delivered,
            pending,
            position,
            Some(keys[record.key_index]),
            value,
        );
    }
    Ok(())
}

fn push(
    delivered: &mut Delivered,
    pending: &Pending<'_>,
    position: Position,
    key: Option<Span>,
    value: Span,
) {
    let headers = delivered.headers_since(delivered.headers_from());
    delivered.push(Item {
        position,
        key,
        value: Some(value),
        headers,
        timestamp: pending.timestamp,
        receives: None,
        id: None,
    });
}

#[cfg(test)]
mod tests;
