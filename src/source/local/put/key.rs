//! Which lane a line goes to: its key, taken from the line's JSON without building a document.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, str::FromStr};

/// Where the key stands in a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyFrom {
    /// A top-level field of an object, by its name.
    Field(String),
    /// A JSON pointer (RFC 6901): its tokens, unescaped, at least one.
    Pointer(Vec<String>),
}

/// Text that is not a JSON pointer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{text}` is not a JSON pointer: `~` must be followed by `0` (for `~`) or `1` (for `/`), as RFC 6901 has it"
)]
pub struct PointerError {
    /// What was given.
    pub text: String,
}

/// Text that starts with `/` is a JSON pointer, any other the name of a top-level field.
impl FromStr for KeyFrom {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let Some(tokens) = text.strip_prefix('/') else {
            return Ok(Self::Field(text.to_owned()));
        };
        let tokens = tokens.split('/').map(unescape).collect::<Option<_>>();
        tokens.map(Self::Pointer).ok_or_else(|| PointerError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for KeyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Pointer(tokens) => tokens
                .iter()
                .try_for_each(|t| write!(f, "/{}", t.replace('~', "~0").replace('/', "~1"))),
        }
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        out.push(match piece.bytes().next()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        out.push_str(&piece[1..]);
    }
    Some(out)
}

/// Why a line has no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// Not even `no_key` makes it a record with a known lane.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// There is none.
    #[error("it has no `{0}`")]
    Absent(KeyFrom),
    /// There is something that is no key.
    #[error("its `{from}` is {found}, and a key is a string or a number")]
    NoKey { from: KeyFrom, found: &'static str },
    /// Which of them is the key is anybody's guess.
    #[error("its object has `{0}` more than once")]
    Twice(String),
}

impl KeyFrom {
    /// The key's bytes: of a string its UTF-8 bytes, of a number its text as written.
    pub(super) fn extract<'a>(&self, line: &'a [u8]) -> Result<Cow<'a, [u8]>, KeyError> {
        let text = std::str::from_utf8(line)
            .map_err(|e| KeyError::NotJson(format!("byte {} is not UTF-8", e.valid_up_to() + 1)))?;
        let tokens = match self {
            Self::Field(name) => std::slice::from_ref(name),
            Self::Pointer(tokens) => tokens,
        };
        let mut found = text;
        for token in tokens {
            found = match step(found, token, matches!(self, Self::Pointer(_)))? {
                Some(inner) => inner.get(),
                None => return Err(KeyError::Absent(self.clone())),
            };
        }
        let found = found.trim_ascii();
        let no_key = |found| KeyError::NoKey {
            from: self.clone(),
            found,
        };
        match found.as_bytes().first() {
            Some(b'"') => {
                let inner = &found[1..found.len().saturating_sub(1)];
                if !inner.contains('\\') {
                    return Ok(Cow::Borrowed(inner.as_bytes()));
                }
                let key: String = serde_json::from_str(found).map_err(|e| not_json(&e))?;
                Ok(Cow::Owned(key.into_bytes()))
            }
            Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(found.as_bytes())),
            Some(b't' | b'f') => Err(no_key("a boolean")),
            Some(b'n') => Err(no_key("null")),
            Some(b'{') => Err(no_key("an object")),
            _ => Err(no_key("an array")),
        }
    }
}

/// One token down; the whole of `text` is read, so that half a line is noticed.
fn step<'a>(text: &'a str, token: &str, arrays: bool) -> Result<Option<&'a RawValue>, KeyError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut twice = false;
    let inner = Step {
        token,
        arrays,
        twice: &mut twice,
    }
    .deserialize(&mut reader);
    if twice {
        return Err(KeyError::Twice(token.to_owned()));
    }
    let inner = inner.map_err(|e| not_json(&e))?;
    reader.end().map_err(|e| not_json(&e))?;
    Ok(inner)
}

/// The line's number is named elsewhere: of serde's place only the column says anything.
fn not_json(error: &serde_json::Error) -> KeyError {
    let text = error.to_string();
    let what = text
        .rfind(" at line ")
        .map_or(text.as_str(), |n| &text[..n]);
    KeyError::NotJson(match error.column() {
        0 => what.to_owned(),
        column => format!("{what} at byte {column}"),
    })
}

