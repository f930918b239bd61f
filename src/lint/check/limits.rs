//! When a mapping gives records up, and where they go then.

use crate::lint::{
    finding::Collected,
    model::{Kind, Mapping, Model},
    node::Node,
    rule::{Fact, Level, Rule},
    section::{Known, Property},
    value::Value,
};

pub(in crate::lint) static RULES: &[&Rule] = &[
    &RETRIES,
    &AGE,
    &WITHOUT_TRACE,
    &FIFO_DESTINATION,
    &TEN_RETRIES,
    &BISECT,
    &ON_DEMAND,
    &REGISTRY,
];

// K16, K24, K15.
static RETRIES: Rule = Rule {
    id: "retries-limited",
    level: Level::Error,
    title: "The mapping of a function of lanekeeper retries without end",
    reason: "after MaximumRetryAttempts the mapping discards the records and goes on, also where the target \
             was sick for a while: they are lost to their lanes, whose later records run. lanekeeper counts \
             attempts itself, over invocations",
    fact: Fact::Lambda("kinesis-on-failure-destination"),
    mend: "leave MaximumRetryAttempts out or set it to -1; failure.attempts and failure.then say what becomes \
           of a record that keeps failing",
};

// K15, K26.
static AGE: Rule = Rule {
    id: "age-limited",
    level: Level::Error,
    title: "The mapping of a function of lanekeeper gives no record up for its age",
    reason: "a record above MaximumRecordAgeInSeconds is discarded, run or not: what waits behind a stopped \
             lane, a sick target or a throttle is lost, one record after another",
    fact: Fact::Lambda("kinesis-on-failure-destination"),
    mend: "leave MaximumRecordAgeInSeconds out or set it to -1",
};

// K16, K29.
static WITHOUT_TRACE: Rule = Rule {
    id: "given-up-without-trace",
    level: Level::Error,
    title: "What a mapping gives up goes to a destination",
    reason: "with limited retries or age, and no OnFailure destination, records are discarded and nothing \
             says which they were",
    fact: Fact::Lambda("kinesis-on-failure-destination"),
    mend: "set DestinationConfig.OnFailure.Destination to a standard SQS queue, a standard SNS topic or a \
           bucket, or take the limits out",
};

// K29 and the table of parameters.
static FIFO_DESTINATION: Rule = Rule {
    id: "destination-fifo",
    level: Level::Error,
    title: "An OnFailure destination is no FIFO queue and no FIFO topic",
    reason: "Lambda cannot deliver to a FIFO queue or topic: the delivery fails, and the records are gone \
             (DestinationDeliveryFailures, DroppedEventCount)",
    fact: Fact::Lambda("monitoring-metrics-types"),
    mend: "name a standard queue or topic, or a bucket",
};

// A6.
static TEN_RETRIES: Rule = Rule {
    id: "destination-limits-retries",
    level: Level::Error,
    title: "A Kafka mapping that retries without end has no OnFailure destination",
    reason: "unlimited retries together with a destination silently become ten retries; then the records are \
             given up",
    fact: Fact::Lambda("kafka-retry-configurations"),
    mend: "take DestinationConfig out; failure.then = \"park\" or \"dead-letter\" keeps what fails for good",
};

// K19, K20.
static BISECT: Rule = Rule {
    id: "bisect",
    level: Level::Warning,
    title: "No batch is split to find the record that fails",
    reason: "BisectBatchOnFunctionError runs the good records of a batch again, up to once for each halving, \
             to find what an answer by ReportBatchItemFailures names at once",
    fact: Fact::Lambda("kinesis-on-failure-destination"),
    mend: "set BisectBatchOnFunctionError: false, with ReportBatchItemFailures",
};

// A6.
static ON_DEMAND: Rule = Rule {
    id: "controls-need-provisioned",
    level: Level::Error,
    title: "Error controls of a Kafka mapping come with provisioned pollers",
    reason: "retries, age, bisecting and ReportBatchItemFailures are there in provisioned mode only: an \
             on-demand mapping has none of them, and takes a partial answer for success",
    fact: Fact::Lambda("kafka-retry-configurations"),
    mend: "set ProvisionedPollerConfig, or take these out and set lambda.reports_failures = false",
};

// A10.
static REGISTRY: Rule = Rule {
    id: "registry-without-destination",
    level: Level::Error,
    title: "A mapping with a schema registry has an OnFailure destination",
    reason: "a record whose schema is not found or that cannot be deserialised goes to the destination, and is \
             dropped where there is none",
    fact: Fact::Lambda("services-consume-kafka-events"),
    mend: "set DestinationConfig.OnFailure.Destination with a MaximumRetryAttempts of yours, or take \
           SchemaRegistryConfig out and decode in the handler",
};

