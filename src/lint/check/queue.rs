//! Queues: how long a message is out, when it is given up, and what takes it from its group.

use super::{open_setting, span};
use crate::lint::{
    finding::Collected,
    model::{Function, Mapping, Model, Queue},
    rule::{Fact, Level, Rule},
    section::{Known, Property},
    value::Value,
};

pub(in crate::lint) static RULES: &[&Rule] = &[
    &VISIBILITY,
    &BELOW_TIMEOUT,
    &FEW_RECEIVES,
    &FIFO_RECEIVES,
    &FIFO_REDRIVE,
    &STANDARD_LETTERS,
    &LETTERS_EXPIRE,
    &DEDUPLICATION,
];

/// Messages that SQS takes into flight as often as this are out of order only after that.
const RECEIVES_MAX: i64 = 1_000;

// S4, F6.
static VISIBILITY: Rule = Rule {
    id: "visibility-short",
    level: Level::Warning,
    title: "A queue's visibility timeout is six times the function's timeout, and the batching window",
    reason: "a message that becomes visible while it waits or runs is delivered again, and in a FIFO queue its \
             delete then fails although the work is done",
    fact: Fact::Lambda("services-sqs-configure"),
    mend: "raise VisibilityTimeout, or lower the function's Timeout",
};

// S4.
static BELOW_TIMEOUT: Rule = Rule {
    id: "visibility-below-timeout",
    level: Level::Error,
    title: "A queue's visibility timeout is not below the function's timeout",
    reason: "Lambda refuses the mapping; where the function's timeout is raised later, messages run twice",
    fact: Fact::Lambda("services-sqs-configure"),
    mend: "raise VisibilityTimeout to six times the function's Timeout",
};

// S5, S9.
static FEW_RECEIVES: Rule = Rule {
    id: "receives-few",
    level: Level::Warning,
    title: "A message is received five times at least before it is given up",
    reason: "throttles and failures of others in the batch use up receives, too: with few of them messages go to \
             the dead letters that failed once or never ran",
    fact: Fact::Lambda("services-sqs-configure"),
    mend: "set maxReceiveCount to 5 at least",
};

// F19, F20.
static FIFO_RECEIVES: Rule = Rule {
    id: "fifo-receives-few",
    level: Level::Error,
    title: "A FIFO queue allows attempts × batch size receives",
    reason: "each return of a group's head is a receive of all messages behind it: messages that never failed \
             reach maxReceiveCount while others use up their attempts, and leave their group",
    fact: Fact::Lambda("services-sqs-errorhandling"),
    mend: "take RedrivePolicy out, or set maxReceiveCount to 1000; failure.then says what becomes of what fails \
           for good",
};

// F12.
static FIFO_REDRIVE: Rule = Rule {
    id: "fifo-redrive",
    level: Level::Error,
    title: "A FIFO queue whose order counts has no redrive policy",
    reason: "after a message has moved to the dead letters its group goes on with the next one at once: later \
             messages overtake it",
    fact: Fact::Sqs("sqs-dead-letter-queues"),
    mend: "take RedrivePolicy out, or set maxReceiveCount to 1000, and let the function stop or park the group",
};

// F12.
static STANDARD_LETTERS: Rule = Rule {
    id: "fifo-dead-letters-standard",
    level: Level::Error,
    title: "The dead-letter queue of a FIFO queue is a FIFO queue",
    reason: "SQS refuses any other",
    fact: Fact::Sqs("sqs-dead-letter-queues"),
    mend: "make the dead-letter queue FIFO, or take RedrivePolicy out",
};

// S17.
static LETTERS_EXPIRE: Rule = Rule {
    id: "dead-letters-expire",
    level: Level::Warning,
    title: "A dead-letter queue keeps messages longer than the queue that they come from",
    reason: "the age of a message of a standard queue counts on from when it was first sent: one that was moved \
             late is deleted soon after, before anybody has looked",
    fact: Fact::Sqs("sqs-dead-letter-queues"),
    mend: "set MessageRetentionPeriod of the dead-letter queue to 1209600 (14 days), and above that of the source",
};

