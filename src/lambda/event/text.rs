//! Parts of an event as its JSON has them, borrowed from it where they stand there without escapes.

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, ops::Deref};

/// A text. (A `Cow` within an `Option` would be copied: serde borrows what it finds by type.)
#[derive(Clone, PartialEq, Eq)]
pub(in crate::lambda) struct Text<'a>(Cow<'a, str>);

#[cfg(all(feature = "cli", feature = "kinesis"))]
impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Of)
    }
}

/// An object whose names are data, in the order in which they stand.
pub(in crate::lambda) struct Pairs<'a, V>(pub(in crate::lambda) Vec<(Text<'a>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Of<V> {
            type Value = Vec<(Text<'de>, V)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Of(PhantomData)).map(Pairs)
    }
}

/// The `eventSource` of an event whose shape is not known: its own, or that of its first record that
/// has one.
pub(super) fn source_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Sourced<'a> {
        #[serde(alias = "EventSource", rename = "eventSource")]
        source: Option<String>,
        #[serde(borrow, rename = "Records")]
        records: Option<&'a RawValue>,
    }
    let event: Sourced<'_> = serde_json::from_str(text).ok()?;
    event.source.or_else(|| {
        let records: Vec<Sourced<'_>> = serde_json::from_str(event.records?.get()).ok()?;
        records.into_iter().find_map(|record| record.source)
    })
}

/// The names of an object's fields; `None`: it is no object.
pub(super) fn fields_of(text: &str) -> Option<Vec<String>> {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).ok()?;
    Some(fields.into_keys().collect())
}