const REGISTRIES: [&str; 2] = [
    "AmazonManagedKafkaEventSourceConfig",
    "SelfManagedKafkaEventSourceConfig",
];

pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let properties = &mapping.properties;
    let destination = mapping.destination();
    let retries = properties.get("MaximumRetryAttempts");
    if mapping.kind.is_queue() {
        return;
    }
    if mapping.kind.is_kafka() && !mapping.is_provisioned() {
        on_demand(mapping, out);
    } else {
        limits(model, mapping, out);
    }
    if mapping.kind.is_kafka() && destination.is_there() && retries.number().or(-1) == Known::Is(-1)
    {
        let found = format!("{} with {} retries", destination.shown(), retries.shown());
        out.found(&TEN_RETRIES, &destination.place, found, "none");
    }
    if is_fifo(model, &destination) {
        let asked = "a standard queue, a standard topic or a bucket";
        out.found(
            &FIFO_DESTINATION,
            &destination.place,
            destination.shown(),
            asked,
        );
    }
    let bisect = properties.get("BisectBatchOnFunctionError");
    match bisect.flag() {
        Known::Is(true) => out.found(&BISECT, &bisect.place, bisect.shown(), "false"),
        Known::Unknown => out.open(&BISECT, &bisect),
        Known::Absent | Known::Is(false) => {}
    }
    for name in REGISTRIES.into_iter().chain(["SchemaRegistryConfig"]) {
        let registry = match name {
            "SchemaRegistryConfig" => properties.get(name),
            _ => properties.section(name).get("SchemaRegistryConfig"),
        };
        if registry.is_there() && !destination.is_there() {
            let found = "SchemaRegistryConfig without DestinationConfig";
            out.found(
                &REGISTRY,
                &registry.place,
                found,
                "an OnFailure destination",
            );
        }
    }
}

fn limits(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let ours = model.settings(mapping).is_some();
    for (name, rule) in [
        ("MaximumRetryAttempts", &RETRIES),
        ("MaximumRecordAgeInSeconds", &AGE),
    ] {
        let limit = mapping.properties.get(name);
        match limit.number() {
            Known::Absent | Known::Is(-1) => {}
            Known::Unknown => out.open(rule, &limit),
            Known::Is(_) if ours => out.found(rule, &limit.place, limit.shown(), "-1, or nothing"),
            Known::Is(_) if !mapping.destination().is_there() => out.found(
                &WITHOUT_TRACE,
                &limit.place,
                format!("{name}: {} and no destination", limit.shown()),
                "DestinationConfig.OnFailure",
            ),
            Known::Is(_) => {}
        }
    }
}

fn on_demand(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    for name in [
        "FunctionResponseTypes",
        "MaximumRetryAttempts",
        "MaximumRecordAgeInSeconds",
        "BisectBatchOnFunctionError",
    ] {
        let control = mapping.properties.get(name);
        let is_default = control.number() == Known::Is(-1) || control.flag() == Known::Is(false);
        if control.is_there() && !is_default {
            let found = format!("{name}: {} and no ProvisionedPollerConfig", control.shown());
            out.found(&ON_DEMAND, &control.place, found, "ProvisionedPollerConfig");
        }
    }
}

/// By its name, or as the template makes it.
fn is_fifo(model: &Model<'_, '_>, destination: &Property<'_>) -> bool {
    if let Value::Resource { id, .. } = &destination.found.value {
        let resource = model.world.template.named("Resources", id);
        let properties = resource.and_then(|resource| resource.get("Properties"));
        let is = |name: &str| {
            let flag = properties
                .and_then(|properties| properties.get(name))
                .and_then(Node::text);
            flag.is_some_and(|flag| flag.eq_ignore_ascii_case("true"))
        };
        return is("FifoQueue") || is("FifoTopic");
    }
    mapping_name_is_fifo(destination)
}

fn mapping_name_is_fifo(destination: &Property<'_>) -> bool {
    destination.is_there() && destination.found.shown().ends_with(".fifo")
}

impl Kind {
    /// What people call it.
    pub(in crate::lint) fn name(&self) -> &'static str {
        match self {
            Self::Kinesis { .. } => "a Kinesis stream",
            Self::Dynamodb => "a stream of DynamoDB",
            Self::Queue {
                fifo: Known::Is(true),
            } => "a FIFO queue",
            Self::Queue { .. } => "a queue",
            Self::Msk | Self::SelfManaged => "Kafka",
            Self::Other | Self::Unknown => "a source",
        }
    }
}
