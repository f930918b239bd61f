//! The rules themselves, by what they are about.

use super::{
    finding::Collected,
    model::{Kind, Mapping, Model},
    rule::Rule,
    section::{Known, Property},
    settings::Setting,
    value::Value,
};
use crate::config::duration_text;
use std::{fmt, time::Duration};

pub(super) mod answers;
pub(super) mod concurrency;
pub(super) mod limits;
pub(super) mod order;
pub(super) mod own;
pub(super) mod queue;
pub(super) mod start;
pub(super) mod time;

/// Holds all rules against what a template comes to in one world.
pub(super) fn all(model: &Model<'_, '_>, out: &mut Collected) {
    for mapping in &model.mappings {
        // Nothing is known here of MQ and DocumentDB.
        if mapping.kind == Kind::Other {
            continue;
        }
        if mapping.kind == Kind::Unknown {
            let what = format!("what kind of source `{}` is", mapping.source.found.shown());
            out.unknown(&mapping.source.place, &what);
            continue;
        }
        if mapping.function.is_none()
            && let Some(name) = &mapping.function_name
        {
            let shown = name.found.shown();
            let what = format!("the function `{shown}`, which is not in this template");
            out.unknown(&name.place, &what);
        }
        answers::check(model, mapping, out);
        limits::check(model, mapping, out);
        start::check(mapping, out);
        order::check(model, mapping, out);
        concurrency::check(model, mapping, out);
        queue::check(model, mapping, out);
        time::check(model, mapping, out);
        if let Some(settings) = model.settings(mapping) {
            own::source(settings, mapping, out);
        }
    }
    for function in &model.functions {
        let of: Vec<&Mapping<'_, '_>> = { model.mappings.iter() }
            .filter(|mapping| mapping.kind != Kind::Other)
            .filter(|mapping| model.function(mapping).is_some_and(|f| f.id == function.id))
            .collect();
        if !of.is_empty() {
            concurrency::function(function, &of, out);
            own::settings(function, out);
        }
    }
    order::among(model, out);
}

impl Mapping<'_, '_> {
    /// Whether the mapping heeds partial answers.
    fn reports(&self) -> Known<bool> {
        let is_it = |text: &str| text == "ReportBatchItemFailures";
        match self.properties.get("FunctionResponseTypes").found.value {
            Value::Absent => Known::Is(false),
            Value::Text(text) => Known::Is(is_it(&text)),
            Value::List(items) => {
                let texts: Vec<String> = items.iter().map(super::value::Found::shown).collect();
                let known = items
                    .iter()
                    .all(|item| matches!(item.value, Value::Text(_)));
                match texts.iter().any(|text| is_it(text)) {
                    true => Known::Is(true),
                    false if known => Known::Is(false),
                    false => Known::Unknown,
                }
            }
            Value::Map(_) | Value::Resource { .. } | Value::Unknown { .. } => Known::Unknown,
        }
    }

    fn is_provisioned(&self) -> bool {
        self.properties.get("ProvisionedPollerConfig").is_there()
    }

    /// Its destination for what is given up.
    fn destination(&self) -> Property<'_> {
        let destinations = self.properties.section("DestinationConfig");
        destinations.section("OnFailure").get("Destination")
    }
}

/// A setting that would decide, and that the template does not hold.
fn open_setting<T>(out: &mut Collected, rule: &'static Rule, key: &str, setting: &Setting<T>) {
    let what = match &setting.expression {
        Some(expression) => format!("the setting `{key}`, `{expression}`"),
        None => format!("the setting `{key}`"),
    };
    out.open_at(rule, &setting.place, &what);
}

/// A duration as a setting shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration_text(self.0))
    }
}

/// Seconds of a template.
fn span(seconds: i64) -> Span {
    Span(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
