//! What takes records out of their order, or out of the stream.

use super::open_setting;
use crate::{
    lint::{
        finding::Collected,
        model::{Kind, Mapping, Model},
        rule::{Fact, Level, Rule},
        section::{Known, Property},
        settings::{Setting, Settings},
        value::Value,
    },
    record::OrderBy,
};

pub(in crate::lint) static RULES: &[&Rule] = &[
    &FILTER,
    &SHARD_ORDER,
    &FACTOR,
    &NO_KEYS,
    &TUMBLING,
    &SHARED,
    &GROUP,
    &TWICE,
];

// K37, S14, A9.
static FILTER: Rule = Rule {
    id: "filter",
    level: Level::Warning,
    title: "Every record reaches the function",
    reason: "what a filter does not match is deleted from a queue, and passed over in a stream or a topic, \
             unseen and uncounted by the function; what is no JSON under a filter of its fields is dropped with \
             it (Kafka lets that through)",
    fact: Fact::Lambda("invocation-eventfiltering"),
    mend: "take FilterCriteria out and let the handler answer done for what it does not want; or ignore this \
           rule, with the reason, where that loss is wanted",
};

// K10.
static SHARD_ORDER: Rule = Rule {
    id: "factor-breaks-shard-order",
    level: Level::Error,
    title: "A shard that is in order as a whole has one batch out at a time",
    reason: "with a ParallelizationFactor above 1 batches of one shard run beside each other, and order holds \
             for each partition key only: not what order.by = \"partition\" asks for",
    fact: Fact::Lambda("with-kinesis"),
    mend: "set ParallelizationFactor: 1 and lambda.parallelization_factor = 1, or order.by = \"key\"",
};

// G5.
static FACTOR: Rule = Rule {
    id: "factor-differs",
    level: Level::Error,
    title: "lambda.parallelization_factor is the mapping's",
    reason: "by it the function knows whether records of one aggregate, or of one shard, may run beside each \
             other: a smaller one lets them overtake, a larger one refuses what would be in order",
    fact: Fact::Ours("configuration.md", "lambda-lambda"),
    mend: "let ParallelizationFactor and lambda.parallelization_factor be the same",
};

// K13.
static NO_KEYS: Rule = Rule {
    id: "stream-without-keys",
    level: Level::Error,
    title: "A stream places records by their partition keys",
    reason: "with RecordDistributionStrategy AUTO Kinesis ignores partition keys, and records of one key are in \
             several shards: there is no order of keys",
    fact: Fact::KinesisApi("CreateStream"),
    mend: "let the stream place records by partition key, or set order.by = \"partition\"",
};

// K31, K32.
static TUMBLING: Rule = Rule {
    id: "tumbling-window",
    level: Level::Warning,
    title: "No order hangs on a tumbling window",
    reason: "records that are retried within a window may be out of order, a window ends with its shard when \
             that is split or merged, and a final invocation that fails blocks the shard",
    fact: Fact::Lambda("services-kinesis-windows"),
    mend: "take TumblingWindowInSeconds out and keep the sum where the records are settled (effects of \
           lanekeeper are exact), or ignore this rule where order does not matter",
};

// A11.
static SHARED: Rule = Rule {
    id: "unordered-consumption",
    level: Level::Error,
    title: "A Kafka mapping reads partitions in order",
    reason: "ConsumptionMode Queue (a share group) hands records of one partition to several consumers at once, \
             in no order",
    fact: Fact::Lambda("polling-kafka-queue"),
    mend: "take ConsumptionMode out; it takes a new mapping",
};

// A5.
static GROUP: Rule = Rule {
    id: "group-shared",
    level: Level::Error,
    title: "Each Kafka mapping has a consumer group of its own",
    reason: "live consumers of one group split its partitions: each function gets a part of the records",
    fact: Fact::Lambda("kafka-consumer-group-id"),
    mend: "give each mapping its own ConsumerGroupId; it takes a new mapping",
};

// The table of parameters.
static TWICE: Rule = Rule {
    id: "mapping-twice",
    level: Level::Error,
    title: "One mapping leads from a stream to a function",
    reason: "Lambda refuses the second one (ResourceConflictException)",
    fact: Fact::Seen(
        "one stream and one function in two mappings",
        "CreateEventSourceMapping",
    ),
    mend: "remove one of them, or set ParallelizationFactor for more batches at once",
};

/// Where a share group of Kafka reads.
pub(super) fn is_shared(mapping: &Mapping<'_, '_>) -> bool {
    shared(mapping).is_some()
}

fn shared<'m>(mapping: &'m Mapping<'_, '_>) -> Option<Property<'m>> {
    let properties = &mapping.properties;
    let config = properties.section("SelfManagedKafkaEventSourceConfig");
    let modes = [
        config.get("ConsumptionMode"),
        properties.get("ConsumptionMode"),
    ];
    let is_queue = |mode: &Property<'_>| {
        let text = mode.text().is();
        text.is_some_and(|text| text.eq_ignore_ascii_case("queue"))
    };
    modes.into_iter().find(is_queue)
}

pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let filter = mapping.properties.get("FilterCriteria");
    let has_filters = match &filter.found.value {
        Value::Absent => false,
        Value::Map(node) => node.get("Filters").is_none_or(|f| !f.items().is_empty()),
        Value::Text(_) | Value::List(_) | Value::Resource { .. } | Value::Unknown { .. } => true,
    };
    if has_filters {
        let found = format!("FilterCriteria on {}", mapping.kind.name());
        out.found(&FILTER, &filter.place, found, "none");
    }
    if let Some(mode) = shared(mapping)
        && mapping.kind == Kind::SelfManaged
    {
        out.found(
            &SHARED,
            &mode.place,
            mode.shown(),
            "nothing: a group that reads in order",
        );
    }
    if !mapping.kind.is_stream() {
        return;
    }
    let window = mapping.properties.get("TumblingWindowInSeconds");
    match window.number() {
        Known::Is(seconds) if seconds > 0 => {
            out.found(&TUMBLING, &window.place, window.shown(), "0, or nothing");
        }
        Known::Unknown => out.open(&TUMBLING, &window),
        Known::Is(_) | Known::Absent => {}
    }
    factor(model, mapping, out);
    keys(model, mapping, out);
}

fn by(settings: &Settings) -> Setting<Word> {
    settings.get("order.by", |config| Word(config.order.by))
}

#[derive(PartialEq, Eq)]
struct Word(OrderBy);

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            OrderBy::Key => "key",
            OrderBy::Partition => "partition",
        })
    }
}

fn factor(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let factor = mapping.properties.get("ParallelizationFactor");
    let many = factor.number().or(1);
    let above_one = matches!(&many, Known::Is(many) if *many > 1);
    let settings = model.settings(mapping);
    // Lambda takes aggregates of the producer library apart with fan-out, and drops what is not of the shard.
    if let Kind::Kinesis { fan_out } = mapping.kind
        && (fan_out || (above_one && settings.is_none()))
    {
        let what = "whether producers aggregate records (KPL): with fan-out records of other shards are dropped, \
                    with a ParallelizationFactor above 1 inner keys that differ from the outer are out of order";
        out.unknown(&mapping.properties.place, what);
    }
    let Some(settings) = settings else {
        return;
    };
    let said = settings.get("lambda.parallelization_factor", |config| {
        Optional(config.lambda.parallelization_factor)
    });
    match (&many, &said.value) {
        // Not set means not known, which the function takes for the worst.
        (_, Known::Is(Optional(None)) | Known::Absent) => {}
        (Known::Is(many), Known::Is(Optional(Some(said_is)))) if *many != i64::from(*said_is) => {
            out.found(
                &FACTOR,
                &factor.place,
                format!(
                    "ParallelizationFactor: {many}, and lambda.parallelization_factor = {said_is}"
                ),
                "the same",
            );
        }
        (Known::Unknown | Known::Absent, Known::Is(_) | Known::Unknown)
        | (Known::Is(_), Known::Unknown) => {
            let same = said.expression.as_ref() == Some(&factor.found.shown());
            if !same && said.expression.is_some() {
                out.open(&FACTOR, &factor);
            }
        }
        (Known::Is(_), Known::Is(_)) => {}
    }
    let by = by(settings);
    match (above_one, &by.value) {
        (true, Known::Is(Word(OrderBy::Partition))) => out.found(
            &SHARD_ORDER,
            &factor.place,
            format!(
                "ParallelizationFactor: {} and order.by = partition",
                factor.shown()
            ),
            "ParallelizationFactor: 1",
        ),
        (true, Known::Unknown) => open_setting(out, &SHARD_ORDER, "order.by", &by),
        (_, Known::Is(_) | Known::Absent | Known::Unknown) => {}
    }
}

#[derive(PartialEq, Eq)]
struct Optional(Option<u32>);

impl std::fmt::Display for Optional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("not set"),
            Some(number) => write!(f, "{number}"),
        }
    }
}

fn keys(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let Some(stream) = model.stream(&mapping.source) else {
        return;
    };
    let properties = &stream.properties;
    let places = [
        properties.get("RecordDistributionStrategy"),
        properties
            .section("StreamModeDetails")
            .get("RecordDistributionStrategy"),
    ];
    let Some(auto) = { places.into_iter() }.find(|p| p.text() == Known::Is("AUTO".to_owned()))
    else {
        return;
    };
    let by = model.settings(mapping).map(by);
    if let Some(by) = &by {
        if by.value == Known::Is(Word(OrderBy::Partition)) {
            return;
        }
        if by.value.is_unknown() {
            return open_setting(out, &NO_KEYS, "order.by", by);
        }
    }
    out.found(
        &NO_KEYS,
        &auto.place,
        auto.shown(),
        "records placed by partition key",
    );
}

/// What several mappings do to each other.
pub(super) fn among(model: &Model<'_, '_>, out: &mut Collected) {
    for (index, mapping) in model.mappings.iter().enumerate() {
        for earlier in &model.mappings[..index] {
            let same_source = mapping.source.is_there()
                && mapping.source.found.shown() == earlier.source.found.shown();
            let same_function = mapping.function.is_some() && mapping.function == earlier.function;
            if mapping.kind.is_stream() && same_source && same_function {
                let found = format!("a second mapping of {}", mapping.source.shown());
                out.found(&TWICE, &mapping.source.place, found, "one");
            }
            if mapping.kind.is_kafka() && same_source {
                let (group, other) = (group(mapping), group(earlier));
                if group.is_there() && group.found.shown() == other.found.shown() {
                    out.found(&GROUP, &group.place, group.shown(), "a group of its own");
                }
            }
        }
    }
}

fn group<'m>(mapping: &'m Mapping<'_, '_>) -> Property<'m> {
    let properties = &mapping.properties;
    let configs = [
        "AmazonManagedKafkaEventSourceConfig",
        "SelfManagedKafkaEventSourceConfig",
    ];
    { configs.into_iter() }
        .map(|config| properties.section(config).get("ConsumerGroupId"))
        .find(Property::is_there)
        .unwrap_or_else(|| properties.get("ConsumerGroupId"))
}
