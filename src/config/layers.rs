//! File, environment and `--set`, laid over each other.

use super::{
    KEYS,
    origin::{ConfigError, ConfigErrors, Origin},
    tree::{self, Node, Table},
};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Before each name of an environment variable that sets a key; levels are parted by two underscores
/// as well.
const PREFIX: &str = "LANEKEEPER__";
/// Names the file.
const FILE_VARIABLE: &str = "LANEKEEPER_CONFIG";
/// Found in the working directory.
const FILE_NAME: &str = "lanekeeper.toml";

/// Where a configuration comes from; later layers win: file, environment, `--set`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    /// The file; `None`: there is none.
    pub file: Option<PathBuf>,
    /// Variables; those that do not begin with `LANEKEEPER__` set nothing, and one that seems to be
    /// meant to is refused.
    pub environment: Vec<(OsString, OsString)>,
    /// Each `key=value`.
    pub set: Vec<String>,
}

impl Layers {
    /// Those of this process: the file is the one named, else what `LANEKEEPER_CONFIG` names, else
    /// `lanekeeper.toml` in the working directory where there is one.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let named = file.or_else(|| {
            env::var_os(FILE_VARIABLE)
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
        });
        let found = || Some(PathBuf::from(FILE_NAME)).filter(|path| path.exists());
        Self {
            file: named.or_else(found),
            environment: env::vars_os().collect(),
            set,
        }
    }

    /// The merged table, what is wrong so far, and the directory that relative paths are relative to.
    ///
    /// # Errors
    /// There is nothing to read.
    pub(super) fn merge(&self) -> Result<(Table, Vec<ConfigError>, PathBuf), ConfigErrors> {
        let mut problems = Vec::new();
        let mut table = Table::default();
        let mut base = PathBuf::new();
        match &self.file {
            Some(path) => {
                base = path.parent().unwrap_or(Path::new("")).to_owned();
                match std::fs::read_to_string(path) {
                    Ok(text) => (table, problems) = tree::parse(&text, path),
                    Err(error) => {
                        return Err(nothing(format!(
                            "the configuration file `{}` cannot be read: {error}",
                            path.display()
                        )));
                    }
                }
            }
            // The missing keys alone would not tell what to do.
            None if self.is_empty() && self.misnamed().next().is_some() => {}
            None if self.is_empty() => {
                return Err(nothing(format!(
                    "no configuration: `-c FILE` is not given, `{FILE_VARIABLE}` is not set and there \
                     is no `{FILE_NAME}` here; `lanekeeper init` writes one"
                )));
            }
            None => {}
        }
        // What is missing or wrong in half a file would only hide what is to be mended first.
        if !problems.is_empty() {
            return Err(ConfigErrors(problems));
        }
        problems.extend(self.misnamed());
        for (name, value) in &self.environment {
            let name = name.to_string_lossy();
            if let Some(path) = name.strip_prefix(PREFIX) {
                let origin = Origin::Variable(name.as_ref().into());
                let value = value.to_str().ok_or("its value is not UTF-8");
                let set = value.and_then(|value| Ok((variable_path(path)?, value)));
                lay(&mut table, &mut problems, origin, set);
            }
        }
        for argument in &self.set {
            let set = set_argument(argument);
            // What is not well-formed is named whole; a value is not, since it may be a secret.
            let key = match &set {
                Ok((_, value)) => argument[..argument.len() - value.len()].trim_end_matches('='),
                Err(_) => argument,
            };
            let origin = Origin::Set(key.trim().into());
            lay(&mut table, &mut problems, origin, set);
        }
        Ok((table, problems, base))
    }

    /// Whether no layer sets anything.
    pub fn is_empty(&self) -> bool {
        let sets_a_key =
            |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with(PREFIX);
        self.file.is_none() && self.set.is_empty() && !self.environment.iter().any(sets_a_key)
    }

    /// Variables that name a key with one underscore where two belong: left alone, they would be taken
    /// for set by whoever wrote them. Other names with one underscore are the process's own.
    fn misnamed(&self) -> impl Iterator<Item = ConfigError> {
        self.environment.iter().filter_map(|(name, _)| {
            let name = name.to_str()?;
            let meant = meant_variable(name)?;
            Some(ConfigError {
                keys: Vec::new(),
                origin: Some(Origin::Variable(name.into())),
                message: format!(
                    "it sets nothing: prefix and levels are parted by two underscores; name it `{meant}`, \
                     or unset it"
                ),
            })
        })
    }
}

/// `LANEKEEPER__CAP` for `LANEKEEPER_CAP`, `LANEKEEPER__STORE__PATH` for `LANEKEEPER_STORE_PATH`.
fn meant_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("LANEKEEPER_")?;
    if rest.starts_with('_') {
        return None;
    }
    let flat = rest.to_lowercase().replace("__", "_");
    KEYS.iter().find_map(|key| {
        let path = match key.split_once(".NAME.") {
            None => (flat == key.replace('.', "_")).then(|| key.to_uppercase().replace('.', "__")),
            Some((_, key)) => flat
                .strip_prefix("sources_")
                .and_then(|rest| rest.strip_suffix(key)?.strip_suffix('_'))
                .filter(|source| !source.is_empty())
                .map(|source| format!("SOURCES__{source}__{key}").to_uppercase()),
        };
        path.map(|path| format!("{PREFIX}{path}"))
    })
}

fn nothing(message: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        keys: Vec::new(),
        origin: None,
        message,
    }])
}

/// `SOURCES__MY_ORDERS__TOPIC`: names of sources have `-` where a variable has `_`.
fn variable_path(name: &str) -> Result<Vec<String>, &'static str> {
    let mut path: Vec<String> = name.split("__").map(str::to_lowercase).collect();
    if path.iter().any(String::is_empty) {
        return Err(
            "it names no key: levels are parted by two underscores, as in LANEKEEPER__FAILURE__ATTEMPTS",
        );
    }
    if let [first, name, ..] = path.as_mut_slice()
        && first == "sources"
    {
        *name = name.replace('_', "-");
    }
    Ok(path)
}

fn set_argument(argument: &str) -> Result<(Vec<String>, &str), &'static str> {
    // A quoted part of a key may hold `=`.
    argument
        .match_indices('=')
        .find_map(|(index, _)| {
            let path = tree::parse_key(&argument[..index])?;
            Some((path, &argument[index + 1..]))
        })
        .ok_or("it is not of the form `key=value`, as in `--set failure.attempts=3`")
}

fn lay(
    table: &mut Table,
    problems: &mut Vec<ConfigError>,
    origin: Origin,
    set: Result<(Vec<String>, &str), &'static str>,
) {
    let problem = |keys: Vec<String>, message: String| ConfigError {
        keys,
        origin: Some(origin.clone()),
        message,
    };
    match set {
        Err(why) => problems.push(problem(Vec::new(), why.to_owned())),
        Ok((path, value)) => {
            let node: Node = tree::parse_value(value, &origin);
            if let Err(way) = table.set(&path, node) {
                let key = path.join(".");
                let message = format!("`{key}` cannot be set: `{way}` is not a table");
                problems.push(problem(vec![key], message));
            }
        }
    }
}
