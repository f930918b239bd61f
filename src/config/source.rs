//! `[sources.NAME]`.

use super::{
    Property, kafka,
    read::{self, Section},
    tree::{Node, Value},
};
use crate::source::{OnGap, StartAt};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where records come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceConfig {
    /// `NAME` of `[sources.NAME]`: its identity in store, logs and metrics. Another name begins from
    /// nothing. 1 to 64 of `a-z 0-9 -`.
    pub name: String,
    /// `type` and its keys.
    pub kind: SourceKind,
    /// `start`: where reading begins without a checkpoint. Default `None`: `earliest`, but `refuse` when a
    /// Kafka group has committed offsets. `latest` leaves out what the log holds already. Not for `sqs` and
    /// `dynamodb-streams`.
    pub start: Option<StartAt>,
    /// `on_gap`: the checkpoint does not fit the log (older than its retention, ahead of its end,
    /// another log of the same name). Default `refuse`: end with an error that names both. The others lose
    /// or repeat records, and say how many. Not for `sqs` and
    /// `dynamodb-streams`.
    pub on_gap: OnGap,
}

/// `type` of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// `type = "local"`: a topic of an embedded log.
    Local {
        /// `path`: its file. Default `lanekeeper.db`.
        path: PathBuf,
        /// `topic`. Required.
        topic: String,
        /// `retention`: when records that every consumer has settled are deleted. Default `forever`.
        retention: Retention,
    },
    /// `type = "kafka"`.
    Kafka {
        /// `bootstrap_servers`: `host:port`, separated by commas. Required.
        bootstrap_servers: String,
        /// `topics`. Required.
        topics: Vec<String>,
        /// `group_id`. Default: the app.
        group_id: String,
        /// `group_protocol`. Default `None`: `classic`, or what `group.protocol` of `properties` says.
        group_protocol: Option<GroupProtocol>,
        /// `group_instance_id`: makes it a static member of the group. Default `None`: it is none, unless
        /// `group.instance.id` of `properties` says so.
        group_instance_id: Option<String>,
        /// `properties`: to librdkafka. Default: none. Values are text, numbers, booleans, or
        /// `{ env = "…" }` and `{ file = "…" }`; passwords and private keys must be one of these two.
        properties: BTreeMap<String, Property>,
        /// `allow_plaintext`: brokers off this machine may be reached without TLS, or without a look at
        /// their certificate. Default `false`: what is read and the password that opens it would be
        /// anybody's on the way.
        allow_plaintext: bool,
        /// `on_new_partitions`: whether a partition that is added to a topic waits while lanes of the others
        /// stand stopped or parked (`wait`, default `true`), or begins at once (`go`): a key's records may
        /// then overtake those that stand.
        new_partitions_wait: bool,
    },
    /// `type = "kinesis"`.
    Kinesis {
        /// `arn`: of the stream, or of a registered consumer. Required.
        arn: String,
    },
    /// `type = "dynamodb-streams"`.
    DynamodbStreams {
        /// `arn`: of the table's stream. Required. A stream that is switched off and on has another one.
        arn: String,
    },
    /// `type = "sqs"`.
    Sqs {
        /// `queue_url`. Required.
        queue_url: String,
        /// `arn`: how a Lambda event names the queue. Default: derived from nothing; needed in Lambda.
        arn: Option<String>,
    },
}

/// `group_protocol`: how the members of a consumer group come to their partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupProtocol {
    /// One of the members shares them out, in a rebalance of all.
    Classic,
    /// The broker does, member by member (KIP-848; Kafka 4.0 or later).
    Consumer,
}

impl GroupProtocol {
    /// As the configuration and librdkafka write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// `retention`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// Nothing is deleted.
    Forever,
    /// What is older, and settled by every consumer, is deleted.
    For(Duration),
}

impl SourceConfig {
    /// A topic of an embedded log, with defaults.
    pub fn local(name: &str, path: impl Into<PathBuf>, topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: SourceKind::Local {
                path: path.into(),
                topic: topic.to_owned(),
                retention: Retention::Forever,
            },
            start: None,
            on_gap: OnGap::Refuse,
        }
    }

    /// The source's `type`.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            SourceKind::Local { .. } => "local",
            SourceKind::Kafka { .. } => "kafka",
            SourceKind::Kinesis { .. } => "kinesis",
            SourceKind::DynamodbStreams { .. } => "dynamodb-streams",
            SourceKind::Sqs { .. } => "sqs",
        }
    }
}

