//! Bounds of values, contradictions between them, and what this build does not have.

use super::{
    BUILT, Config, ConfigError, DeadLetterConfig, HandlerKind, Origin, SourceKind, StoreKind,
    duration_text, size_text,
};
use crate::{record::OrderBy, source::pattern};
use partitions::Then;
use std::{ops::RangeInclusive, time::Duration};

mod kafka;
mod lambda;

pub(super) const CAP: RangeInclusive<u64> = 1..=1_000_000;
pub(super) const ATTEMPTS: RangeInclusive<u64> = 1..=1_000_000;
pub(super) const PARK_MAX: RangeInclusive<u64> = 1..=100_000_000;
pub(super) const UNFLUSHED_MAX: RangeInclusive<u64> = 1..=10_000_000;
pub(super) const RECORDS_PER_CALL: RangeInclusive<u64> = 1..=10_000;
/// Bytes: below this one batch of each of a few partitions does not fit.
pub(super) const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;
pub(super) const DURATION: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(24);
pub(super) const SETTLE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// `lambda.parallelization_factor`, as the API has it.
pub(super) const FACTOR: RangeInclusive<u64> = 1..=10;
/// `lambda.retention`: the longest is that of a Kinesis stream.
pub(super) const RETENTION: RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(365 * 24);
pub(super) const FLUSH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(1);

pub(super) const URL_FORM: &str = "a URL with `http://` or `https://` and a host, without user, password or spaces, such as \"https://example.org/records\"";

pub(super) fn is_source_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(sound)
}

pub(super) fn is_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = !url.chars().any(|c| c.is_whitespace() || c.is_control());
    !host.is_empty() && !host.contains('@') && plain
}

/// All that is wrong with the fields as they stand.
pub(super) fn problems(config: &Config) -> Vec<ConfigError> {
    let mut check = Check {
        config,
        problems: Vec::new(),
    };
    check.fields();
    check.build();
    check.problems
}

/// As [`problems`], whatever this build has.
#[cfg(feature = "cli")]
pub(super) fn contradictions(config: &Config) -> Vec<ConfigError> {
    let mut check = Check {
        config,
        problems: Vec::new(),
    };
    check.fields();
    check.problems
}

struct Check<'a> {
    config: &'a Config,
    problems: Vec<ConfigError>,
}

