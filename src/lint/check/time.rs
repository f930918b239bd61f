//! Time: whether a try fits, how long is remembered, and who is woken before records are lost.

use super::{Span, open_setting, queue, span};
use crate::lint::{
    finding::Collected,
    model::{Function, Kind, Mapping, Model},
    rule::{Fact, Level, Rule},
    section::{Known, Property, Section},
    settings::Settings,
};
use std::time::Duration;

pub(in crate::lint) static RULES: &[&Rule] = &[
    &SHORT,
    &KAFKA,
    &REMEMBERED,
    &AGE_ALARM,
    &LATE_ALARM,
    &THROTTLES_ALARM,
];

// protocols, Lambda: the deadline guard.
static SHORT: Rule = Rule {
    id: "timeout-short",
    level: Level::Error,
    title: "One try fits into an invocation",
    reason: "nothing starts that could not end lambda.margin before the invocation's deadline, with \
             failure.settle for what a target may still do: with less time no record ever runs. With an HTTP \
             handler the timeout has to be more than twice failure.timeout",
    fact: Fact::Ours("lambda.md", "what-it-does"),
    mend: "raise the function's Timeout, or lower failure.timeout",
};

// A1.
static KAFKA: Rule = Rule {
    id: "kafka-timeout",
    level: Level::Error,
    title: "A function behind Kafka has 14 minutes at most",
    reason: "Lambda's Kafka mappings support functions with a timeout of up to 14 minutes",
    fact: Fact::Lambda("with-msk-configure"),
    mend: "set Timeout to 840 at most",
};

// protocols, Lambda: marks expire a day after retention.
static REMEMBERED: Rule = Rule {
    id: "forgotten-before-retention",
    level: Level::Error,
    title: "What is done is remembered as long as the source may deliver it again",
    reason: "marks expire a day after lambda.retention: a record that the source delivers after that runs again, \
             and a released lane forgets which of its records have run",
    fact: Fact::Ours("configuration.md", "lambda-lambda"),
    mend: "set lambda.retention to the source's retention",
};

// K14, K36.
static AGE_ALARM: Rule = Rule {
    id: "iterator-age-alarm-missing",
    level: Level::Warning,
    title: "Somebody is woken while a stream's records grow old",
    reason: "one record that keeps failing holds its shard until records expire, a week with defaults; nothing \
             but the IteratorAge metric says so",
    fact: Fact::Lambda("kinesis-on-failure-destination"),
    mend: "add an AWS::CloudWatch::Alarm on AWS/Lambda IteratorAge of the function, above half of the stream's \
           retention; or ignore this rule, naming where the alarm is",
};

// K36.
static LATE_ALARM: Rule = Rule {
    id: "iterator-age-alarm-late",
    level: Level::Warning,
    title: "The alarm comes at half of the retention",
    reason: "above half of the retention records are about to be lost: an alarm that comes later leaves no time \
             to decide",
    fact: Fact::Kinesis("troubleshooting-consumers"),
    mend: "set Threshold to half of the stream's retention, in milliseconds, or less",
};

// C6, S9.
static THROTTLES_ALARM: Rule = Rule {
    id: "throttles-alarm-missing",
    level: Level::Warning,
    title: "Somebody is woken when a function with reserved concurrency is throttled",
    reason: "a throttle is neither an invocation nor an error: no other alarm sees it, while receives of a queue \
             count and records of a stream grow old",
    fact: Fact::Lambda("monitoring-metrics-types"),
    mend: "add an AWS::CloudWatch::Alarm on AWS/Lambda Throttles of the function; or ignore this rule, naming \
           where the alarm is",
};

pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let Some(function) = model.function(mapping) else {
        return;
    };
    if mapping.kind.is_kafka() {
        let timeout = function.timeout();
        match timeout.number() {
            Known::Is(long) if long > 840 => {
                out.found(&KAFKA, &timeout.place, timeout.shown(), "840 at most");
            }
            Known::Unknown => out.open(&KAFKA, &timeout),
            Known::Is(_) | Known::Absent => {}
        }
    }
    if let Some(settings) = &function.settings {
        short(function, settings, out);
        remembered(model, mapping, settings, out);
    }
    if mapping.kind.is_stream() {
        age_alarm(model, mapping, function, out);
    }
    let reserved = function.reserved();
    if reserved.is_there() && !watched(model, function, "Throttles", &mapping.source) {
        let found = "reserved concurrency, and no alarm on Throttles in this template";
        out.found(&THROTTLES_ALARM, &reserved.place, found, "an alarm");
    }
}

