//! Reads the whole table, `[order]`, `[failure]`, `[store]`, `[handler]`, `[lambda]` and `[metrics]`.

use super::{
    Config, ConfigError, ConfigErrors, DeadLetterConfig, FailureConfig, HandlerConfig, HandlerKind,
    LOCAL_FILE, LambdaConfig, SourceConfig, SourceKind, StoreConfig, StoreKind, check, kafka,
    read::{self, Reader, Section},
    secret, source,
    tree::Table,
};
use crate::record::{LaneOrder, NoKey, OrderBy};
use partitions::{Stops, Then};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Reads and checks. `problems` are those of the layers' own.
pub(super) fn config(
    table: &Table,
    problems: Vec<ConfigError>,
    base: &Path,
) -> Result<Config, ConfigErrors> {
    let (config, problems) = checked(table, problems, base, check::problems);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigErrors(problems))
    }
}

/// Reads and checks what there is, for a program that is built otherwise.
#[cfg(feature = "cli")]
pub(super) fn draft(
    table: &Table,
    problems: Vec<ConfigError>,
    base: &Path,
) -> (Config, Vec<ConfigError>) {
    checked(table, problems, base, check::contradictions)
}

fn checked(
    table: &Table,
    problems: Vec<ConfigError>,
    base: &Path,
    check: fn(&Config) -> Vec<ConfigError>,
) -> (Config, Vec<ConfigError>) {
    let reader = Reader::default();
    let mut config = read_config(&reader, table, base);
    let (found, origins) = reader.finish();
    config.origins = origins;
    // A value that could not be read stands as its default: nothing is concluded from it.
    let bad: Vec<&String> = found.iter().flat_map(|problem| &problem.keys).collect();
    let drawn: Vec<ConfigError> = check(&config)
        .into_iter()
        .filter(|problem| !problem.keys.iter().any(|key| concerns(&bad, key)))
        .collect();
    let mut problems = problems;
    problems.extend(found);
    problems.extend(drawn);
    // What has no place (nothing was written) comes first.
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    (config, problems)
}

/// Whether a key, a table that it is in, or something in it is among the bad ones.
fn concerns(bad: &[&String], key: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    bad.iter().any(|bad| within(bad, key) || within(key, bad))
}

pub(super) fn read_config(reader: &Reader, table: &Table, base: &Path) -> Config {
    let mut root = Section::root(reader, table);
    let app = root.required(
        "app",
        "a name for what is remembered, such as \"billing\"",
        read::name(64, "`A-Z`, `a-z`, `0-9`, `.`, `_`, `-`", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
        }),
    );
    let cap = root.required(
        "cap",
        "how many handler calls may be in flight, such as 3",
        read::count(check::CAP),
    );
    let mut config = Config::new(&app.unwrap_or_default(), cap.unwrap_or(1));
    config.memory = root.get("memory", config.memory, read::size(check::MEMORY));
    config.drain = root.get("drain", config.drain, read::duration(check::DURATION));
    config.sources = sources(reader, root.section("sources"), &config.app, base);
    config.order = order(root.section("order"), config.order);
    let path = local_path(&config.sources, base);
    config.failure = failure(root.section("failure"), &path, base);
    config.store = store(root.section("store"), path, base);
    config.handler = handler(root.section("handler"), base);
    config.lambda = lambda(root.section("lambda"));
    config.metrics = metrics(root.section("metrics"));
    root.finish("");
    config
}

fn sources(reader: &Reader, section: Section<'_>, app: &str, base: &Path) -> Vec<SourceConfig> {
    let mut sources = Vec::new();
    for (name, section) in section.named_sections() {
        if !check::is_source_name(&name) {
            let key = format!("sources.{name}");
            let message = format!(
                "`{key}` is no name for a source: expected 1 to 64 characters of `a-z`, `0-9`, `-`"
            );
            reader.problem(&key, section.origin(), message);
        }
        sources.extend(source::source(&name, section, app, base));
    }
    sources
}

/// The file of the first local source: the store's and the dead letters' default.
fn local_path(sources: &[SourceConfig], base: &Path) -> PathBuf {
    let first = sources.iter().find_map(|source| match &source.kind {
        SourceKind::Local { path, .. } => Some(path.clone()),
        SourceKind::Kafka { .. }
        | SourceKind::Kinesis { .. }
        | SourceKind::DynamodbStreams { .. }
        | SourceKind::Sqs { .. } => None,
    });
    first.unwrap_or_else(|| base.join(LOCAL_FILE))
}

fn order(mut section: Section<'_>, default: LaneOrder) -> LaneOrder {
    const BY: &[(&str, OrderBy)] = &[("key", OrderBy::Key), ("partition", OrderBy::Partition)];
    const NO_KEY: &[(&str, NoKey)] = &[
        ("partition", NoKey::Partition),
        ("each", NoKey::Each),
        ("refuse", NoKey::Refuse),
    ];
    let order = LaneOrder {
        by: section.get("by", default.by, read::choice(BY)),
        no_key: section.get("no_key", default.no_key, read::choice(NO_KEY)),
    };
    section.finish("");
    order
}

