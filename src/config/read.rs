//! Reads tables key by key: what is missing, impossible or unknown is collected, never only the first.

use super::{
    KEYS,
    origin::{ConfigError, Origin, Origins},
    quantity::{self, DURATION_FORM, SIZE_FORM},
    tree::{Node, Table, Value},
};
use std::{
    cell::RefCell,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a value must be, for the message that says it is not.
type Expected = String;

/// Collects errors and origins while sections are read.
#[derive(Default)]
pub(super) struct Reader {
    problems: RefCell<Vec<ConfigError>>,
    origins: RefCell<Origins>,
    /// Every key that was asked for: the keys that there are.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<String>>,
}

impl Reader {
    pub(super) fn problem(&self, key: &str, origin: Option<Origin>, message: String) {
        self.problems.borrow_mut().push(ConfigError {
            keys: vec![key.to_owned()],
            origin,
            message,
        });
    }

    pub(super) fn finish(self) -> (Vec<ConfigError>, Origins) {
        (self.problems.into_inner(), self.origins.into_inner())
    }
}

/// One table of the configuration.
pub(super) struct Section<'a> {
    reader: &'a Reader,
    name: String,
    table: Option<&'a Table>,
    origin: Option<Origin>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(reader: &'a Reader, table: &'a Table) -> Self {
        Self {
            reader,
            name: String::new(),
            table: Some(table),
            origin: None,
            known: Vec::new(),
        }
    }

    /// A key's name in full.
    pub(super) fn full(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert(self.full(key));
        let node = self.table?.get(key)?;
        let mut origins = self.reader.origins.borrow_mut();
        origins.set(self.full(key), node.origin.clone());
        Some(node)
    }

    /// A key that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let expected = match read(node) {
            Ok(value) => return Some(value),
            Err(expected) => expected,
        };
        let key = self.full(key);
        let message = format!("`{key}` is `{node}`: expected {expected}");
        self.reader
            .problem(&key, Some(node.origin.clone()), message);
        None
    }

    /// A key with a default.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A key that must be there; `what` completes "is missing: ".
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        if self.has(key) {
            return self.optional(key, read);
        }
        self.missing(key, what)
    }

    /// A key that must be there and whose value may hold a secret.
    pub(super) fn required_secret<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        if self.has(key) {
            return self.optional_secret(key, read);
        }
        self.missing(key, what)
    }

    /// Whether the key was written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    fn missing<T>(&mut self, key: &'static str, what: &str) -> Option<T> {
        self.node(key);
        let key = self.full(key);
        let message = format!("`{key}` is missing: {what}");
        self.reader.problem(&key, self.origin.clone(), message);
        None
    }

    /// A key whose value must never be shown.
    pub(super) fn optional_secret<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match read(node) {
            Ok(value) => Some(value),
            Err(expected) => {
                let key = self.full(key);
                let message = format!("`{key}` cannot be used: expected {expected}");
                self.reader
                    .problem(&key, Some(node.origin.clone()), message);
                None
            }
        }
    }

    /// A table within this one; empty when it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        let node = self.table.and_then(|table| table.get(key));
        Self::of_node(self.reader, self.full(key), node)
    }

    /// As [`Section::section`]; `None` when it is not there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let there = self.has(key);
        let section = self.section(key);
        there.then_some(section)
    }

    /// All entries as sections, where a table's keys are the user's own names.
    pub(super) fn named_sections(self) -> Vec<(String, Self)> {
        let Some(table) = self.table else {
            return Vec::new();
        };
        table
            .0
            .iter()
            .map(|(name, node)| {
                let section = Self::of_node(self.reader, self.full(name), Some(node));
                (name.clone(), section)
            })
            .collect()
    }

    fn of_node(reader: &'a Reader, name: String, node: Option<&'a Node>) -> Self {
        let table = match node.map(|node| (node, &node.value)) {
            None => None,
            Some((_, Value::Table(table))) => Some(table),
            Some((node, _)) => {
                let message = format!("`{name}` is `{node}`: expected a table, `[{name}]`");
                reader.problem(&name, Some(node.origin.clone()), message);
                None
            }
        };
        Self {
            reader,
            name,
            table,
            origin: node.map(|node| node.origin.clone()),
            known: Vec::new(),
        }
    }

    /// Where the table begins.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.origin.clone()
    }

    /// Names what nobody asked for. `of` tells where: "" or ` of type = "kafka"`.
    pub(super) fn finish(self, of: &str) {
        for (key, node) in self.table.map_or(&[][..], |table| &table.0) {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let full = self.full(key);
            let hint = hint(key, &full, &self.known, |known| self.full(known));
            let allowed: Vec<_> = self.known.iter().map(|key| format!("`{key}`")).collect();
            let message = format!(
                "`{full}` is not a key{of}: {hint}allowed here: {}",
                allowed.join(", ")
            );
            self.reader
                .problem(&full, Some(node.origin.clone()), message);
        }
    }
}