/// Whether one try fits.
fn short(function: &Function<'_, '_>, settings: &Settings, out: &mut Collected) {
    let timeout = function.timeout();
    let Known::Is(given) = timeout.number().or(3) else {
        return out.open(&SHORT, &timeout);
    };
    let try_ = settings.get("failure.timeout", |config| Span(config.failure.timeout));
    let margin = settings.get("lambda.margin", |config| Span(config.lambda.margin));
    let settle = settings.get("failure.settle", |config| {
        Settle(config.failure.settle.map(Span))
    });
    let Known::Is(Span(one)) = try_.value else {
        return open_setting(out, &SHORT, "failure.timeout", &try_);
    };
    let margin_known = margin
        .value
        .is()
        .map_or(Duration::ZERO, |Span(margin)| margin);
    let after = match (&settle.value, settings.posts()) {
        (Known::Is(Settle(Some(Span(after)))), _) => Some(*after),
        (Known::Is(Settle(None)), Known::Is(posts)) => {
            Some(if posts { one } else { Duration::ZERO })
        }
        (Known::Is(Settle(None)) | Known::Unknown | Known::Absent, _) => None,
    };
    let needed = one + margin_known + after.unwrap_or_default();
    let Span(given_for) = span(given);
    if given_for <= needed {
        let settle = match after {
            Some(after) if !after.is_zero() => format!(" + {} to settle", Span(after)),
            Some(_) | None => String::new(),
        };
        let asked = format!(
            "more than {} (failure.timeout {}{settle} + margin {})",
            Span(needed),
            try_.shown,
            Span(margin_known)
        );
        out.found(&SHORT, &timeout.place, format!("Timeout {given}"), asked);
    } else if after.is_none() && given_for <= needed + one {
        open_setting(out, &SHORT, "failure.settle", &settle);
    }
}

struct Settle(Option<Span>);

impl std::fmt::Display for Settle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("auto"),
            Some(span) => span.fmt(f),
        }
    }
}

/// How long the source of a mapping keeps a record, as the template makes it, and where that stands.
fn retention<'m>(model: &'m Model<'_, '_>, mapping: &'m Mapping<'_, '_>) -> Known<Span> {
    let of = |seconds: Known<i64>| match seconds {
        Known::Is(seconds) => Known::Is(span(seconds)),
        Known::Absent => Known::Absent,
        Known::Unknown => Known::Unknown,
    };
    match &mapping.kind {
        Kind::Kinesis { .. } => model
            .stream(&mapping.source)
            .map_or(Known::Unknown, |stream| match stream.retention() {
                Known::Is(hours) => Known::Is(span(hours.saturating_mul(3_600))),
                Known::Absent | Known::Unknown => Known::Unknown,
            }),
        Kind::Dynamodb => Known::Is(span(24 * 3_600)),
        Kind::Queue { .. } => model
            .queue(&mapping.source)
            .map_or(Known::Unknown, |queue| {
                of(queue.retention().number().or(queue::DEFAULT_RETENTION))
            }),
        Kind::Msk | Kind::SelfManaged | Kind::Other | Kind::Unknown => Known::Unknown,
    }
}

