//! Whether mapping and function mean the same by an answer.

use super::open_setting;
use crate::lint::{
    finding::Collected,
    model::{Mapping, Model},
    rule::{Fact, Level, Rule},
    section::Known,
};

pub(in crate::lint) static RULES: &[&Rule] = &[&NOT_HONOURED, &NOT_DECLARED, &WHOLE_BATCH];

// K21, S6.
static NOT_HONOURED: Rule = Rule {
    id: "answers-not-honoured",
    level: Level::Error,
    title: "A function that answers with unfinished records needs a mapping that heeds it",
    reason: "without ReportBatchItemFailures the mapping takes a partial answer for success: all records \
             that it names are lost",
    fact: Fact::Lambda("services-kinesis-batchfailurereporting"),
    mend: "set FunctionResponseTypes: [ReportBatchItemFailures]; for Kafka with ProvisionedPollerConfig. \
           Or set lambda.reports_failures = false",
};

// K21, P5.
static NOT_DECLARED: Rule = Rule {
    id: "answers-not-declared",
    level: Level::Warning,
    title: "A function behind a mapping that heeds partial answers gives them",
    reason: "with lambda.reports_failures = false the invocation fails as a whole although the mapping would \
             take the unfinished records alone: everything of the batch comes again",
    fact: Fact::Ours("lambda.md", "what-it-does"),
    mend: "set lambda.reports_failures = true (LANEKEEPER__LAMBDA__REPORTS_FAILURES)",
};

// K14, S7, A2.
static WHOLE_BATCH: Rule = Rule {
    id: "whole-batch-fails",
    level: Level::Warning,
    title: "A mapping heeds which records of a batch have failed",
    reason: "without ReportBatchItemFailures one failed record makes all of its batch come again, finished \
             ones included; from a queue with a redrive policy good messages end among the dead letters",
    fact: Fact::Lambda("services-sqs-errorhandling"),
    mend: "set FunctionResponseTypes: [ReportBatchItemFailures] and let the function answer so \
           (lambda.reports_failures = true); for Kafka it needs ProvisionedPollerConfig",
};

pub(super) fn check(model: &Model<'_, '_>, mapping: &Mapping<'_, '_>, out: &mut Collected) {
    let types = mapping.properties.get("FunctionResponseTypes");
    let reports = mapping.reports();
    let declared = { model.settings(mapping) }
        .map(|settings| settings.get("lambda.reports_failures", |c| c.lambda.reports_failures));
    match (reports, declared) {
        (Known::Unknown | Known::Absent, _) => out.open(&NOT_HONOURED, &types),
        (Known::Is(false), Some(declared)) if declared.value == Known::Is(true) => out.found(
            &NOT_HONOURED,
            &types.place,
            types.shown(),
            "ReportBatchItemFailures, as lambda.reports_failures = true says",
        ),
        (Known::Is(false), declared) => {
            if let Some(declared) = declared
                && declared.value.is_unknown()
            {
                open_setting(out, &NOT_HONOURED, "lambda.reports_failures", &declared);
            }
            out.found(
                &WHOLE_BATCH,
                &types.place,
                types.shown(),
                "ReportBatchItemFailures",
            );
        }
        (Known::Is(true), Some(declared)) => match declared.value {
            Known::Is(true) => {}
            Known::Is(false) => out.found(
                &NOT_DECLARED,
                &declared.place,
                format!("lambda.reports_failures = {}", declared.shown),
                "true, as the mapping has ReportBatchItemFailures",
            ),
            Known::Absent | Known::Unknown => {
                open_setting(out, &NOT_DECLARED, "lambda.reports_failures", &declared);
            }
        },
        (Known::Is(true), None) => {}
    }
}
