//! Records of Kafka topics. Their positions are their offsets.

use super::{
    delivery::{Delivered, Item, Span},
    event::{
        EventError, Place, shown,
        text::{Pairs, Text},
    },
};
use crate::position::Position;
use serde::Deserialize;

/// The `eventSource` of Amazon MSK.
pub(super) const AMAZON: &str = "aws:kafka";

/// The `eventSource` of any other cluster.
pub(super) const SELF_MANAGED: &str = "SelfManagedKafka";

/// A record as the event has it. What a schema registry adds to it is not looked at.
#[derive(Deserialize)]
pub(super) struct Raw<'a> {
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    partition: Option<i64>,
    offset: Option<i64>,
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    /// Each an object of one member, whose value is a list of bytes, which are signed.
    #[serde(borrow)]
    headers: Option<Vec<Pairs<'a, Option<Vec<i16>>>>>,
}

/// The partitions of an event, in its order; those without records are left out.
pub(super) fn partitions(topics: Pairs<'_, Vec<Raw<'_>>>) -> Result<Vec<Delivered>, EventError> {
    let mut partitions: Vec<Delivered> = Vec::with_capacity(topics.0.len());
    for (name, raws) in topics.0 {
        let Some(first) = raws.first() else {
            continue;
        };
        if partitions.iter().any(|other| *other.item_name == *name) {
            return Err(EventError::Twice {
                partition: shown(&name),
                id: first.offset.unwrap_or_default().to_string(),
            });
        }
        partitions.push(partition(&name, raws)?);
    }
    Ok(partitions)
}

/// One partition. Its name is `{topic}-{n}`, and a topic's name may have a `-` in it.
fn partition(name: &str, raws: Vec<Raw<'_>>) -> Result<Delivered, EventError> {
    let parts =
        { name.rsplit_once('-') }.and_then(|(topic, n)| Some((topic, n.parse::<u32>().ok()?)));
    let (topic, number) = parts
        .filter(|(topic, _)| !topic.is_empty())
        .ok_or_else(|| EventError::Malformed {
            place: Place { index: 0, id: None },
            field: "records",
            found: shown(name),
            expected: "`{topic}-{partition}`",
        })?;
    let mut delivered = Delivered::new(&format!("{topic}/{number}"), name);
    for (index, raw) in raws.into_iter().enumerate() {
        let place = || Place {
            index,
            id: Some(match raw.offset {
                Some(offset) => format!("{} at offset {offset}", shown(name)),
                None => shown(name),
            }),
        };
        let is_elsewhere = { raw.topic.as_deref() }.is_some_and(|own| own != topic)
            || raw.partition.is_some_and(|own| own != i64::from(number));
        if is_elsewhere {
            let (topic, partition) = (raw.topic.as_deref(), raw.partition);
            let partition = partition.map_or_else(String::new, |n| n.to_string());
            return Err(EventError::Mixed {
                place: place(),
                field: "topic, partition",
                first: format!("are of `{}`", shown(name)),
                found: format!("`{}`, `{partition}`", shown(topic.unwrap_or_default())),
            });
        }
        let item = item(&mut delivered, &raw, &place)?;
        delivered.push(item);
    }
    delivered.seal().map_err(|position| EventError::Twice {
        partition: shown(name),
        id: position.to_string(),
    })?;
    Ok(delivered)
}

fn item(
    delivered: &mut Delivered,
    raw: &Raw<'_>,
    place: &dyn Fn() -> Place,
) -> Result<Item, EventError> {
    let offset = raw.offset.ok_or_else(|| EventError::Missing {
        place: place(),
        field: "offset",
    })?;
    let offset = u64::try_from(offset).map_err(|_| EventError::Malformed {
        place: place(),
        field: "offset",
        found: offset.to_string(),
        expected: "0 or more",
    })?;
    let mut decoded = |text: &Option<Text<'_>>, field| match text {
        None => Ok(None),
        Some(text) => match delivered.append_base64(text) {
            Some(span) => Ok(Some(span)),
            None => Err(EventError::Base64 {
                place: place(),
                field,
            }),
        },
    };
    Ok(Item {
        position: Position::Offset(offset),
        key: decoded(&raw.key, "key")?,
        value: decoded(&raw.value, "value")?,
        headers: headers(delivered, raw, place)?,
        // Brokers write -1 where there is none.
        timestamp: raw.timestamp.filter(|timestamp| *timestamp >= 0),
        receives: None,
        id: None,
    })
}

fn headers(
    delivered: &mut Delivered,
    raw: &Raw<'_>,
    place: &dyn Fn() -> Place,
) -> Result<Span, EventError> {
    let from = delivered.headers_from();
    let lists = raw.headers.iter().flatten();
    for (name, bytes) in lists.flat_map(|list| &list.0) {
        let name = delivered.append(name.as_bytes());
        let bytes = bytes.as_deref().unwrap_or_default();
        // As the service writes them they are signed; unsigned ones say the same.
        if let Some(wrong) = bytes.iter().find(|byte| !(-128..=255).contains(*byte)) {
            return Err(EventError::Malformed {
                place: place(),
                field: "headers",
                found: wrong.to_string(),
                expected: "bytes, -128 to 127 each",
            });
        }
        let value = delivered.append_each(bytes.iter().map(|byte| byte.to_le_bytes()[0]));
        delivered.push_header(name, value);
    }
    Ok(delivered.headers_since(from))
}

#[cfg(test)]
mod tests;
