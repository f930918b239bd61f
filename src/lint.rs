//! Reads templates of CloudFormation and SAM, anybody's, and tells which facts about event source mappings
//! they go against.
//!
//! [`lint`] takes a template's text and gives a [`Report`]: what is broken, by which rule, where, and how to
//! mend it; what could not be known, since it is decided at deployment; and what the template itself says to
//! leave out. Each rule stands on a fact ([`Fact`]), and none is guessed: conditions are looked at both ways
//! ([`Finding::when`]), parameters by their defaults, and a value that nothing here says is [`Open`].
//!
//! Nothing is read but the text that is given, and the configuration file that is named with it.

use std::collections::BTreeSet;

mod check;
mod condition;
mod finding;
mod ignore;
mod model;
mod node;
mod report;
mod rule;
mod section;
mod settings;
mod template;
mod value;

pub use finding::{Finding, Ignored, Open, Report};
pub use node::Mark;
pub use report::{Linted, json, sarif, text};
pub use rule::{Fact, Level, Rule, groups, rule, rules};
pub use section::Place;
pub use settings::Deployed;
pub use template::{BYTES_MAX, TemplateError};

use {
    finding::Collected,
    model::{Kind, Model},
    template::Template,
};

/// Looks at one template.
///
/// # Errors
/// It cannot be read: neither YAML nor JSON, no template, too large or nested too deep.
pub fn lint(text: &str, deployed: &Deployed) -> Result<Report, TemplateError> {
    let template = Template::read(text)?;
    let relevant = model::relevant(&template);
    let worlds = condition::worlds(&template, &relevant);
    let mut collected = Collected::default();
    let mut mappings = BTreeSet::new();
    for (index, world) in worlds.all.iter().enumerate() {
        collected.enter(index);
        let model = Model::of(world, deployed);
        for mapping in &model.mappings {
            if mapping.kind != Kind::Other {
                mappings.insert(mapping.properties.place.clone());
            }
        }
        check::all(&model, &mut collected);
    }
    unexpanded(&template, &mut collected);
    one_way(&template, &worlds.one_way, &mut collected);
    let report = collected.finish(&worlds.all);
    Ok(Report {
        mappings: mappings.len(),
        ..ignore::without(&template, report)
    })
}

/// Loops and macros make resources that are not here.
fn unexpanded(template: &Template, collected: &mut Collected) {
    for entry in template.section("Resources") {
        if entry.key.starts_with("Fn::") {
            let place = Place {
                mark: entry.mark,
                resource: entry.key.clone(),
                path: String::new(),
            };
            let what = format!("what `{}` makes of resources", entry.key);
            collected.unknown(&place, &what);
        }
    }
}

fn one_way(template: &Template, conditions: &[String], collected: &mut Collected) {
    for condition in conditions {
        let mark = template
            .section("Conditions")
            .first()
            .map(|entry| entry.mark);
        let place = Place {
            mark: mark.unwrap_or(Mark { line: 1, column: 1 }),
            resource: "Conditions".to_owned(),
            path: String::new(),
        };
        let what = format!(
            "`{condition}`: there are too many conditions to look at each both ways, and it is by default"
        );
        collected.unknown(&place, &what);
    }
}
