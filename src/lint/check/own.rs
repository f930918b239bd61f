//! lanekeeper's own settings, and what is said to this lint.

use crate::lint::{
    finding::Collected,
    model::Function,
    rule::{Fact, Level, Rule},
};

pub(in crate::lint) static RULES: &[&Rule] = &[&SETTINGS, &IGNORE];

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

/// What the configuration says of what the environment sets.
pub(super) fn settings(function: &Function<'_, '_>, out: &mut Collected) {
    let Some(settings) = &function.settings else {
        return;
    };
    for (place, message) in &settings.problems {
        out.found(&SETTINGS, place, message.as_str(), "what the message names");
    }
}
