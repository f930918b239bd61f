//! Where a mapping begins, and values that AWS refuses.

use crate::lint::{
    finding::Collected,
    model::{Kind, Mapping},
    rule::{Fact, Level, Rule},
    section::{Known, Property},
    value::Value,
};

pub(in crate::lint) static RULES: &[&Rule] = &[&LATEST, &MISSING, &REFUSED, &UNSUPPORTED, &WINDOW];

// K3.
static LATEST: Rule = Rule {
    id: "start-latest",
    level: Level::Error,
    title: "A mapping begins at TRIM_HORIZON or at a time",
    reason: "with LATEST, records that are written while the mapping is created or updated can be skipped: \
             both take minutes to take effect, and nothing says what was left out",
    fact: Fact::Lambda("services-kinesis-create"),
    mend: "set StartingPosition: TRIM_HORIZON, or AT_TIMESTAMP with a StartingPositionTimestamp. The position \
           of a mapping that is there cannot be changed: it takes a new one",
};

// The table of parameters, and what lambda-api saw.
static MISSING: Rule = Rule {
    id: "start-missing",
    level: Level::Error,
    title: "A mapping of a stream or of Kafka says where it begins",
    reason: "Lambda refuses it: 1 validation error detected: Value null at 'startingPosition'; and \
             AT_TIMESTAMP needs its time",
    fact: Fact::Seen(
        "a mapping without a starting position",
        "CreateEventSourceMapping",
    ),
    mend: "set StartingPosition: TRIM_HORIZON",
};

// The table of parameters; S1, S11, S13, F14, A1, A3, A6.
static REFUSED: Rule = Rule {
    id: "value-refused",
    level: Level::Error,
    title: "Values of a mapping are within the bounds of Lambda's API",
    reason: "Lambda refuses the mapping, and the deployment with it",
    fact: Fact::LambdaApi("CreateEventSourceMapping"),
    mend: "choose a value within the bounds",
};

// S13, S15, A4, A11, F14 and the members of the API.
static UNSUPPORTED: Rule = Rule {
    id: "not-for-this-source",
    level: Level::Error,
    title: "A mapping has no parameter that its source does not know",
    reason: "Lambda refuses a parameter that is for other sources (Unsupported … parameter for given event \
             source mapping type), or that excludes another one",
    fact: Fact::LambdaApi("CreateEventSourceMapping"),
    mend: "take it out",
};

// S1.
static WINDOW: Rule = Rule {
    id: "batch-without-window",
    level: Level::Error,
    title: "Batches of more than 10 messages from a queue have a batching window",
    reason: "Lambda refuses it: Maximum batch window in seconds must be greater than 0 if maximum batch size \
             is greater than 10",
    fact: Fact::Seen(
        "an SQS mapping of large batches",
        "CreateEventSourceMapping",
    ),
    mend: "set MaximumBatchingWindowInSeconds to 1 at least, or BatchSize to 10 at most",
};

/// What only streams have.
const OF_STREAMS: [&str; 2] = ["ParallelizationFactor", "TumblingWindowInSeconds"];
/// What streams and Kafka have.
const NOT_OF_QUEUES: [&str; 6] = [
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "StartingPosition",
    "StartingPositionTimestamp",
];

pub(super) fn check(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    if !mapping.kind.is_queue() {
        position(mapping, out);
    }
    unsupported(mapping, out);
    bounds(mapping, out);
    if mapping.kind.is_queue() {
        window(mapping, out);
    }
}

fn position(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let position = mapping.properties.get("StartingPosition");
    let time = mapping.properties.get("StartingPositionTimestamp");
    match position.text() {
        // Share groups of Kafka have none.
        Known::Absent if super::order::is_shared(mapping) => {}
        Known::Absent => out.found(&MISSING, &position.place, "nothing", "TRIM_HORIZON"),
        Known::Is(text) => match text.as_str() {
            "LATEST" => out.found(
                &LATEST,
                &position.place,
                position.shown(),
                "TRIM_HORIZON or AT_TIMESTAMP",
            ),
            "AT_TIMESTAMP" if !time.is_there() => out.found(
                &MISSING,
                &position.place,
                "AT_TIMESTAMP without StartingPositionTimestamp",
                "a time",
            ),
            "AT_TIMESTAMP" | "TRIM_HORIZON" => {}
            _ => out.found(
                &REFUSED,
                &position.place,
                format!("StartingPosition: {}", position.shown()),
                "TRIM_HORIZON, AT_TIMESTAMP or LATEST",
            ),
        },
        Known::Unknown => out.open(&LATEST, &position),
    }
}

