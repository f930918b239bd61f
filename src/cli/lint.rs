//! `lanekeeper lint`: holds templates of CloudFormation and SAM against the facts about event source
//! mappings.

use super::{
    Common,
    exit::{CommandError, Exit},
    output,
};
use crate::{
    config::Config,
    lint::{self, BYTES_MAX, Deployed, Linted},
};
use clap::{Args, ValueEnum};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper lint template.yaml                    what breaks which rule, why, and how to mend it
  lanekeeper lint -c lanekeeper.toml deploy/*.yaml the settings that are deployed with the functions
  lanekeeper lint --format sarif template.yaml > lint.sarif
  lanekeeper lint --rules                          every rule with its reason

It exits 0 when nothing is found, 5 when something is, 2 when a template cannot be read. What cannot be \
known before deployment is told, to be checked by hand, and is no finding.")]
pub(crate) struct LintArguments {
    /// Templates of CloudFormation or SAM, YAML or JSON; `-` reads standard input.
    #[arg(required_unless_present = "rules")]
    templates: Vec<PathBuf>,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON document: --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// List the rules, or explain the one that is named, instead.
    #[arg(long, value_name = "RULE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    rules: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One document, `"format": 1`.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

pub(crate) fn run(common: &Common, arguments: &LintArguments) -> Result<Exit, CommandError> {
    if let Some(name) = &arguments.rules {
        return rules(name, arguments.json).map(|()| Exit::Fine);
    }
    let deployed = Deployed {
        file: common.config.clone(),
        set: common.set.clone(),
    };
    // A file that cannot be read would leave out half of the rules.
    if deployed.is_given() {
        Config::draft(&deployed.layers())?;
    }
    let mut linted = Vec::new();
    let mut unread = Vec::new();
    for path in &arguments.templates {
        let shown = path.display().to_string();
        match read(path).and_then(|text| {
            lint::lint(&text, &deployed).map_err(|error| format!("`{shown}`: {error}"))
        }) {
            Ok(report) => linted.push(Linted {
                path: shown,
                report,
            }),
            Err(error) => unread.push(error),
        }
    }
    let format = if arguments.json {
        Format::Json
    } else {
        arguments.format
    };
    match format {
        Format::Text if linted.is_empty() => {}
        Format::Text => output::data(&lint::text(&linted))?,
        Format::Json => output::json(&lint::json(&linted))?,
        Format::Sarif => output::json(&lint::sarif(&linted))?,
    }
    if !unread.is_empty() {
        return Err(CommandError::Usage(unread.join("\n")));
    }
    let found = linted.iter().any(|one| !one.report.findings.is_empty());
    Ok(if found { Exit::Found } else { Exit::Fine })
}

/// A template's text, as far as one is read.
fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot = |error: io::Error| format!("`{shown}` cannot be read: {error}");
    let mut bytes = Vec::new();
    // One byte more than is taken shows that there is more.
    let most = BYTES_MAX as u64 + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path)
            .map_err(cannot)?
            .take(most)
            .read_to_end(&mut bytes)
    }
    .map_err(cannot)?;
    if bytes.len() > BYTES_MAX {
        return Err(format!(
            "`{shown}` has more than {BYTES_MAX} bytes: nothing that large is a template (CloudFormation takes 1 MB)"
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("`{shown}` is not UTF-8: it is no template"))
}

/// The rules, or one of them.
fn rules(name: &str, json: bool) -> Result<(), CommandError> {
    let rules: Vec<&lint::Rule> = match (name, lint::rule(name)) {
        ("", _) => lint::rules().collect(),
        (_, Some(rule)) => vec![rule],
        (_, None) => {
            return Err(CommandError::Usage(format!(
                "`{name}` is no rule: `lanekeeper lint --rules` lists them"
            )));
        }
    };
    if json {
        let rules: Vec<_> = rules.into_iter().map(document).collect();
        return output::json(&serde_json::json!({"format": 1, "rules": rules}));
    }
    for rule in rules {
        output::data(&format!(
            "{} ({})\n  {}.\n  why    {}\n  fact   {} <{}>\n  mend   {}\n",
            rule.id,
            rule.level.name(),
            rule.title,
            rule.reason,
            rule.fact.name(),
            rule.fact.address(),
            rule.mend,
        ))?;
    }
    Ok(())
}

fn document(rule: &lint::Rule) -> serde_json::Value {
    serde_json::json!({
        "rule": rule.id,
        "level": rule.level.name(),
        "title": rule.title,
        "why": rule.reason,
        "fact": {"source": rule.fact.name(), "url": rule.fact.address()},
        "mend": rule.mend,
    })
}