fn remembered(
    model: &Model<'_, '_>,
    mapping: &Mapping<'_, '_>,
    settings: &Settings,
    out: &mut Collected,
) {
    let said = settings.get("lambda.retention", |config| Span(config.lambda.retention));
    match (retention(model, mapping), &said.value) {
        (Known::Is(kept), Known::Is(said_is)) if *said_is < kept => out.found(
            &REMEMBERED,
            &said.place,
            format!("lambda.retention = {}", said.shown),
            format!("{kept}, as {} keeps records", mapping.kind.name()),
        ),
        (Known::Is(_), Known::Is(_)) => {}
        (_, Known::Unknown | Known::Absent) => {
            open_setting(out, &REMEMBERED, "lambda.retention", &said);
        }
        // Somebody has said it, who could look.
        (Known::Unknown | Known::Absent, Known::Is(_)) if said.expression.is_some() => {}
        (Known::Unknown | Known::Absent, Known::Is(_)) => {
            let shown = mapping.source.found.shown();
            let what = format!("how long `{shown}` keeps records");
            out.open_at(&REMEMBERED, &mapping.source.place, &what);
        }
    }
}

/// The alarms on a metric of a function, or of the stream that it reads.
fn watching<'m, 'w, 't>(
    model: &'m Model<'w, 't>,
    function: &Function<'_, '_>,
    metric: &str,
    source: &Property<'_>,
) -> Vec<&'m Section<'w, 't>> {
    let name = function.properties.get("FunctionName");
    let is_meant = |dimensions: Vec<Section<'_, '_>>| {
        dimensions.is_empty()
            || dimensions.iter().any(|dimension| {
                let value = dimension.get("Value");
                let resource = value.found.resource();
                resource == Some(function.id)
                    || (resource.is_some() && resource == source.found.resource())
                    || (name.is_there() && value.found.shown() == name.found.shown())
                    || source
                        .found
                        .shown()
                        .ends_with(&format!("/{}", value.found.shown()))
            })
    };
    let of = |section: &Section<'_, '_>| {
        let name = section.get("MetricName").text().is();
        name.is_some_and(|name| name == metric || (metric == "IteratorAge" && name == STREAM_AGE))
            && is_meant(section.items("Dimensions"))
    };
    let alarms = model.alarms.iter().filter(|alarm| {
        let stats = alarm.items("Metrics");
        let mut stats =
            { stats.iter() }.map(|metric| metric.section("MetricStat").section("Metric"));
        of(alarm) || stats.any(|metric| of(&metric))
    });
    alarms.collect()
}

/// The same of a stream, for all of its consumers that are not on fan-out.
const STREAM_AGE: &str = "GetRecords.IteratorAgeMilliseconds";

fn watched(
    model: &Model<'_, '_>,
    function: &Function<'_, '_>,
    metric: &str,
    source: &Property<'_>,
) -> bool {
    !watching(model, function, metric, source).is_empty()
}

fn age_alarm(
    model: &Model<'_, '_>,
    mapping: &Mapping<'_, '_>,
    function: &Function<'_, '_>,
    out: &mut Collected,
) {
    let alarms = watching(model, function, "IteratorAge", &mapping.source);
    let Some(first) = alarms.first() else {
        let place = &mapping.properties.place;
        let found = "no alarm on IteratorAge in this template";
        return out.found(&AGE_ALARM, place, found, "one above half of the retention");
    };
    let half = retention(model, mapping)
        .is()
        .map(|Span(kept)| kept / 2)
        .or_else(|| {
            let settings = function.settings.as_ref()?;
            let said = settings.get("lambda.retention", |config| Span(config.lambda.retention));
            said.expression.as_ref()?;
            said.value.is().map(|Span(said)| said / 2)
        });
    let thresholds = alarms.iter().map(|alarm| alarm.get("Threshold"));
    let least = thresholds
        .filter_map(|threshold| threshold.number().is())
        .min();
    let threshold = first.get("Threshold");
    match (least, half) {
        (Some(millis), Some(half)) => {
            let late = Span(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
            if late > Span(half) {
                let found = format!("Threshold {} ms ({late})", threshold.shown());
                let asked = format!("{} ms ({}) at most", half.as_millis(), Span(half));
                out.found(&LATE_ALARM, &threshold.place, found, asked);
            }
        }
        // By an expression over metrics.
        (None, _) if !threshold.is_there() => {}
        (None, _) => out.open(&LATE_ALARM, &threshold),
        (Some(_), None) => {
            let shown = mapping.source.found.shown();
            let what = format!("how long `{shown}` keeps records");
            out.open_at(&LATE_ALARM, &mapping.source.place, &what);
        }
    }
}
