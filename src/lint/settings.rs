//! The settings of a function of lanekeeper: as its environment has them, over the file that is deployed
//! with it where that was given.

use super::{
    section::{Known, Place, Property, Section},
    value::Value,
};
use crate::config::{Config, ConfigError, Layers, Origin, SourceKind};
use std::{collections::BTreeMap, path::PathBuf};

const PREFIX: &str = "LANEKEEPER_";

/// What is deployed beside the template.
#[derive(Clone, Default, Debug)]
pub struct Deployed {
    /// The configuration file of all functions.
    pub file: Option<PathBuf>,
    /// `key=value`, over file and environment.
    pub set: Vec<String>,
}

impl Deployed {
    /// The layers without any environment.
    pub(crate) fn layers(&self) -> Layers {
        Layers {
            file: self.file.clone(),
            environment: Vec::new(),
            set: self.set.clone(),
        }
    }

    /// Whether anything is.
    pub(crate) fn is_given(&self) -> bool {
        self.file.is_some() || !self.set.is_empty()
    }
}

/// Settings of one function.
#[derive(Debug)]
pub(super) struct Settings {
    config: Config,
    /// What is wrong with them, with the variable's place.
    pub(super) problems: Vec<(Place, String)>,
    /// Where the environment stands.
    pub(super) place: Place,
    /// Variables by the keys that they set.
    variables: BTreeMap<String, Variable>,
    /// Whether what is not written is known to be the default.
    complete: bool,
}

#[derive(Debug)]
struct Variable {
    place: Place,
    /// As the template has it.
    shown: String,
    known: bool,
    /// A resource of the template.
    is_resource: bool,
}

/// What names a source in an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named {
    /// As the template or the file has it.
    pub(super) shown: String,
    /// A resource of the template, and not its name.
    pub(super) is_resource: bool,
    /// Whether it is all known, as a resource or as text.
    pub(super) known: bool,
}

/// A setting and where it stands.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) value: Known<T>,
    pub(super) place: Place,
    /// As people are shown it.
    pub(super) shown: String,
    /// As the template has it, to compare with another expression.
    pub(super) expression: Option<String>,
}