impl Check<'_> {
    fn fields(&mut self) {
        self.bounds();
        self.durations();
        self.order();
        self.dead_letters();
        self.sources();
        self.kafka();
        self.table();
        self.lambda();
    }

    /// The origin is that of the first key that somebody wrote.
    fn problem(&mut self, keys: &[&str], message: String) {
        let origins = keys.iter().map(|key| self.config.origin(key));
        let origin = { origins }.find(|origin| *origin != Origin::Unwritten);
        self.problems.push(ConfigError {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            origin,
            message,
        });
    }

    /// For messages: the other key of a contradiction, with its place.
    fn place(&self, key: &str) -> String {
        match self.config.origin(key) {
            Origin::Unwritten => "the default".to_owned(),
            origin @ (Origin::File { .. } | Origin::Variable(_) | Origin::Set(_)) => {
                origin.to_string()
            }
        }
    }

    fn bounds(&mut self) {
        let config = self.config;
        let failure = &config.failure;
        for (key, value, range) in [
            ("cap", u64::from(config.cap), CAP),
            ("failure.attempts", failure.attempts.into(), ATTEMPTS),
            ("failure.park_max", failure.park_max, PARK_MAX),
            (
                "store.unflushed_max",
                config.store.unflushed_max,
                UNFLUSHED_MAX,
            ),
            (
                "handler.records_per_call",
                config.handler.records_per_call.into(),
                RECORDS_PER_CALL,
            ),
            ("lambda.concurrency", config.lambda.concurrency.into(), CAP),
            (
                "lambda.parallelization_factor",
                config.lambda.parallelization_factor.unwrap_or(1).into(),
                FACTOR,
            ),
        ] {
            self.within(key, &value, &range, u64::to_string);
        }
        self.within("memory", &config.memory, &MEMORY, |bytes| size_text(*bytes));
        for (key, value, range) in [
            ("drain", config.drain, DURATION),
            ("failure.backoff_min", failure.backoff_min, DURATION),
            ("failure.backoff_max", failure.backoff_max, DURATION),
            ("failure.timeout", failure.timeout, DURATION),
            ("failure.settle", failure.settle.unwrap_or_default(), SETTLE),
            (
                "store.flush_interval",
                config.store.flush_interval,
                FLUSH_INTERVAL,
            ),
            ("lambda.margin", config.lambda.margin, SETTLE),
            ("lambda.retention", config.lambda.retention, RETENTION),
        ] {
            self.within(key, &value, &range, |d| duration_text(*d));
        }
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=64).contains(&config.app.len()) || !config.app.chars().all(sound) {
            let message = format!(
                "`app` is `{}`: expected 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`",
                config.app.escape_debug()
            );
            self.problem(&["app"], message);
        }
        for source in &config.sources {
            if !is_source_name(&source.name) {
                let key = format!("sources.{}", source.name);
                let message = format!(
                    "`{key}` is no name for a source: expected 1 to 64 characters of `a-z`, `0-9`, `-`"
                );
                self.problem(&[&key], message);
            }
        }
    }

    fn within<T: PartialOrd>(
        &mut self,
        key: &str,
        value: &T,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) {
        if !range.contains(value) {
            let message = format!(
                "`{key}` is `{}`: expected {} to {}",
                show(value),
                show(range.start()),
                show(range.end())
            );
            self.problem(&[key], message);
        }
    }

    fn durations(&mut self) {
        let config = self.config;
        let timeout = config.failure.timeout;
        if config.drain <= timeout {
            let message = format!(
                "`drain` is `{}` and `failure.timeout` is `{}` ({}): a drain must outlast a try, or it \
                 could not end in order; raise `drain` or lower `failure.timeout`",
                duration_text(config.drain),
                duration_text(timeout),
                self.place("failure.timeout"),
            );
            self.problem(&["drain", "failure.timeout"], message);
        }
        let (min, max) = (config.failure.backoff_min, config.failure.backoff_max);
        if min > max {
            let message = format!(
                "`failure.backoff_min` is `{}` and `failure.backoff_max` is `{}` ({}): the first wait \
                 cannot exceed the longest",
                duration_text(min),
                duration_text(max),
                self.place("failure.backoff_max"),
            );
            self.problem(&["failure.backoff_min", "failure.backoff_max"], message);
        }
    }

    fn order(&mut self) {
        if self.config.order.by != OrderBy::Partition {
            return;
        }
        if self.config.failure.then == Then::Park {
            let message = format!(
                "`failure.then` is `park` and `order.by` is `partition` ({}): parking would move the \
                 whole partition into the store; use `then = \"stop\"`, or order by key",
                self.place("order.by"),
            );
            self.problem(&["failure.then", "order.by"], message);
        }
        if self.config.origin("order.no_key") != Origin::Unwritten {
            let message = format!(
                "`order.no_key` has no effect when `order.by` is `partition` ({}): remove one of them",
                self.place("order.by"),
            );
            self.problem(&["order.no_key", "order.by"], message);
        }
    }

    fn dead_letters(&mut self) {
        let failure = &self.config.failure;
        let Some(target) = &failure.dead_letter else {
            if failure.then == Then::DeadLetter {
                let message = "`failure.then` is `dead-letter` and `failure.dead_letter` is missing: \
                    name a target, such as { type = \"local\", topic = \"orders.dead\" }";
                self.problem(&["failure.then", "failure.dead_letter"], message.to_owned());
            }
            return;
        };
        for source in &self.config.sources {
            let same = match (target, &source.kind) {
                (
                    DeadLetterConfig::Local { path, topic },
                    SourceKind::Local {
                        path: read,
                        topic: from,
                        ..
                    },
                ) => path == read && topic == from,
                (DeadLetterConfig::Kafka { topic, .. }, SourceKind::Kafka { topics, .. }) => {
                    pattern::name(topics, topic) && kafka::meet(self.config, source)
                }
                (
                    DeadLetterConfig::Sqs { queue_url },
                    SourceKind::Sqs {
                        queue_url: from, ..
                    },
                ) => queue_url == from,
                (
                    DeadLetterConfig::Local { .. }
                    | DeadLetterConfig::Kafka { .. }
                    | DeadLetterConfig::Sqs { .. },
                    _,
                ) => false,
            };
            if same {
                let key = format!("sources.{}", source.name);
                let message = format!(
                    "`failure.dead_letter` publishes to what `{key}` reads: failed records would come \
                     back for ever; name another target"
                );
                self.problem(&["failure.dead_letter.topic", &key], message);
            }
        }
    }

    fn sources(&mut self) {
        let sources = &self.config.sources;
        if sources.is_empty() {
            let message = "`sources` is missing: name at least one, such as `[sources.orders]` with \
                `type = \"local\"` and `topic = \"orders\"`";
            self.problem(&["sources"], message.to_owned());
        }
        for (index, source) in sources.iter().enumerate() {
            for earlier in &sources[..index] {
                let names = [
                    format!("sources.{}", source.name),
                    format!("sources.{}", earlier.name),
                ];
                let [this, other] = &names;
                if source.name == earlier.name {
                    let message = format!("`{this}` is there twice: give each source its own name");
                    self.problem(&[this], message);
                } else if let Some(shared) = shared(&source.kind, &earlier.kind) {
                    let message = format!(
                        "`{this}` and `{other}` ({}) both read {shared}: each record would be \
                         processed twice; remove one of them",
                        self.place(&format!("{other}.type")),
                    );
                    // The type's line stands for the table's.
                    let this = format!("{this}.type");
                    self.problem(&[&this, other], message);
                }
            }
        }
    }

    /// As DynamoDB takes it: a name, or an ARN for a table of another account.
    fn table(&mut self) {
        let StoreKind::Dynamodb { table } = &self.config.store.kind else {
            return;
        };
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_name = (3..=255).contains(&table.len()) && table.chars().all(sound);
        if !is_name && !table.starts_with("arn:") {
            let message = format!(
                "`store.table` is `{}`: expected 3 to 255 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`, or the ARN of a table",
                table.escape_debug()
            );
            self.problem(&["store.table"], message);
        }
    }

    fn build(&mut self) {
        let config = self.config;
        for source in &config.sources {
            let key = format!("sources.{}.type", source.name);
            let feature = match &source.kind {
                SourceKind::Local { .. } | SourceKind::Kafka { .. } => source.type_name(),
                // Nothing but a mapping brings them.
                SourceKind::Kinesis { .. }
                | SourceKind::DynamodbStreams { .. }
                | SourceKind::Sqs { .. } => "lambda",
            };
            self.built(&key, feature);
        }
        match &config.store.kind {
            StoreKind::Local { .. } => self.built("store.type", "local"),
            StoreKind::Dynamodb { .. } => self.built("store.type", "dynamodb"),
        }
        match &config.handler.kind {
            Some(HandlerKind::Exec { .. }) => self.built("handler.type", "exec"),
            Some(HandlerKind::Http { .. }) => self.built("handler.type", "http"),
            None => {}
        }
        match &config.failure.dead_letter {
            Some(DeadLetterConfig::Local { .. }) => self.built("failure.dead_letter.type", "local"),
            Some(DeadLetterConfig::Kafka { .. }) => self.built("failure.dead_letter.type", "kafka"),
            Some(DeadLetterConfig::Sqs { .. }) => self.built("failure.dead_letter.type", "sqs"),
            None => {}
        }
        if config.metrics.is_some() {
            self.built("metrics.listen", "metrics");
        }
    }

    fn built(&mut self, key: &str, feature: &str) {
        if BUILT.contains(&(feature, true)) {
            return;
        }
        let built: Vec<_> = BUILT.iter().filter(|(_, built)| *built).collect();
        let features: Vec<_> = built.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!(
            "`{key}`: this build has no `{feature}` (built with features: {})",
            features.join(", ")
        );
        self.problem(&[key], message);
    }
}