fn failure(mut section: Section<'_>, path: &Path, base: &Path) -> FailureConfig {
    const THEN: &[(&str, Then)] = &[
        ("stop", Then::Stop),
        ("park", Then::Park),
        ("dead-letter", Then::DeadLetter),
    ];
    const STOPS: &[(&str, Stops)] = &[("lane", Stops::Lane), ("partition", Stops::Partition)];
    let default = FailureConfig::default();
    let failure = FailureConfig {
        attempts: section.get("attempts", default.attempts, read::count(check::ATTEMPTS)),
        backoff_min: section.get(
            "backoff_min",
            default.backoff_min,
            read::duration(check::DURATION),
        ),
        backoff_max: section.get(
            "backoff_max",
            default.backoff_max,
            read::duration(check::DURATION),
        ),
        timeout: section.get("timeout", default.timeout, read::duration(check::DURATION)),
        settle: section.get("settle", default.settle, |node| {
            if read::text(node).as_deref() == Ok("auto") {
                return Ok(None);
            }
            read::duration(check::SETTLE)(node)
                .map(Some)
                .map_err(|expected| format!("`auto`, or {expected}"))
        }),
        then: section.get("then", default.then, read::choice(THEN)),
        stops: section.get("stops", default.stops, read::choice(STOPS)),
        park_max: section.get("park_max", default.park_max, read::count(check::PARK_MAX)),
        dead_letter: section
            .optional_section("dead_letter")
            .and_then(|section| dead_letter(section, path, base)),
    };
    section.finish("");
    failure
}

fn dead_letter(mut section: Section<'_>, path: &Path, base: &Path) -> Option<DeadLetterConfig> {
    const TYPES: &[(&str, &str)] = &[("local", "local"), ("kafka", "kafka"), ("sqs", "sqs")];
    let what = "one of `local`, `kafka`, `sqs`";
    let kind = section.required("type", what, read::choice(TYPES))?;
    let topic = "the topic to publish to";
    let dead_letter = match kind {
        "local" => {
            let path = section.get("path", path.to_owned(), read::path(base));
            section
                .required("topic", topic, source::topic)
                .map(|topic| DeadLetterConfig::Local { path, topic })
        }
        "kafka" => kafka::dead_letter(&mut section, base),
        _ => section
            .required("queue_url", "the queue to publish to", url)
            .map(|queue_url| DeadLetterConfig::Sqs { queue_url }),
    };
    section.finish(&format!(" of a dead-letter target of type \"{kind}\""));
    dead_letter
}

fn store(mut section: Section<'_>, path: PathBuf, base: &Path) -> StoreConfig {
    const TYPES: &[(&str, &str)] = &[("local", "local"), ("dynamodb", "dynamodb")];
    let default = StoreConfig::default();
    let kind = section.get("type", "local", read::choice(TYPES));
    let store = StoreConfig {
        kind: match kind {
            "local" => StoreKind::Local {
                path: section.get("path", path, read::path(base)),
            },
            _ => StoreKind::Dynamodb {
                table: section.get("table", "lanekeeper".to_owned(), read::text),
            },
        },
        flush_interval: section.get(
            "flush_interval",
            default.flush_interval,
            read::duration(check::FLUSH_INTERVAL),
        ),
        unflushed_max: section.get(
            "unflushed_max",
            default.unflushed_max,
            read::count(check::UNFLUSHED_MAX),
        ),
    };
    section.finish(&format!(" of a store of type \"{kind}\""));
    store
}

fn handler(mut section: Section<'_>, base: &Path) -> HandlerConfig {
    const TYPES: &[(&str, &str)] = &[("exec", "exec"), ("http", "http")];
    let records_per_call = section.get("records_per_call", 1, read::count(check::RECORDS_PER_CALL));
    // With a Rust handler there is no type.
    let kind = if ["command", "url", "secret"]
        .iter()
        .any(|key| section.has(key))
    {
        section.required("type", "one of `exec`, `http`", read::choice(TYPES))
    } else {
        section.optional("type", read::choice(TYPES))
    };
    let kind_of_handler = match kind {
        None => None,
        Some("exec") => section
            .required(
                "command",
                "program and arguments, such as [\"python3\", \"worker.py\"]",
                read::texts,
            )
            .map(|command| HandlerKind::Exec {
                command,
                directory: base.to_owned(),
            }),
        Some(_) => {
            let secret = section.optional_secret("secret", secret::secret(base));
            section
                .required_secret("url", "where to POST to", url)
                .map(|url| HandlerKind::Http { url, secret })
        }
    };
    match kind {
        Some(kind) => section.finish(&format!(" of a handler of type \"{kind}\"")),
        // Which keys are wrong is not known without a type.
        None if section.has("type") || section.has("command") || section.has("url") => {}
        None => section.finish(" of a handler without `type`"),
    }
    HandlerConfig {
        kind: kind_of_handler,
        records_per_call,
    }
}

fn url(node: &super::tree::Node) -> Result<String, String> {
    let url = read::text(node)?;
    if check::is_url(&url) {
        Ok(url)
    } else {
        Err(check::URL_FORM.to_owned())
    }
}

fn lambda(mut section: Section<'_>) -> LambdaConfig {
    let default = LambdaConfig::default();
    let lambda = LambdaConfig {
        concurrency: section.get("concurrency", default.concurrency, read::count(check::CAP)),
        reports_failures: section.get("reports_failures", default.reports_failures, read::flag),
        margin: section.get("margin", default.margin, read::duration(check::SETTLE)),
        parallelization_factor: section
            .optional("parallelization_factor", read::count(check::FACTOR)),
        retention: section.get(
            "retention",
            default.retention,
            read::duration(check::RETENTION),
        ),
        metrics: section.get("metrics", default.metrics, read::flag),
    };
    section.finish("");
    lambda
}

fn metrics(mut section: Section<'_>) -> Option<SocketAddr> {
    let listen = section.optional("listen", |node| {
        read::text(node)?
            .parse()
            .map_err(|_| "an address with a port, such as \"127.0.0.1:9464\"".to_owned())
    });
    section.finish("");
    listen
}
