//! Whether the cap holds, and nothing is fetched that cannot start.

use super::open_setting;
use crate::lint::{
    finding::Collected,
    model::{Function, Mapping, Model},
    rule::{Fact, Level, Rule},
    section::{Known, Property},
};

pub(in crate::lint) static RULES: &[&Rule] =
    &[&NOT_RESERVED, &DIFFERS, &ZERO, &NO_MAXIMUM, &OVER, &SERIAL];

// C4, C8.
static NOT_RESERVED: Rule = Rule {
    id: "reserved-concurrency-missing",
    level: Level::Error,
    title: "A function of lanekeeper has reserved concurrency",
    reason: "each invocation runs cap / lambda.concurrency calls at once: with more invocations than that the \
             target sees more than the cap",
    fact: Fact::Lambda("configuration-concurrency"),
    mend: "set ReservedConcurrentExecutions to lambda.concurrency",
};

// C4, C8.
static DIFFERS: Rule = Rule {
    id: "reserved-concurrency-differs",
    level: Level::Error,
    title: "lambda.concurrency is the function's reserved concurrency",
    reason: "the cap is divided by lambda.concurrency: with more invocations than that the target sees more than \
             the cap, with fewer a part of it is never used",
    fact: Fact::Lambda("configuration-concurrency"),
    mend: "let ReservedConcurrentExecutions and lambda.concurrency be the same, by one parameter for both",
};

// C4, S9.
static ZERO: Rule = Rule {
    id: "reserved-concurrency-zero",
    level: Level::Error,
    title: "A function behind a mapping may run",
    reason: "with reserved concurrency 0 every invocation is throttled: records of a stream grow old, and each \
             receive of a message counts although nothing ran",
    fact: Fact::Lambda("configuration-concurrency"),
    mend: "raise ReservedConcurrentExecutions; to pause, disable the mapping (Enabled: false), which keeps its place",
};

// S9, S11, S12, C7.
static NO_MAXIMUM: Rule = Rule {
    id: "maximum-concurrency-missing",
    level: Level::Error,
    title: "A queue's mapping fetches no more than the function may run",
    reason: "without MaximumConcurrency the pollers fetch more than the reserved concurrency lets start; a \
             throttled message goes back with its receive count raised, and can end among the dead letters \
             without ever having run",
    fact: Fact::Lambda("services-sqs-scaling"),
    mend: "set ScalingConfig.MaximumConcurrency, at most the function's reserved concurrency (less what its other \
           mappings may take)",
};

// S11.
static OVER: Rule = Rule {
    id: "concurrency-over-reserved",
    level: Level::Error,
    title: "The mappings of a function fetch no more than it may run",
    reason: "where MaximumConcurrency of all queues of a function exceeds its reserved concurrency, invocations \
             are throttled, and each throttled receive counts towards the redrive policy",
    fact: Fact::Lambda("services-sqs-scaling"),
    mend: "raise ReservedConcurrentExecutions to the sum, or lower MaximumConcurrency",
};

// F21, S11.
static SERIAL: Rule = Rule {
    id: "serial-with-redrive",
    level: Level::Error,
    title: "A queue behind a function that runs once at a time has no redrive policy",
    reason: "MaximumConcurrency cannot be below 2, so that reserved concurrency 1 throttles; throttled receives \
             count, and messages that never ran go to the dead letters",
    fact: Fact::Lambda("services-sqs-scaling"),
    mend: "take RedrivePolicy out of the queue, or let one message group hold all messages and reserve more",
};