fn unsupported(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let mut refuse = |name: &str, why: &str| {
        let property = mapping.properties.get(name);
        if property.is_there() {
            let found = format!("{name}: {}", property.shown());
            out.found(
                &UNSUPPORTED,
                &property.place,
                found,
                format!("nothing: {why}"),
            );
        }
    };
    if !mapping.kind.is_stream() {
        for name in OF_STREAMS {
            refuse(name, "it is for Kinesis and DynamoDB streams");
        }
    }
    if mapping.kind.is_queue() {
        for name in NOT_OF_QUEUES {
            refuse(name, "a queue has no such thing");
        }
        if mapping.is_provisioned() {
            refuse("ScalingConfig", "provisioned pollers exclude it");
        }
    } else {
        refuse("ScalingConfig", "it is for queues");
    }
    if mapping.kind.is_fifo() {
        let window = mapping.properties.get("MaximumBatchingWindowInSeconds");
        if window.number() != Known::Is(0) {
            refuse(
                "MaximumBatchingWindowInSeconds",
                "a FIFO queue has no batching window",
            );
        }
    }
}

fn window(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    if mapping.kind.is_fifo() {
        return;
    }
    let size = mapping.properties.get("BatchSize");
    let window = mapping.properties.get("MaximumBatchingWindowInSeconds");
    match (size.number().or(10), window.number().or(0)) {
        (Known::Is(many), Known::Is(none)) if many > 10 && none < 1 => {
            let found = format!("BatchSize: {} and no window", size.shown());
            let asked = "MaximumBatchingWindowInSeconds: 1 at least";
            out.found(&WINDOW, &size.place, found, asked);
        }
        (Known::Is(many), Known::Unknown) if many > 10 => out.open(&WINDOW, &window),
        (Known::Is(_) | Known::Unknown | Known::Absent, _) => {}
    }
}

/// A parameter and what Lambda takes.
type Bound = (&'static str, i64, i64);

fn bounds(mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let batch: i64 = if mapping.kind.is_fifo() { 10 } else { 10_000 };
    let properties = &mapping.properties;
    let all: [Bound; 6] = [
        ("BatchSize", 1, batch),
        ("MaximumBatchingWindowInSeconds", 0, 300),
        ("ParallelizationFactor", 1, 10),
        ("MaximumRetryAttempts", -1, 10_000),
        ("MaximumRecordAgeInSeconds", -1, 604_800),
        ("TumblingWindowInSeconds", 0, 900),
    ];
    for (name, least, most) in all {
        let property = properties.get(name);
        within(&property, name, least, most, out);
        if name == "MaximumRecordAgeInSeconds"
            && let Known::Is(0..60) = property.number()
        {
            let found = format!("{name}: {}", property.shown());
            out.found(&REFUSED, &property.place, found, "-1, or 60 to 604800");
        }
    }
    let scaling = properties
        .section("ScalingConfig")
        .get("MaximumConcurrency");
    within(&scaling, "MaximumConcurrency", 2, 1_000, out);
    let pollers = properties.section("ProvisionedPollerConfig");
    let (least, minimum, maximum) = match mapping.kind {
        // Pages of AWS name 2,000 and 10,000 as the most.
        Kind::Queue { .. } => (2, 200, 10_000),
        Kind::Msk
        | Kind::SelfManaged
        | Kind::Kinesis { .. }
        | Kind::Dynamodb
        | Kind::Other
        | Kind::Unknown => (1, 200, 2_000),
    };
    within(
        &pollers.get("MinimumPollers"),
        "MinimumPollers",
        least,
        minimum,
        out,
    );
    within(
        &pollers.get("MaximumPollers"),
        "MaximumPollers",
        least,
        maximum,
        out,
    );
    let types = properties.get("FunctionResponseTypes");
    let is_other = match &types.found.value {
        Value::Absent | Value::Map(_) | Value::Resource { .. } | Value::Unknown { .. } => false,
        Value::Text(text) => text != "ReportBatchItemFailures",
        Value::List(items) => {
            let other = |text: &str| text != "ReportBatchItemFailures";
            let is_other = { items.iter() }
                .any(|item| matches!(&item.value, Value::Text(text) if other(text)));
            items.len() > 1 || is_other
        }
    };
    if is_other {
        let found = format!("FunctionResponseTypes: {}", types.shown());
        out.found(
            &REFUSED,
            &types.place,
            found,
            "[ReportBatchItemFailures] alone",
        );
    }
}

fn within(property: &Property<'_>, name: &str, least: i64, most: i64, out: &mut Collected) {
    let is_text = matches!(property.found.value, Value::Text(_));
    match property.number() {
        Known::Is(number) if (least..=most).contains(&number) => {}
        Known::Absent => {}
        Known::Unknown if !is_text => out.open(&REFUSED, property),
        Known::Is(_) | Known::Unknown => {
            let found = format!("{name}: {}", property.shown());
            out.found(
                &REFUSED,
                &property.place,
                found,
                format!("{least} to {most}"),
            );
        }
    }
}