pub(super) const TYPES: &[(&str, &str)] = &[
    ("local", "local"),
    ("kafka", "kafka"),
    ("kinesis", "kinesis"),
    ("dynamodb-streams", "dynamodb-streams"),
    ("sqs", "sqs"),
];

/// Reads one source; `None` when it cannot be told what it is.
pub(super) fn source(
    name: &str,
    mut section: Section<'_>,
    app: &str,
    base: &Path,
) -> Option<SourceConfig> {
    let what = "one of `local`, `kafka`, `kinesis`, `dynamodb-streams`, `sqs`";
    let Some(kind) = section.required("type", what, read::choice(TYPES)) else {
        // Without a type there is no telling which keys are wrong.
        return None;
    };
    let kind_of_source = match kind {
        "local" => local(&mut section, base),
        "kafka" => kafka::source(&mut section, app, base),
        "kinesis" => section
            .required("arn", "of the stream", read::text)
            .map(|arn| SourceKind::Kinesis { arn }),
        "dynamodb-streams" => section
            .required("arn", "of the table's stream", read::text)
            .map(|arn| SourceKind::DynamodbStreams { arn }),
        _ => {
            let arn = section.optional("arn", read::text);
            section
                .required("queue_url", "of the queue", read::text)
                .map(|queue_url| SourceKind::Sqs { queue_url, arn })
        }
    };
    // A queue has no positions to start from; nothing but its mapping reads a table's stream.
    let (start, on_gap) = if matches!(kind, "sqs" | "dynamodb-streams") {
        (None, OnGap::Refuse)
    } else {
        (
            section.optional("start", start_at),
            section.get("on_gap", OnGap::Refuse, read::choice(ON_GAP)),
        )
    };
    section.finish(&format!(" of a source of type \"{kind}\""));
    Some(SourceConfig {
        name: name.to_owned(),
        kind: kind_of_source?,
        start,
        on_gap,
    })
}

const ON_GAP: &[(&str, OnGap)] = &[
    ("refuse", OnGap::Refuse),
    ("earliest", OnGap::Earliest),
    ("latest", OnGap::Latest),
];

fn local(section: &mut Section<'_>, base: &Path) -> Option<SourceKind> {
    let path = section.get("path", base.join(super::LOCAL_FILE), read::path(base));
    let retention = section.get("retention", Retention::Forever, retention);
    let topic = section.required("topic", "the topic to read, as in `put --topic`", topic)?;
    Some(SourceKind::Local {
        path,
        topic,
        retention,
    })
}

/// Most characters of a topic's name, as in Kafka.
const TOPIC_MAX: usize = 249;

/// The name of a topic of an embedded log.
pub(super) fn topic(node: &Node) -> Result<String, String> {
    read::name(TOPIC_MAX, "`A-Z`, `a-z`, `0-9`, `.`, `_`, `-`", |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
    })(node)
}

fn start_at(node: &Node) -> Result<StartAt, String> {
    let expected = || {
        "one of `earliest`, `latest`, `refuse`, or a time such as { time = \"2026-11-23T08:00:00Z\" }"
            .to_owned()
    };
    let time = match &node.value {
        Value::Table(table) => match table.0.as_slice() {
            [(key, time)] if key == "time" => time,
            _ => return Err(expected()),
        },
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Datetime(_)
        | Value::List(_) => {
            return match read::text(node).as_deref() {
                Ok("earliest") => Ok(StartAt::Earliest),
                Ok("latest") => Ok(StartAt::Latest),
                Ok("refuse") => Ok(StartAt::Refuse),
                _ => Err(expected()),
            };
        }
    };
    let text = match &time.value {
        // TOML's own date-times are meant as well; without an offset they are no moment.
        Value::Datetime(text) | Value::Text(text) => text,
        Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Table(_) => {
            return Err(expected());
        }
    };
    let timestamp: jiff::Timestamp = text.parse().map_err(|_| expected())?;
    Ok(StartAt::Time(timestamp.as_millisecond()))
}

fn retention(node: &Node) -> Result<Retention, String> {
    let text = read::text(node)?;
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    match super::quantity::duration(&text) {
        Some(age) if !age.is_zero() => Ok(Retention::For(age)),
        Some(_) | None => Err("`forever`, or an age with its unit, such as \"7d\"".to_owned()),
    }
}