impl Settings {
    /// `None`: it is no function of lanekeeper, as far as can be seen.
    pub(super) fn of(environment: &Section<'_, '_>, deployed: &Deployed) -> Option<Self> {
        let names = environment.names();
        let ours: Vec<(&str, Property<'_>)> = { names.into_iter() }
            .filter(|name| name.starts_with(PREFIX))
            .map(|name| (name, environment.get(name)))
            .filter(|(_, property)| property.is_there())
            .collect();
        if ours.is_empty() && !deployed.is_given() {
            return None;
        }
        let mut variables = BTreeMap::new();
        let mut layers = deployed.layers();
        let mut has_file = false;
        let mut places = BTreeMap::new();
        for (name, property) in &ours {
            has_file |= *name == "LANEKEEPER_CONFIG";
            places.insert((*name).to_owned(), property.place.clone());
            let text = match &property.found.value {
                Value::Text(text) => Some(text),
                Value::Absent
                | Value::List(_)
                | Value::Map(_)
                | Value::Resource { .. }
                | Value::Unknown { .. } => None,
            };
            if let Some(key) = key(name) {
                let variable = Variable {
                    place: property.place.clone(),
                    shown: property.found.shown(),
                    known: text.is_some(),
                    is_resource: matches!(property.found.value, Value::Resource { .. }),
                };
                variables.insert(key, variable);
            }
            if let Some(text) = text {
                layers.environment.push(((*name).into(), text.into()));
            }
        }
        let is_source = |key: &String| key.starts_with("sources.") && key.ends_with(".type");
        let whole = variables.contains_key("app")
            && variables.contains_key("cap")
            && variables.keys().any(is_source);
        let mut settings = Self {
            config: Config::new("", 1),
            problems: Vec::new(),
            place: environment.place.clone(),
            complete: deployed.is_given() || (whole && !has_file),
            variables,
        };
        settings.read(&layers, &places);
        Some(settings)
    }

    fn read(&mut self, layers: &Layers, places: &BTreeMap<String, Place>) {
        let problems = match Config::draft(layers) {
            Ok((config, problems)) => {
                self.config = config;
                problems
            }
            // Nothing but the name of a file, or one that cannot be read, which whoever gave it is told.
            Err(_) => return,
        };
        let told = problems.iter().filter_map(|problem| {
            if !self.is_drawn_from_what_is_known(problem) {
                return None;
            }
            let place = match &problem.origin {
                Some(Origin::Variable(name)) => places.get(name.as_ref()),
                Some(Origin::File { .. } | Origin::Set(_) | Origin::Unwritten) | None => None,
            };
            let place = place.unwrap_or(&self.place).clone();
            Some((place, problem.message.clone()))
        });
        self.problems = told.collect();
    }

    /// Half of what is written may be in a file that is not here: what is missing, and what follows from
    /// defaults or from what is not known, says nothing.
    fn is_drawn_from_what_is_known(&self, problem: &ConfigError) -> bool {
        let is_known = |key: &String| match self.variables.get(key) {
            Some(variable) => variable.known,
            None => {
                let written = self.config.origin(key) != Origin::Unwritten;
                let is_within = |other: &String| {
                    other.starts_with(&format!("{key}.")) || key.starts_with(&format!("{other}."))
                };
                written || (self.complete && !self.variables.keys().any(is_within))
            }
        };
        // What concerns no key is a variable that is spelled wrongly.
        problem.origin.is_some() && problem.keys.iter().all(is_known)
    }

    /// A setting: its value, if it is known.
    pub(super) fn get<T>(&self, key: &str, read: impl FnOnce(&Config) -> T) -> Setting<T>
    where
        T: ToString,
    {
        let variable = self.variables.get(key);
        let written = self.config.origin(key) != Origin::Unwritten;
        let is_known = match variable {
            Some(variable) => variable.known && written,
            None => written || self.complete,
        };
        let place = variable.map_or(&self.place, |variable| &variable.place);
        let value = read(&self.config);
        let shown = match variable {
            _ if !is_known => "not known".to_owned(),
            Some(_) => value.to_string(),
            None if written => format!("{} ({})", value.to_string(), self.config.origin(key)),
            None => format!("{} (the default)", value.to_string()),
        };
        Setting {
            value: if is_known {
                Known::Is(value)
            } else {
                Known::Unknown
            },
            place: place.clone(),
            shown,
            expression: variable.map(|variable| variable.shown.clone()),
        }
    }

    /// The ARNs of all sources; `None`: some may be elsewhere.
    pub(super) fn arns(&self) -> Option<Vec<Named>> {
        let is_arn = |key: &str| key.starts_with("sources.") && key.ends_with(".arn");
        let variables = { self.variables.iter() }.filter(|(key, _)| is_arn(key));
        let mut named: Vec<Named> = variables
            .map(|(_, variable)| Named {
                shown: stream(&variable.shown),
                is_resource: variable.is_resource,
                known: variable.known || variable.is_resource,
            })
            .collect();
        named.extend(self.config.sources.iter().filter_map(|source| {
            let arn = match &source.kind {
                SourceKind::Kinesis { arn } | SourceKind::DynamodbStreams { arn } => arn,
                SourceKind::Sqs { arn, .. } => arn.as_ref()?,
                SourceKind::Local { .. } | SourceKind::Kafka { .. } => return None,
            };
            Some(Named {
                shown: stream(arn),
                is_resource: false,
                known: true,
            })
        }));
        self.complete.then_some(named)
    }

    /// The topics of all Kafka sources, patterns among them; `None`: some may be elsewhere.
    pub(super) fn topics(&self) -> Option<Vec<String>> {
        let is_open = |(key, variable): (&String, &Variable)| {
            key.starts_with("sources.") && key.ends_with(".topics") && !variable.known
        };
        if !self.complete || self.variables.iter().any(is_open) {
            return None;
        }
        let topics = self
            .config
            .sources
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::Kafka { topics, .. } => Some(topics.clone()),
                SourceKind::Local { .. }
                | SourceKind::Kinesis { .. }
                | SourceKind::DynamodbStreams { .. }
                | SourceKind::Sqs { .. } => None,
            });
        Some(topics.flatten().collect())
    }

    /// Whether an HTTP endpoint handles the records.
    pub(super) fn posts(&self) -> Known<bool> {
        match self.variables.get("handler.type") {
            Some(variable) if variable.known => Known::Is(variable.shown == "http"),
            Some(_) => Known::Unknown,
            None if self.complete => Known::Is(matches!(
                self.config.handler.kind,
                Some(crate::config::HandlerKind::Http { .. })
            )),
            None => Known::Unknown,
        }
    }
}

/// A consumer's ARN names its stream, too.
pub(super) fn stream(arn: &str) -> String {
    arn.split("/consumer/").next().unwrap_or(arn).to_owned()
}

/// The key that a variable sets.
fn key(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix("LANEKEEPER__")?;
    let mut levels: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    if let [first, name, ..] = levels.as_mut_slice()
        && first == "sources"
    {
        *name = name.replace('_', "-");
    }
    Some(levels.join("."))
}
