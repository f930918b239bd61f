//! Where a value came from, and what is wrong with it.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

/// Where a value of the configuration came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// A line of a file, from 1.
    File {
        /// Which file.
        path: Arc<Path>,
        /// Which line.
        line: usize,
    },
    /// An environment variable.
    Variable(Arc<str>),
    /// An argument `--set key=value`.
    Set(Arc<str>),
    /// Nobody wrote it: the default, or set by a Rust program.
    Unwritten,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Unwritten => f.write_str("not written"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The keys concerned, the first one first of all; empty for what concerns a file as a whole.
    pub keys: Vec<String>,
    /// Where to look; `None` where nothing was written (a missing key, no file).
    pub origin: Option<Origin>,
    /// What is wrong, with key, value and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong with a configuration: at least one thing, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Where each key that somebody set came from, by its full name (`failure.attempts`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn set(&mut self, key: String, origin: Origin) {
        self.0.insert(key, origin);
    }

    pub(super) fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Unwritten)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}
