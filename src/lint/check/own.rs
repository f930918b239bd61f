//! lanekeeper's own settings, and what is said to this lint.

use super::open_setting;
use crate::{
    config::{Config, DeadLetterConfig, StoreKind},
    lint::{
        finding::Collected,
        model::{Function, Kind, Mapping},
        rule::{Fact, Level, Rule},
        section::Known,
        settings::{Settings, stream},
        value::Value,
    },
};

pub(in crate::lint) static RULES: &[&Rule] = &[&SETTINGS, &NO_SOURCE, &IGNORE];

// protocols, Lambda: cap below concurrency, and all that the configuration refuses.
static SETTINGS: Rule = Rule {
    id: "settings-refused",
    level: Level::Error,
    title: "The function starts with the settings of its environment",
    reason: "the configuration is refused when the function starts: no record runs, and all come again until \
             they expire",
    fact: Fact::Ours("configuration.md", "lambda-lambda"),
    mend: "change the variable",
};

static NO_SOURCE: Rule = Rule {
    id: "source-not-configured",
    level: Level::Error,
    title: "What a mapping reads is a source of the function's settings",
    reason: "an event is told to be of a source by its ARN, for Kafka by its topics: one of another source fails, \
             and all of it comes again until it expires",
    fact: Fact::Ours("lambda.md", "build"),
    mend: "name it: sources.NAME.arn (LANEKEEPER__SOURCES__NAME__ARN), for Kafka sources.NAME.topics",
};

// Nothing is left out in silence.
pub(in crate::lint) static IGNORE: Rule = Rule {
    id: "ignore-unsound",
    level: Level::Warning,
    title: "What is ignored has a name and a reason",
    reason: "a rule that is ignored without a reason, or by a name that there is not, hides what nobody has \
             decided about; it is told all the same",
    fact: Fact::Ours("lint.md", "what-you-decide-otherwise"),
    mend: "write Metadata: {lanekeeper: {ignore: [RULE], reason: \"…\"}} on the resource that the finding names",
};

/// What the configuration says of what the environment sets, and what a function cannot be.
pub(super) fn settings(function: &Function<'_, '_>, out: &mut Collected) {
    let Some(settings) = &function.settings else {
        return;
    };
    for (place, message) in &settings.problems {
        out.found(&SETTINGS, place, message.as_str(), "what the message names");
    }
    let store = settings.get("store.type", |config| store(config).to_owned());
    match &store.value {
        Known::Is(kind) if kind != "dynamodb" => out.found(
            &SETTINGS,
            &store.place,
            format!("store.type = {}", store.shown),
            "dynamodb: a function has no disk of its own",
        ),
        Known::Is(_) => {}
        Known::Unknown | Known::Absent => open_setting(out, &SETTINGS, "store.type", &store),
    }
    let letters = settings.get("failure.dead_letter.type", |config| {
        letters(config).to_owned()
    });
    if let Known::Is(kind) = &letters.value
        && !matches!(kind.as_str(), "none" | "sqs")
    {
        let found = format!("failure.dead_letter.type = {}", letters.shown);
        out.found(
            &SETTINGS,
            &letters.place,
            found,
            "sqs: a function has no other target",
        );
    }
}

fn store(config: &Config) -> &'static str {
    match &config.store.kind {
        StoreKind::Local { .. } => "local",
        StoreKind::Dynamodb { .. } => "dynamodb",
    }
}

fn letters(config: &Config) -> &'static str {
    match &config.failure.dead_letter {
        None => "none",
        Some(DeadLetterConfig::Local { .. }) => "local",
        Some(DeadLetterConfig::Kafka { .. }) => "kafka",
        Some(DeadLetterConfig::Sqs { .. }) => "sqs",
    }
}

/// Whether the function knows what the mapping brings.
pub(super) fn source(settings: &Settings, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    match &mapping.kind {
        Kind::Kinesis { .. } | Kind::Dynamodb | Kind::Queue { .. } => arn(settings, mapping, out),
        Kind::Msk | Kind::SelfManaged => topics(settings, mapping, out),
        Kind::Other | Kind::Unknown => {}
    }
}

fn arn(settings: &Settings, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let Some(named) = settings.arns() else {
        return;
    };
    let shown = stream(&mapping.source.found.shown());
    if named.iter().any(|named| named.shown == shown) {
        return;
    }
    // A resource and a text may be the same; so may be what is not known.
    let is_resource = match &mapping.source.found.value {
        Value::Resource { .. } => Some(true),
        Value::Text(_) => Some(false),
        Value::Absent | Value::List(_) | Value::Map(_) | Value::Unknown { .. } => None,
    };
    let others = named
        .iter()
        .all(|named| named.known && Some(named.is_resource) == is_resource);
    let through_consumer = matches!(mapping.kind, Kind::Kinesis { fan_out: true });
    if is_resource.is_none() || !others || (through_consumer && is_resource == Some(true)) {
        return out.open(&NO_SOURCE, &mapping.source);
    }
    let known: Vec<&str> = named.iter().map(|named| named.shown.as_str()).collect();
    let asked = one_of(&known);
    out.found(&NO_SOURCE, &mapping.source.place, shown, asked);
}

fn topics(settings: &Settings, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let topics = mapping.properties.get("Topics");
    let (Some(named), Value::List(items)) = (settings.topics(), &topics.found.value) else {
        return;
    };
    if named.iter().any(|topic| topic.starts_with('^')) {
        return;
    }
    for item in items {
        if let Value::Text(topic) = &item.value
            && !named.contains(topic)
        {
            let known: Vec<&str> = named.iter().map(String::as_str).collect();
            let asked = one_of(&known);
            out.found(&NO_SOURCE, &topics.place, topic.as_str(), asked);
        }
    }
}

fn one_of(known: &[&str]) -> String {
    match known {
        [] => "a source that is configured: there is none".to_owned(),
        [one] => (*one).to_owned(),
        known => format!("one of {}", known.join(", ")),
    }
}