/// What two sources would both read.
fn shared(a: &SourceKind, b: &SourceKind) -> Option<String> {
    match (a, b) {
        (
            SourceKind::Local { path, topic, .. },
            SourceKind::Local {
                path: other_path,
                topic: other_topic,
                ..
            },
        ) => (path == other_path && topic == other_topic)
            .then(|| format!("topic `{topic}` of `{}`", path.display())),
        (
            SourceKind::Kafka {
                bootstrap_servers,
                topics,
                ..
            },
            SourceKind::Kafka {
                bootstrap_servers: other_servers,
                topics: other_topics,
                ..
            },
        ) => topics
            .iter()
            .chain(other_topics)
            .find(|topic| {
                bootstrap_servers == other_servers
                    && pattern::name(topics, topic)
                    && pattern::name(other_topics, topic)
            })
            .map(|topic| format!("topic `{topic}` of `{bootstrap_servers}`")),
        (SourceKind::Kinesis { arn }, SourceKind::Kinesis { arn: other })
        | (SourceKind::DynamodbStreams { arn }, SourceKind::DynamodbStreams { arn: other }) => {
            (arn == other).then(|| format!("`{arn}`"))
        }
        (
            SourceKind::Sqs { queue_url, .. },
            SourceKind::Sqs {
                queue_url: other, ..
            },
        ) => (queue_url == other).then(|| format!("`{queue_url}`")),
        (
            SourceKind::Local { .. }
            | SourceKind::Kafka { .. }
            | SourceKind::Kinesis { .. }
            | SourceKind::DynamodbStreams { .. }
            | SourceKind::Sqs { .. },
            _,
        ) => None,
    }
}