/// What one mapping needs.
pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let Some(function) = model.function(mapping) else {
        return;
    };
    if !mapping.kind.is_queue() || mapping.is_provisioned() {
        return;
    }
    let reserved = function.reserved();
    let maximum = maximum(mapping);
    match reserved.number() {
        Known::Is(1) => {
            let queue = model.queue(&mapping.source);
            if let Some(receives) = queue.and_then(|queue| queue.receives_max()) {
                let found = "reserved concurrency 1, and a queue with a redrive policy";
                out.found(&SERIAL, &receives.place, found, "no RedrivePolicy");
            }
        }
        Known::Is(0) | Known::Absent => {}
        Known::Is(_) | Known::Unknown if !maximum.is_there() => {
            let found = format!("none, and reserved concurrency {}", reserved.shown());
            out.found(
                &NO_MAXIMUM,
                &maximum.place,
                found,
                "ScalingConfig.MaximumConcurrency",
            );
        }
        Known::Is(_) | Known::Unknown => {}
    }
}

fn maximum<'m>(mapping: &'m Mapping<'_, '_>) -> Property<'m> {
    mapping
        .properties
        .section("ScalingConfig")
        .get("MaximumConcurrency")
}

/// What a function needs of all its mappings.
pub(super) fn function(
    function: &Function<'_, '_>,
    mappings: &[&Mapping<'_, '_>],
    out: &mut Collected,
) {
    let reserved = function.reserved();
    if reserved.number() == Known::Is(0) {
        out.found(&ZERO, &reserved.place, reserved.shown(), "1 at least");
        return;
    }
    own(function, &reserved, out);
    sum(&reserved, mappings, out);
}

fn sum(reserved: &Property<'_>, mappings: &[&Mapping<'_, '_>], out: &mut Collected) {
    // Which is more than it may run, in any case.
    if reserved.number() == Known::Is(1) {
        return;
    }
    let maxima: Vec<Property<'_>> = { mappings.iter() }
        .filter(|mapping| mapping.kind.is_queue() && !mapping.is_provisioned())
        .map(|mapping| maximum(mapping))
        .filter(Property::is_there)
        .collect();
    let Some(last) = maxima.last() else {
        return;
    };
    // One expression on both sides is one number.
    if maxima.len() == 1 && last.found.shown() == reserved.found.shown() {
        return;
    }
    let all: Option<i64> = maxima.iter().map(|maximum| maximum.number().is()).sum();
    match (reserved.number(), all) {
        (Known::Is(most), Some(all)) if all > most => {
            let of = match maxima.len() {
                1 => String::new(),
                many => format!(", the sum of {many} mappings"),
            };
            let found = format!(
                "MaximumConcurrency {all}{of}, and reserved concurrency {}",
                reserved.shown()
            );
            out.found(&OVER, &last.place, found, format!("at most {most}"));
        }
        (Known::Absent, _) | (Known::Is(_), Some(_)) => {}
        (Known::Unknown, _) => out.open(&OVER, reserved),
        (Known::Is(_), None) => out.open(&OVER, last),
    }
}

/// Against lanekeeper's own settings.
fn own(function: &Function<'_, '_>, reserved: &Property<'_>, out: &mut Collected) {
    let Some(settings) = &function.settings else {
        return;
    };
    let said = settings.get("lambda.concurrency", |config| config.lambda.concurrency);
    match (reserved.number(), &said.value) {
        (Known::Absent, _) => {
            let asked = match &said.value {
                Known::Is(number) => format!("{number}, as lambda.concurrency says"),
                Known::Absent | Known::Unknown => "lambda.concurrency".to_owned(),
            };
            out.found(&NOT_RESERVED, &reserved.place, "none", asked);
        }
        (Known::Is(number), Known::Is(said_is)) if number != i64::from(*said_is) => out.found(
            &DIFFERS,
            &reserved.place,
            format!(
                "{} and lambda.concurrency = {}",
                reserved.shown(),
                said.shown
            ),
            "the same",
        ),
        (Known::Is(_), Known::Is(_)) => {}
        (Known::Is(_), Known::Unknown | Known::Absent) => {
            open_setting(out, &DIFFERS, "lambda.concurrency", &said);
        }
        (Known::Unknown, _) => {
            if said.expression.as_ref() != Some(&reserved.found.shown()) {
                out.open(&DIFFERS, reserved);
            }
        }
    }
}