struct Step<'t> {
    token: &'t str,
    arrays: bool,
    twice: &'t mut bool,
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(ours) = map.next_key_seed(Named(self.token))? {
            if !ours {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                *self.twice = true;
                return Err(A::Error::custom("twice"));
            } else {
                found = Some(map.next_value::<&RawValue>()?);
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let digits = self.token.bytes().all(|b| b.is_ascii_digit());
        let canonical = self.token == "0" || !self.token.starts_with('0');
        let index = (self.arrays && digits && canonical)
            .then(|| self.token.parse().ok())
            .flatten();
        let (mut at, mut found) = (0usize, None);
        loop {
            let more = if index == Some(at) {
                found = seq.next_element::<&RawValue>()?;
                found.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(found);
            }
            at += 1;
        }
    }

    // A scalar has nothing below it.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a field's name is this one.
struct Named<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl serde::de::Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from: &str, line: &str) -> Result<String, String> {
        let from: KeyFrom = from.parse().expect("a key setting");
        from.extract(line.as_bytes())
            .map(|key| String::from_utf8(key.into_owned()).expect("text"))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn strings_give_their_text_and_numbers_their_digits() {
        for (from, line, expected) in [
            ("id", r#"{"id":"a b"}"#, "a b"),
            (
                "id",
                r#" { "x" : [1,{"id":2}] , "id" : "é\n\u00e9" } "#,
                "é\né",
            ),
            ("id", r#"{"id":""}"#, ""),
            ("id", r#"{"id":1.0}"#, "1.0"),
            ("id", r#"{"id":-1E+2}"#, "-1E+2"),
            (
                "id",
                r#"{"id":123456789012345678901234567890.50}"#,
                "123456789012345678901234567890.50",
            ),
            ("a\"b", r#"{"a\"b":7}"#, "7"),
            ("/a/b", r#"{"a":{"c":1,"b":"x"}}"#, "x"),
            ("/a/1/b", r#"{"a":[{"b":"x"},{"b":"y"},{"b":"z"}]}"#, "y"),
            ("/a~1b/m~0n", r#"{"a/b":{"m~n":5}}"#, "5"),
            ("/", r#"{"":"empty name"}"#, "empty name"),
            ("/0", r#"["first"]"#, "first"),
            ("", r#"{"":1}"#, "1"),
        ] {
            assert_eq!(key(from, line), Ok(expected.to_owned()), "{from} of {line}");
        }
    }

    #[test]
    fn what_is_no_key_says_why() {
        for (from, line, expected) in [
            ("id", r#"{"a":1}"#, "it has no `id`"),
            ("id", "[1]", "it has no `id`"),
            ("0", "[1]", "it has no `0`"),
            ("id", "17", "it has no `id`"),
            ("id", r#""id""#, "it has no `id`"),
            ("/a/b", r#"{"a":"b"}"#, "it has no `/a/b`"),
            ("/a/01", r#"{"a":[1,2]}"#, "it has no `/a/01`"),
            ("/a/2", r#"{"a":[1,2]}"#, "it has no `/a/2`"),
            ("/a~1b", r#"{"a":{"b":1}}"#, "it has no `/a~1b`"),
            (
                "id",
                r#"{"id":null}"#,
                "its `id` is null, and a key is a string or a number",
            ),
            (
                "id",
                r#"{"id":true}"#,
                "its `id` is a boolean, and a key is a string or a number",
            ),
            (
                "id",
                r#"{"id":{}}"#,
                "its `id` is an object, and a key is a string or a number",
            ),
            (
                "id",
                r#"{"id":[1]}"#,
                "its `id` is an array, and a key is a string or a number",
            ),
            (
                "id",
                r#"{"id":1,"id":2}"#,
                "its object has `id` more than once",
            ),
        ] {
            assert_eq!(
                key(from, line),
                Err(expected.to_owned()),
                "{from} of {line}"
            );
        }
    }

    #[test]
    fn half_a_line_is_not_json() {
        for line in [
            "",
            " ",
            "{",
            r#"{"id":"a""#,
            r#"{"id":"a","#,
            r#"{"id":"a"} x"#,
            r#"{"id":"a"}{"id":"b"}"#,
            r#"{"id":01}"#,
            r#"{"id":"\ud800"}"#,
            "{\"id\":\"a\tb\"}",
            r#"{'id':1}"#,
        ] {
            let said = key("id", line);
            assert!(
                said.as_ref()
                    .is_err_and(|e| e.starts_with("it is not JSON: ")),
                "{line}: {said:?}"
            );
        }
        let bytes = b"{\"id\":\"a\",\"b\":\"\xff\"}";
        assert_eq!(
            KeyFrom::Field("id".into()).extract(bytes),
            Err(KeyError::NotJson("byte 16 is not UTF-8".into()))
        );
    }

    #[test]
    fn deep_nesting_ends_in_an_answer() {
        let line = format!(
            "{{\"a\":{}1{},\"id\":3}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert_eq!(key("id", &line), Ok("3".to_owned()));
    }

    #[test]
    fn pointers_are_read_and_written() {
        for text in ["/a", "/a/b", "/", "/a~0b/c~1d", "plain", "a~2"] {
            assert_eq!(
                text.parse::<KeyFrom>().map(|k| k.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["/a~", "/a~2b"] {
            assert_eq!(
                text.parse::<KeyFrom>(),
                Err(PointerError {
                    text: text.to_owned()
                })
            );
        }
    }
}