// F7.
static DEDUPLICATION: Rule = Rule {
    id: "deduplicated-across-groups",
    level: Level::Warning,
    title: "Messages are deduplicated within their group",
    reason: "by default a deduplication id counts for the whole queue: the same body, or id, in another group \
             within five minutes is accepted and never delivered",
    fact: Fact::SqsApi("CreateQueue"),
    mend: "set DeduplicationScope: messageGroup with FifoThroughputLimit: perMessageGroupId, or let producers send \
           ids of their own that differ between groups",
};

pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    if !mapping.kind.is_queue() {
        return;
    }
    let Some(queue) = model.queue(&mapping.source) else {
        let shown = mapping.source.found.shown();
        let what = format!("the queue `{shown}`, which is not in this template");
        return out.unknown(&mapping.source.place, &what);
    };
    if let Some(function) = model.function(mapping) {
        visibility(queue, function, mapping, out);
    }
    if let Some(receives) = queue.receives_max() {
        redrive(model, queue, &receives, mapping, out);
    }
    deduplication(queue, out);
}

fn visibility(
    queue: &Queue<'_, '_>,
    function: &Function<'_, '_>,
    mapping: &Mapping<'_, '_>,
    out: &mut Collected,
) {
    let visibility = queue.properties.get("VisibilityTimeout");
    let timeout = function.timeout();
    let window = mapping.properties.get("MaximumBatchingWindowInSeconds");
    let shown = if visibility.is_there() {
        visibility.shown()
    } else {
        "30 (the default)".to_owned()
    };
    match (visibility.number().or(30), timeout.number().or(3)) {
        (Known::Is(visible), Known::Is(timeout)) if visible < timeout => out.found(
            &BELOW_TIMEOUT,
            &visibility.place,
            format!("VisibilityTimeout {shown}, and the function's Timeout {timeout}"),
            format!("{timeout} at least, better {}", timeout.saturating_mul(6)),
        ),
        (Known::Is(visible), Known::Is(timeout)) => {
            // A FIFO queue has none, and Lambda refuses one.
            let window_for = if mapping.kind.is_fifo() {
                Known::Is(0)
            } else {
                window.number().or(0)
            };
            let Known::Is(window) = window_for else {
                return out.open(&VISIBILITY, &window);
            };
            let needed = timeout.saturating_mul(6).saturating_add(window);
            if visible < needed {
                let found =
                    format!("VisibilityTimeout {shown}, and the function's Timeout {timeout}");
                let and = if window > 0 {
                    format!(" + {window}")
                } else {
                    String::new()
                };
                let asked = format!("{needed} at least (6 × {timeout}{and})");
                out.found(&VISIBILITY, &visibility.place, found, asked);
            }
        }
        (Known::Unknown | Known::Absent, _) => out.open(&VISIBILITY, &visibility),
        (Known::Is(_), _) => out.open(&VISIBILITY, &timeout),
    }
}

