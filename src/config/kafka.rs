//! What a Kafka source and a Kafka dead-letter target have in common: a cluster, and how it is reached.

use super::{
    Config, DeadLetterConfig, GroupProtocol, Property, SourceConfig, SourceKind,
    read::{self, Section},
    secret,
    tree::{Node, Value},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// How a cluster is reached, as the configuration says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KafkaLink {
    /// `host:port`, separated by commas.
    pub(crate) servers: String,
    /// To librdkafka.
    pub(crate) properties: BTreeMap<String, Property>,
    /// Whether TLS may be missing, or not verified, off this machine.
    pub(crate) allow_plaintext: bool,
}

/// A source's; `None`: it is of another type.
pub(crate) fn source_link(source: &SourceConfig) -> Option<KafkaLink> {
    match &source.kind {
        SourceKind::Kafka {
            bootstrap_servers,
            properties,
            allow_plaintext,
            ..
        } => Some(KafkaLink {
            servers: bootstrap_servers.clone(),
            properties: properties.clone(),
            allow_plaintext: *allow_plaintext,
        }),
        SourceKind::Local { .. }
        | SourceKind::Kinesis { .. }
        | SourceKind::DynamodbStreams { .. }
        | SourceKind::Sqs { .. } => None,
    }
}

/// The dead-letter target's: its own, or that of the first Kafka source with its own properties laid
/// over. `None`: it is of another type, or there is no such source.
pub(crate) fn dead_letter_link(config: &Config) -> Option<KafkaLink> {
    let Some(DeadLetterConfig::Kafka {
        bootstrap_servers,
        properties,
        allow_plaintext,
        ..
    }) = &config.failure.dead_letter
    else {
        return None;
    };
    if let Some(servers) = bootstrap_servers {
        return Some(KafkaLink {
            servers: servers.clone(),
            properties: properties.clone(),
            allow_plaintext: allow_plaintext.unwrap_or(false),
        });
    }
    let mut link = config.sources.iter().find_map(source_link)?;
    link.properties.retain(|key, _| is_of_the_connection(key));
    link.properties.extend(properties.clone());
    link.allow_plaintext = allow_plaintext.unwrap_or(link.allow_plaintext);
    Some(link)
}

/// Whether a property says how brokers are reached, whatever is then asked of them.
fn is_of_the_connection(key: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "security.",
        "ssl.",
        "enable.ssl.",
        "sasl.",
        "https.",
        "socket.",
        "connections.",
        "broker.",
        "client.",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

const SERVERS: &str = "`host:port`, separated by commas";

pub(super) fn source(section: &mut Section<'_>, app: &str, base: &Path) -> Option<SourceKind> {
    let servers = section.required("bootstrap_servers", SERVERS, read::text);
    let topics = section.required("topics", "a list of topics", read::texts);
    let group_id = section.get("group_id", app.to_owned(), read::text);
    let group_protocol = section.optional(
        "group_protocol",
        read::choice(&[
            ("classic", GroupProtocol::Classic),
            ("consumer", GroupProtocol::Consumer),
        ]),
    );
    let group_instance_id = section.optional("group_instance_id", read::text);
    let properties = section
        .optional_secret("properties", properties(base))
        .unwrap_or_default();
    let allow_plaintext = section.get("allow_plaintext", false, read::flag);
    let new_partitions_wait = section.get(
        "on_new_partitions",
        true,
        read::choice(&[("wait", true), ("go", false)]),
    );
    Some(SourceKind::Kafka {
        bootstrap_servers: servers?,
        topics: topics?,
        group_id,
        group_protocol,
        group_instance_id,
        properties,
        allow_plaintext,
        new_partitions_wait,
    })
}

pub(super) fn dead_letter(section: &mut Section<'_>, base: &Path) -> Option<DeadLetterConfig> {
    let topic = section.required("topic", "the topic to publish to", read::text);
    let bootstrap_servers = section.optional("bootstrap_servers", read::text);
    let properties = section
        .optional_secret("properties", properties(base))
        .unwrap_or_default();
    let allow_plaintext = section.optional("allow_plaintext", read::flag);
    Some(DeadLetterConfig::Kafka {
        topic: topic?,
        bootstrap_servers,
        properties,
        allow_plaintext,
    })
}

/// Those whose value is a path: relative ones begin at the file, as all others of a configuration.
const PATHS: [&str; 6] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "https.ca.location",
];

fn properties(base: &Path) -> impl FnOnce(&Node) -> Result<BTreeMap<String, Property>, String> {
    move |node| {
        let Value::Table(table) = &node.value else {
            return Err("a table such as { \"security.protocol\" = \"SASL_SSL\" }".to_owned());
        };
        let mut properties = BTreeMap::new();
        for (key, node) in &table.0 {
            let value = match &node.value {
                Value::Text(text) if text.contains('\0') => {
                    return Err(format!("`{key}` to be without a zero byte"));
                }
                Value::Text(text) => Property::Text(path_or_text(base, key, text)),
                Value::Number(text) => Property::Text(text.clone()),
                Value::Bool(flag) => Property::Text(flag.to_string()),
                Value::Table(_) => secret::secret(base)(node)
                    .map(Property::Secret)
                    .map_err(|expected| table_instead(key, &expected))?,
                Value::Datetime(_) | Value::List(_) => {
                    return Err(format!(
                        "`{key}` to be text, a number, a boolean, `{{ env = \"NAME\" }}` or `{{ file = \"PATH\" }}`"
                    ));
                }
            };
            properties.insert(key.clone(), value);
        }
        Ok(properties)
    }
}

/// `sasl.password = …` without quotes is a table `sasl` in TOML.
fn table_instead(key: &str, expected: &str) -> String {
    if key.contains('.') {
        format!("`{key}` to be {expected}")
    } else {
        format!(
            "names in quotes, since they have dots: \"{key}.…\" = …; `{key}` alone would have to be {expected}"
        )
    }
}

fn path_or_text(base: &Path, key: &str, text: &str) -> String {
    // `probe` looks in the usual places.
    let is_path = PATHS.contains(&key) && !text.is_empty() && text != "probe";
    let joined: Option<PathBuf> = is_path.then(|| base.join(text));
    joined.map_or_else(
        || text.to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}
