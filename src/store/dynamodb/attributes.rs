//! Attributes of items: how they are written, and what is wrong with one that is not as written.

use super::schema::Item;
use crate::{
    checkpoint::{Checkpoint, OpenSet},
    position::Position,
};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use partitions::Resume;

/// What is wrong with an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong(pub(super) String);

/// An attribute of text.
pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number.
pub(super) fn number(n: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

/// Bytes.
pub(super) fn bytes(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Reads attributes of one item, naming what is wrong.
pub(super) struct Reader<'i>(pub(super) &'i Item);

impl<'i> Reader<'i> {
    pub(super) fn wrong(name: &str, why: impl std::fmt::Display) -> Wrong {
        Wrong(format!("attribute `{name}`: {why}"))
    }

    fn kind(name: &str, found: &AttributeValue, expected: &str) -> Wrong {
        let kind = if found.is_s() {
            "a string"
        } else if found.is_n() {
            "a number"
        } else if found.is_b() {
            "binary"
        } else {
            "of another type"
        };
        Self::wrong(name, format!("it is {kind}, expected {expected}"))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'i str>, Wrong> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(found) => Err(Self::kind(name, found, "a string")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<&'i str, Wrong> {
        self.optional_text(name)?
            .ok_or_else(|| Self::wrong(name, "it is missing"))
    }

    pub(super) fn optional_bytes(&self, name: &str) -> Result<Option<&'i [u8]>, Wrong> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(found) => Err(Self::kind(name, found, "binary")),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&'i [u8], Wrong> {
        self.optional_bytes(name)?
            .ok_or_else(|| Self::wrong(name, "it is missing"))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Wrong>
    where
        T::Err: std::fmt::Display,
    {
        match self.0.get(name) {
            None => Err(Self::wrong(name, "it is missing")),
            Some(AttributeValue::N(n)) => n
                .parse()
                .map_err(|error| Self::wrong(name, format!("it is {n}: {error}"))),
            Some(found) => Err(Self::kind(name, found, "a number")),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Wrong> {
        match self.0.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(found) => Err(Self::kind(name, found, "a boolean")),
        }
    }

    pub(super) fn optional_position(&self, name: &str) -> Result<Option<Position>, Wrong> {
        self.optional_text(name)?
            .map(|text| position(name, text))
            .transpose()
    }

    pub(super) fn position(&self, name: &str) -> Result<Position, Wrong> {
        position(name, self.text(name)?)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Wrong> {
        from_json(name, self.text(name)?)
    }

    pub(super) fn optional_json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Wrong> {
        self.optional_text(name)?
            .map(|text| from_json(name, text))
            .transpose()
    }

    /// The checkpoint among the item's attributes, where there is one.
    pub(super) fn checkpoint(&self) -> Result<Option<Checkpoint>, Wrong> {
        let Some(resume) = self.optional_text("resume")? else {
            return Ok(None);
        };
        let resume = match resume.split_once(' ') {
            None if resume == "beginning" => Resume::Beginning,
            Some(("at", text)) => Resume::At(position("resume", text)?),
            Some(("after", text)) => Resume::After(position("resume", text)?),
            _ => return Err(Self::wrong("resume", format!("it is `{resume}`"))),
        };
        let open = OpenSet::decode(self.bytes("open")?);
        Ok(Some(Checkpoint {
            resume,
            settled_to: self.optional_position("settled_to")?,
            open: open.map_err(|error| Self::wrong("open", error))?,
            attempts: self.pairs("attempts")?,
            announced: self.pairs("announced")?,
            incarnation: self.optional_text("incarnation")?.map(str::to_owned),
            ended: self.flag("ended")?,
        }))
    }

    fn pairs<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Vec<(Position, T)>, Wrong> {
        let all: Vec<(String, T)> = self.optional_json(name)?.unwrap_or_default();
        all.into_iter()
            .map(|(text, what)| Ok((position(name, &text)?, what)))
            .collect()
    }
}

fn position(name: &str, text: &str) -> Result<Position, Wrong> {
    Position::from_padded(text).map_err(|error| Reader::wrong(name, error))
}

fn from_json<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Wrong> {
    serde_json::from_str(text).map_err(|error| Reader::wrong(name, error))
}

/// JSON text of what cannot fail to be written as such.
pub(super) fn json(what: &impl serde::Serialize) -> AttributeValue {
    text(serde_json::to_string(what).unwrap_or_default())
}

/// A checkpoint's attributes; `None`: to be removed.
pub(super) fn checkpoint(checkpoint: &Checkpoint) -> [(&'static str, Option<AttributeValue>); 7] {
    let resume = match &checkpoint.resume {
        Resume::Beginning => "beginning".to_owned(),
        Resume::At(position) => format!("at {}", position.padded()),
        Resume::After(position) => format!("after {}", position.padded()),
    };
    let settled_to = checkpoint.settled_to.as_ref().map(Position::padded);
    [
        ("resume", Some(text(resume))),
        ("settled_to", settled_to.map(text)),
        ("open", Some(bytes(checkpoint.open.encode().to_vec()))),
        ("attempts", pairs(&checkpoint.attempts)),
        ("announced", pairs(&checkpoint.announced)),
        ("incarnation", checkpoint.incarnation.as_ref().map(text)),
        (
            "ended",
            checkpoint.ended.then_some(AttributeValue::Bool(true)),
        ),
    ]
}

/// An empty list takes no attribute, and so no bytes that are paid for.
fn pairs<T: serde::Serialize>(all: &[(Position, T)]) -> Option<AttributeValue> {
    let all: Vec<(String, &T)> = all.iter().map(|(p, what)| (p.padded(), what)).collect();
    (!all.is_empty()).then(|| json(&all))
}