/// What was probably meant: a key of the same table that is spelled alike, the same key of another
/// `type`, or one of the same name elsewhere.
fn hint(
    key: &str,
    full: &str,
    known: &[&'static str],
    full_name: impl Fn(&str) -> String,
) -> String {
    let alike = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(key.len()).div_ceil(3));
    let of_a_source = full
        .starts_with("sources.")
        .then(|| format!("sources.NAME.{key}"));
    let general = of_a_source.as_deref().unwrap_or(full);
    if KEYS.contains(&general) {
        return "it is a key of another `type`; ".to_owned();
    }
    let elsewhere = KEYS
        .iter()
        .find(|other| other.rsplit('.').next() == Some(key));
    match (alike, elsewhere) {
        (Some((_, known)), _) => format!("did you mean `{}`? ", full_name(known)),
        (None, Some(other)) => format!("did you mean `{other}`? "),
        (None, None) => String::new(),
    }
}

pub(super) fn text(node: &Node) -> Result<String, Expected> {
    let expected = || "text in quotes, not empty".to_owned();
    let text = match (&node.value, &node.raw) {
        (Value::Text(text), _) => text,
        // `--set app=7` means the text.
        (Value::Number(_) | Value::Bool(_) | Value::Datetime(_), Some(raw)) => raw,
        _ => return Err(expected()),
    };
    if text.is_empty() || text.contains('\0') {
        return Err(expected());
    }
    Ok(text.clone())
}

/// Text made of these characters, all of them ASCII, of at most so many.
pub(super) fn name(
    max: usize,
    allowed: &'static str,
    sound: impl Fn(char) -> bool,
) -> impl FnOnce(&Node) -> Result<String, Expected> {
    move |node| {
        text(node)
            .ok()
            .filter(|text| text.len() <= max && text.chars().all(sound))
            .ok_or_else(|| format!("1 to {max} characters of {allowed}"))
    }
}

pub(super) fn flag(node: &Node) -> Result<bool, Expected> {
    match node.value {
        Value::Bool(flag) => Ok(flag),
        Value::Text(_)
        | Value::Number(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_) => Err("`true` or `false`".to_owned()),
    }
}

pub(super) fn count<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl FnOnce(&Node) -> Result<T, Expected> {
    move |node| {
        let number = match &node.value {
            Value::Number(number) => number.parse::<u64>().ok(),
            Value::Text(_)
            | Value::Bool(_)
            | Value::Datetime(_)
            | Value::List(_)
            | Value::Table(_) => None,
        };
        number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&Node) -> Result<Duration, Expected> {
    move |node| {
        let value = text(node).ok().and_then(|text| quantity::duration(&text));
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            Some(_) => Err(format!(
                "a duration from {} to {}",
                quantity::duration_text(*range.start()),
                quantity::duration_text(*range.end())
            )),
            None => Err(DURATION_FORM.to_owned()),
        }
    }
}

pub(super) fn size(range: RangeInclusive<u64>) -> impl FnOnce(&Node) -> Result<u64, Expected> {
    move |node| match text(node).ok().and_then(|text| quantity::size(&text)) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(format!(
            "a size from {} to {}",
            quantity::size_text(*range.start()),
            quantity::size_text(*range.end())
        )),
        None => Err(SIZE_FORM.to_owned()),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl FnOnce(&Node) -> Result<T, Expected> {
    move |node| {
        let given = text(node).ok();
        let found = words
            .iter()
            .find(|(word, _)| Some(*word) == given.as_deref());
        match found {
            Some((_, value)) => Ok(*value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                Err(format!("one of {}", words.join(", ")))
            }
        }
    }
}

/// A list of text with at least one item.
pub(super) fn texts(node: &Node) -> Result<Vec<String>, Expected> {
    let expected = || "a list of text with at least one item, such as [\"a\", \"b\"]".to_owned();
    match &node.value {
        Value::List(items) if !items.is_empty() => items
            .iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map_err(|_| expected()),
        Value::List(_)
        | Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Datetime(_)
        | Value::Table(_) => Err(expected()),
    }
}

/// A path, relative ones from `base`.
pub(super) fn path(base: &Path) -> impl FnOnce(&Node) -> Result<PathBuf, Expected> + '_ {
    move |node| {
        text(node)
            .map(|text| base.join(text))
            .map_err(|_| "a path in quotes, not empty".to_owned())
    }
}
