//! `Records`, of which Kinesis, DynamoDB Streams and SQS make the same list with other members: each is taken as it is
//! read, so that no list of them is kept beside what is made of them.

use super::{EventError, EventKind, Place, Text, is_known, shown, unknown};
use crate::lambda::{delivery::Delivery, dynamodb, kinesis, sqs};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// What Kinesis, DynamoDB Streams and SQS write of a record.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "eventSource", alias = "EventSource")]
    source: Option<Text<'a>>,
    #[serde(borrow, rename = "eventSourceARN")]
    arn: Option<Text<'a>>,
    #[serde(borrow, rename = "eventID")]
    event_id: Option<Text<'a>>,
    #[serde(borrow)]
    kinesis: Option<kinesis::Raw<'a>>,
    #[serde(borrow)]
    dynamodb: Option<dynamodb::Raw<'a>>,
    #[serde(borrow, rename = "messageId")]
    message_id: Option<Text<'a>>,
    #[serde(borrow)]
    body: Option<Text<'a>>,
    #[serde(borrow)]
    attributes: Option<sqs::Attributes<'a>>,
    #[serde(borrow, rename = "messageAttributes")]
    message_attributes: Option<sqs::MessageAttributes<'a>>,
}

/// The records so far.
pub(in crate::lambda) struct Records<'a> {
    first: Option<First<'a>>,
    fault: Option<EventError>,
}

/// What the first record says of all.
struct First<'a> {
    source: Text<'a>,
    arn: Text<'a>,
    into: Into<'a>,
}

enum Into<'a> {
    Shard(kinesis::Shard<'a>),
    Table(dynamodb::Stream),
    Queue(sqs::Queue),
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Records<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Records<'de>, A::Error> {
                let mut records = Records {
                    first: None,
                    fault: None,
                };
                let mut index = 0;
                while records.fault.is_none() {
                    let next = if records.takes_text() {
                        let text = list.next_element::<&'de RawValue>()?;
                        text.map(read)
                            .transpose()
                            .map_err(|e| A::Error::custom(said(&e)))?
                    } else {
                        let raw = list.next_element::<Raw<'de>>()?;
                        raw.map(|raw| (raw, ""))
                    };
                    let Some((raw, text)) = next else {
                        return Ok(records);
                    };
                    records.fault = records.take(index, raw, text).err();
                    index += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(records)
            }
        }

        deserializer.deserialize_seq(Of)
    }
}

/// A record, and its JSON as it came.
fn read(text: &RawValue) -> Result<(Raw<'_>, &str), serde_json::Error> {
    Ok((serde_json::from_str(text.get())?, text.get()))
}

/// What is wrong, without its place in the record: that in the event is added.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

impl<'a> Records<'a> {
    /// Whether the next record is wanted with its JSON as it came: as long as it is not known to be of a
    /// source whose payloads are members of their own. Others are read once.
    fn takes_text(&self) -> bool {
        match self.first.as_ref().map(|first| &first.into) {
            None | Some(Into::Table(_)) => true,
            Some(Into::Shard(_) | Into::Queue(_)) => false,
        }
    }

    /// `text` is empty where [`Records::takes_text`] says no.
    fn take(&mut self, index: usize, raw: Raw<'a>, text: &str) -> Result<(), EventError> {
        let place = || Place {
            index,
            id: { raw.event_id.as_ref().or(raw.message_id.as_ref()) }.map(|id| shown(id)),
        };
        let missing = |field| EventError::Missing {
            place: place(),
            field,
        };
        let source = { raw.source.as_ref() }.ok_or_else(|| missing("eventSource"))?;
        if !is_known(source) {
            return Err(unknown(source));
        }
        let arn = { raw.arn.as_ref() }.ok_or_else(|| missing("eventSourceARN"))?;
        let first = match &mut self.first {
            Some(first) => {
                for (field, first, found) in [
                    ("eventSource", &first.source, source),
                    ("eventSourceARN", &first.arn, arn),
                ] {
                    if first != found {
                        return Err(EventError::Mixed {
                            place: place(),
                            field,
                            first: format!("`{}`", shown(first)),
                            found: format!("`{}`", shown(found)),
                        });
                    }
                }
                first
            }
            none => none.insert(First {
                source: source.clone(),
                arn: arn.clone(),
                into: into(source, arn, &place)?,
            }),
        };
        match &mut first.into {
            Into::Shard(shard) => shard.take(index, raw.event_id.as_ref(), raw.kinesis),
            Into::Table(stream) => stream.take(index, raw.event_id.as_ref(), raw.dynamodb, text),
            Into::Queue(queue) => queue.take(
                index,
                &sqs::Message {
                    id: raw.message_id,
                    body: raw.body,
                    attributes: raw.attributes,
                    message_attributes: raw.message_attributes,
                },
            ),
        }
    }

    /// What was delivered; `None`: there are no records.
    pub(super) fn finish(self) -> Result<Option<Delivery>, EventError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let Some(first) = self.first else {
            return Ok(None);
        };
        let (kind, delivered) = match first.into {
            Into::Shard(shard) => (EventKind::Kinesis, shard.finish()?),
            Into::Table(stream) => (EventKind::DynamodbStreams, Some(stream.finish()?)),
            Into::Queue(queue) => (queue.kind(), Some(queue.finish()?)),
        };
        let mut delivery = Delivery::new(kind, Some((*first.arn).to_owned()));
        delivery.partitions.extend(delivered);
        Ok(Some(delivery))
    }
}

fn into<'a>(source: &str, arn: &str, place: &dyn Fn() -> Place) -> Result<Into<'a>, EventError> {
    match source {
        kinesis::SOURCE => Ok(Into::Shard(kinesis::Shard::default())),
        dynamodb::SOURCE => match dynamodb::Stream::new(arn) {
            Some(stream) => Ok(Into::Table(stream)),
            None => Err(EventError::Malformed {
                place: place(),
                field: "eventSourceARN",
                found: shown(arn),
                expected: "`arn:aws:dynamodb:{region}:{account}:table/{table}/stream/{time}`",
            }),
        },
        sqs::SOURCE => Ok(Into::Queue(sqs::Queue::new(arn))),
        other => Err(unknown(other)),
    }
}
