//! The values as they were written, each with its origin: what the file, the environment and `--set`
//! have in common before they are read as a configuration.

use super::origin::{ConfigError, Origin};
use std::{fmt, path::Path, sync::Arc};
use toml::de::{DeTable, DeValue};

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Of a variable or `--set`: the text as given, for keys that take text.
    pub(super) raw: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// As written: what does not fit is the reader's to say.
    Number(String),
    Bool(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

/// Keys in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<(String, Node)>);

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Sets the value at a path and makes the tables on the way. Gives the name of what stands in
    /// the way when it is no table.
    pub(super) fn set(&mut self, path: &[String], node: Node) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            return Ok(());
        };
        let index = self.0.iter().position(|(key, _)| key == first);
        if rest.is_empty() {
            match index {
                Some(index) => self.0[index].1 = node,
                None => self.0.push((first.clone(), node)),
            }
            return Ok(());
        }
        let index = index.unwrap_or_else(|| {
            let table = Node {
                value: Value::Table(Self::default()),
                origin: node.origin.clone(),
                raw: None,
            };
            self.0.push((first.clone(), table));
            self.0.len() - 1
        });
        match &mut self.0[index].1.value {
            Value::Table(table) => table
                .set(rest, node)
                .map_err(|inner| format!("{first}.{inner}")),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Datetime(_)
            | Value::List(_) => Err(first.clone()),
        }
    }
}

/// Parses a file. What can be read is given even where lines are wrong, so that one run names as
/// many errors as it can.
pub(super) fn parse(text: &str, path: &Path) -> (Table, Vec<ConfigError>) {
    let path: Arc<Path> = path.into();
    let origin_at = |offset: usize| Origin::File {
        path: Arc::clone(&path),
        line: line_of(text, offset),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors = errors
        .into_iter()
        .map(|error| {
            let span = error.span().unwrap_or_default();
            let at = text.get(span.clone()).unwrap_or_default();
            // Only keys are shown: a value may be a secret.
            let is_key = error.message().contains("key");
            let at = at.lines().next().filter(|at| is_key && !at.is_empty());
            let at = at.map_or_else(String::new, |at| format!(" at `{at}`"));
            ConfigError {
                keys: Vec::new(),
                origin: Some(origin_at(span.start)),
                message: format!("not valid TOML{at}: {}", error.message()),
            }
        })
        .collect();
    (table_of(table.get_ref(), &origin_at), errors)
}

/// Parses the text of a variable or of `--set`: a TOML value, else a string.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Node {
    let value = match DeValue::parse(text.trim()) {
        Ok(value) => value_of(value.get_ref(), &|_| origin.clone()),
        Err(_) => Value::Text(text.to_owned()),
    };
    Node {
        value,
        origin: origin.clone(),
        raw: Some(text.to_owned()),
    }
}

/// Parses `a.b."c.d"`, as a key is written in TOML.
pub(super) fn parse_key(text: &str) -> Option<Vec<String>> {
    // A key with a line break or with a value of its own would be more than a key.
    if text.contains(['\n', '\r', '#', '[', '{']) {
        return None;
    }
    let document = format!("{text} = 0");
    let table = DeTable::parse(&document).ok()?;
    let mut path = Vec::new();
    let mut table = table.get_ref();
    loop {
        let mut entries = table.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return None;
        };
        path.push(key.get_ref().to_string());
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => return Some(path),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn table_of(table: &DeTable<'_>, origin_at: &dyn Fn(usize) -> Origin) -> Table {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let node = Node {
                value: value_of(value.get_ref(), origin_at),
                origin: origin_at(key.span().start),
                raw: None,
            };
            (key.span().start, key.get_ref().to_string(), node)
        })
        .collect();
    // The parser sorts by name; "the first source" means the first one written.
    entries.sort_by_key(|(start, _, _)| *start);
    Table(
        entries
            .into_iter()
            .map(|(_, key, node)| (key, node))
            .collect(),
    )
}

fn value_of(value: &DeValue<'_>, origin_at: &dyn Fn(usize) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(bool) => Value::Bool(*bool),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(list) => Value::List(
            list.iter()
                .map(|item| Node {
                    value: value_of(item.get_ref(), origin_at),
                    origin: origin_at(item.span().start),
                    raw: None,
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(table_of(table, origin_at)),
    }
}

/// As it would stand in TOML, cut where it is long.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) if text.chars().count() > 60 => {
                let cut: String = text.chars().take(60).collect();
                write!(f, "\"{}…\"", cut.escape_debug())
            }
            Value::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Value::Number(text) | Value::Datetime(text) => f.write_str(text),
            Value::Bool(bool) => write!(f, "{bool}"),
            Value::List(items) if items.is_empty() => f.write_str("[]"),
            Value::List(_) => f.write_str("[…]"),
            Value::Table(_) => f.write_str("{…}"),
        }
    }
}
