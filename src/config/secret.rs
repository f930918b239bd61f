//! Secrets are named in the configuration, never written in it.

use super::{
    read,
    tree::{Node, Value},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretRef {
    /// `{ env = "NAME" }`: in this environment variable.
    Env(String),
    /// `{ file = "PATH" }`: in this file, without the line break at its end.
    File(PathBuf),
}

/// A secret as text. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself: for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that is not where the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, empty or not UTF-8.
    #[error("environment variable `{name}` should hold a secret: {why}")]
    Env {
        /// Which variable.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file cannot be read or is empty.
    #[error("`{}` should hold a secret: {why}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// When it is not there, empty or not UTF-8.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => Ok(Secret(text)),
                other => Err(SecretError::Env {
                    name: name.clone(),
                    why: match other {
                        Ok(_) => "it is empty",
                        Err(std::env::VarError::NotPresent) => "it is not set",
                        Err(std::env::VarError::NotUnicode(_)) => "it is not UTF-8",
                    },
                }),
            },
            Self::File(path) => {
                let error = |why: String| SecretError::File {
                    path: path.clone(),
                    why,
                };
                let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() {
                    return Err(error("it is empty".to_owned()));
                }
                Ok(Secret(text.to_owned()))
            }
        }
    }
}

/// A value given as text, or the place of a secret one.
#[derive(Clone, PartialEq, Eq)]
pub enum Property {
    /// As written.
    Text(String),
    /// Read at the start.
    Secret(SecretRef),
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Whatever librdkafka takes as text may be a password.
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

/// Reads `{ env = "…" }` or `{ file = "…" }`.
pub(super) fn secret(base: &Path) -> impl Fn(&Node) -> Result<SecretRef, String> + '_ {
    move |node| {
        let expected = "`{ env = \"NAME\" }` or `{ file = \"PATH\" }`: a secret itself does not belong in the configuration";
        let entries = match &node.value {
            Value::Table(table) => table.0.as_slice(),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Datetime(_)
            | Value::List(_) => &[],
        };
        match entries {
            [(key, value)] if key == "env" => read::text(value).map(SecretRef::Env),
            [(key, value)] if key == "file" => read::path(base)(value).map(SecretRef::File),
            _ => Err(String::new()),
        }
        .map_err(|_| expected.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_secret() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("secret");
        std::fs::write(&path, "hunter2\r\n").expect("write");
        let secret = SecretRef::File(path.clone()).read().expect("read");
        assert_eq!(secret.reveal(), "hunter2");
        let shown = format!("{secret:?} {:?}", Property::Text("hunter2".to_owned()));
        assert!(!shown.contains("hunter2"), "{shown}");

        std::fs::write(&path, "\n").expect("write");
        let empty = SecretRef::File(path).read().expect_err("empty");
        assert!(
            empty
                .to_string()
                .ends_with("should hold a secret: it is empty")
        );
        let unset = SecretRef::Env("LANEKEEPER_TEST_UNSET".to_owned()).read();
        assert_eq!(
            unset.expect_err("unset").to_string(),
            "environment variable `LANEKEEPER_TEST_UNSET` should hold a secret: it is not set"
        );
    }
}