fn redrive(
    model: &Model<'_, '_>,
    queue: &Queue<'_, '_>,
    receives: &Property<'_>,
    mapping: &Mapping<'_, '_>,
    out: &mut Collected,
) {
    letters(model, queue, out);
    let count = receives.number();
    match queue.is_fifo() {
        Known::Is(true) => {}
        Known::Is(false) | Known::Absent => {
            return match count {
                Known::Is(few) if few < 5 => {
                    let found = format!("maxReceiveCount: {}", receives.shown());
                    out.found(&FEW_RECEIVES, &receives.place, found, "5 at least");
                }
                Known::Unknown => out.open(&FEW_RECEIVES, receives),
                Known::Is(_) | Known::Absent => {}
            };
        }
        Known::Unknown => return out.open(&FIFO_REDRIVE, &queue.properties.get("FifoQueue")),
    }
    let Known::Is(count) = count else {
        return out.open(&FIFO_REDRIVE, receives);
    };
    if count >= RECEIVES_MAX {
        return;
    }
    let found = format!("maxReceiveCount: {}", receives.shown());
    let attempts = { model.settings(mapping) }
        .map(|settings| settings.get("failure.attempts", |config| config.failure.attempts));
    let size = mapping.properties.get("BatchSize").number().or(10);
    if let (Some(attempts), Known::Is(size)) = (&attempts, size)
        && let Known::Is(each) = attempts.value
        && count < i64::from(each).saturating_mul(size)
    {
        let asked = format!(
            "no RedrivePolicy, or {RECEIVES_MAX}; {} at least (failure.attempts = {} × BatchSize {size})",
            i64::from(each).saturating_mul(size),
            attempts.shown,
        );
        return out.found(&FIFO_RECEIVES, &receives.place, found, asked);
    }
    if let Some(attempts) = attempts
        && attempts.value.is_unknown()
    {
        open_setting(out, &FIFO_RECEIVES, "failure.attempts", &attempts);
    }
    let asked = format!("no RedrivePolicy, or {RECEIVES_MAX}");
    out.found(&FIFO_REDRIVE, &receives.place, found, asked);
}

/// The queue's dead-letter queue, where it is in the template.
fn letters(model: &Model<'_, '_>, queue: &Queue<'_, '_>, out: &mut Collected) {
    let target = queue
        .properties
        .section("RedrivePolicy")
        .get("deadLetterTargetArn");
    let fifo = queue.is_fifo();
    let letters_fifo = model.is_fifo(&target);
    if fifo == Known::Is(true) && letters_fifo == Known::Is(false) {
        let found = format!("{}, a standard queue", target.shown());
        out.found(&STANDARD_LETTERS, &target.place, found, "a FIFO queue");
        return;
    }
    let Some(letters) = model.queue(&target) else {
        return;
    };
    if fifo != Known::Is(false) {
        return;
    }
    let (kept, source) = (letters.retention(), queue.retention());
    match (
        kept.number().or(DEFAULT_RETENTION),
        source.number().or(DEFAULT_RETENTION),
    ) {
        (Known::Is(kept_for), Known::Is(source_for)) if kept_for <= source_for => {
            let found = format!(
                "{} in `{}`, as long as it was there before",
                span(kept_for),
                letters.id
            );
            let found = if kept_for < source_for {
                format!("{} in `{}`", span(kept_for), letters.id)
            } else {
                found
            };
            let asked = format!("more than {}, that of `{}`", span(source_for), queue.id);
            out.found(&LETTERS_EXPIRE, &kept.place, found, asked);
        }
        (Known::Is(_), Known::Is(_)) => {}
        (Known::Unknown | Known::Absent, _) => out.open(&LETTERS_EXPIRE, &kept),
        (Known::Is(_), _) => out.open(&LETTERS_EXPIRE, &source),
    }
}

/// Seconds: four days.
pub(super) const DEFAULT_RETENTION: i64 = 345_600;

fn deduplication(queue: &Queue<'_, '_>, out: &mut Collected) {
    if queue.is_fifo() != Known::Is(true) {
        return;
    }
    let scope = queue.properties.get("DeduplicationScope");
    let within_groups = matches!(&scope.found.value, Value::Text(text) if text == "messageGroup");
    if within_groups {
        return;
    }
    match scope.text() {
        Known::Unknown => out.open(&DEDUPLICATION, &scope),
        Known::Absent | Known::Is(_) => {
            let by_content = queue.properties.get("ContentBasedDeduplication").flag();
            if by_content == Known::Is(true) {
                let found = "ContentBasedDeduplication over the whole queue";
                out.found(
                    &DEDUPLICATION,
                    &scope.place,
                    found,
                    "DeduplicationScope: messageGroup",
                );
            }
        }
    }
}
