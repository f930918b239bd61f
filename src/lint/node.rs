//! A template as a tree whose every part knows where it stands.

use std::fmt::Write as _;

/// Where something stands, line and column from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One value of a template.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) what: What,
}

/// What a value is. Short forms of intrinsic functions (`!Ref X`) are written out (`{Ref: X}`).
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Nothing, or `null`.
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) value: Node,
}

impl Node {
    /// The entries of a map; of anything else there are none.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.what {
            What::Map(entries) => entries,
            What::Null | What::Scalar(_) | What::List(_) => &[],
        }
    }

    pub(super) fn items(&self) -> &[Node] {
        match &self.what {
            What::List(items) => items,
            What::Null | What::Scalar(_) | What::Map(_) => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.what {
            What::Scalar(text) => Some(text),
            What::Null | What::List(_) | What::Map(_) => None,
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The function and its argument, where the value is a call of an intrinsic one.
    pub(super) fn call(&self) -> Option<(&str, &Self)> {
        let [entry] = self.entries() else {
            return None;
        };
        let is_call = matches!(entry.key.as_str(), "Ref" | "Condition")
            || (entry.key.starts_with("Fn::") && entry.key.len() > 4);
        is_call.then_some((entry.key.as_str(), &entry.value))
    }

    /// As it would be written, in one line; equal values have equal text.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let Some((name, argument)) = self.call() {
            let _ = write!(out, "!{} ", name.strip_prefix("Fn::").unwrap_or(name));
            return argument.write(out);
        }
        match &self.what {
            What::Null => out.push_str("null"),
            What::Scalar(text) => out.push_str(text),
            What::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            What::Map(entries) => {
                out.push('{');
                for (index, entry) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let _ = write!(out, "{comma}{}: ", entry.key);
                    entry.value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// This value and all within it.
    pub(super) fn walk<'t>(&'t self, visit: &mut dyn FnMut(&'t Self)) {
        visit(self);
        for item in self.items() {
            item.walk(visit);
        }
        for entry in self.entries() {
            entry.value.walk(visit);
        }
    }
}
