//! Kafka: servers, topics, and what may be asked of librdkafka.
//!
//! No message shows the value of a property, but of the few that are no secret by their nature.

use super::{super::kafka::KafkaLink, Check};
use crate::config::{
    Config, DeadLetterConfig, Property, SourceConfig, SourceKind, dead_letter_link, source_link,
};
use crate::source::pattern::Pattern;
use std::net::IpAddr;

mod group;
mod secure;
#[cfg(test)]
mod tests;

/// What lanekeeper itself decides about any client, and why. A name that ends with a dot stands for all
/// that begin so.
const OURS: [(&str, &str); 3] = [
    ("bootstrap.servers", "`bootstrap_servers` says it"),
    ("metadata.broker.list", "`bootstrap_servers` says it"),
    ("plugin.", "no other code is loaded"),
];

/// About a source's.
const OURS_TO_READ: [(&str, &str); 9] = [
    ("group.id", "`group_id` says it"),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("offset.store.method", COMMITS),
    ("auto.offset.reset", "`start` and `on_gap` say it"),
    (
        "enable.partition.eof",
        "the end of a partition must be seen",
    ),
    (
        "partition.assignment.strategy",
        "partitions that stay with their worker must not be disturbed, so it is `cooperative-sticky`",
    ),
];

const COMMITS: &str = "an offset is committed once everything before it is durable";

/// About a dead-letter target's.
const OURS_TO_PUBLISH: [(&str, &str); 9] = [
    ("enable.idempotence", SURE),
    ("acks", SURE),
    ("request.required.acks", SURE),
    (
        "transactional.id",
        "a letter is one record, acknowledged by itself",
    ),
    ("delivery.timeout.ms", "`failure.timeout` says it"),
    ("message.timeout.ms", "`failure.timeout` says it"),
    ("queue.buffering.max.messages", "`memory` bounds it"),
    ("queue.buffering.max.kbytes", "`memory` bounds it"),
    ("group.id", "it reads nothing"),
];

const SURE: &str =
    "a record is passed once its letter is safe, so that all replicas acknowledge it, once";

/// Their values are looked at here.
const LOOKED_AT: [&str; 2] = ["group.protocol", "security.protocol"];

/// A link, and the names of its keys.
struct Named<'a> {
    /// Of the table.
    table: &'a str,
    link: &'a KafkaLink,
    ours: &'static [(&'static str, &'static str)],
}

impl Named<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.table)
    }

    /// A property's text, where it is none that is read at the start.
    fn text(&self, key: &str) -> Option<&str> {
        match self.link.properties.get(key) {
            Some(Property::Text(text)) => Some(text),
            Some(Property::Secret(_)) | None => None,
        }
    }
}

/// Whether dead letters go to a cluster that this source reads, as far as names tell.
pub(super) fn meet(config: &Config, source: &SourceConfig) -> bool {
    let (Some(to), Some(from)) = (dead_letter_link(config), source_link(source)) else {
        return false;
    };
    let read: Vec<&str> = hosts(&from.servers).collect();
    hosts(&to.servers).any(|server| read.contains(&server))
}

impl Check<'_> {
    pub(super) fn kafka(&mut self) {
        let config = self.config;
        let before = self.problems.len();
        for source in &config.sources {
            let Some(link) = source_link(source) else {
                continue;
            };
            let table = format!("sources.{}", source.name);
            self.reading(&table, source, &link);
        }
        let Some(DeadLetterConfig::Kafka {
            topic,
            bootstrap_servers,
            properties,
            ..
        }) = &config.failure.dead_letter
        else {
            return;
        };
        let table = "failure.dead_letter";
        self.topic(&format!("{table}.topic"), topic);
        // What it has from a source is said of the source.
        let is_said =
            bootstrap_servers.is_none() && (properties.is_empty() || self.problems.len() > before);
        match dead_letter_link(config) {
            Some(_) if is_said => {}
            Some(link) => self.link(&Named {
                table,
                link: &link,
                ours: &OURS_TO_PUBLISH,
            }),
            None => {
                let key = format!("{table}.bootstrap_servers");
                let message = format!(
                    "`{key}` is missing, and there is no Kafka source whose cluster could be meant: name the brokers, as `host:port`, separated by commas"
                );
                self.problem(&[&key], message);
            }
        }
    }

    fn reading(&mut self, table: &str, source: &SourceConfig, link: &KafkaLink) {
        let SourceKind::Kafka {
            topics, group_id, ..
        } = &source.kind
        else {
            return;
        };
        let key = format!("{table}.topics");
        if topics.is_empty() {
            self.problem(
                &[&key],
                format!("`{key}` is empty: name at least one topic"),
            );
        }
        for (index, topic) in topics.iter().enumerate() {
            if Pattern::is_one(topic) {
                if let Err(why) = Pattern::new(topic) {
                    let message = format!(
                        "`{key}` holds `{}`, a pattern of topics that does not compile: {why}",
                        topic.escape_debug()
                    );
                    self.problem(&[&key], message);
                }
            } else {
                self.topic(&key, topic);
            }
            if topics[..index].contains(topic) {
                let message = format!("`{key}` holds `{topic}` twice: remove one of them");
                self.problem(&[&key], message);
            }
        }
        if group_id.is_empty() {
            let key = format!("{table}.group_id");
            let message =
                format!("`{key}` is empty: name the consumer group, or leave the key out");
            self.problem(&[&key], message);
        }
        let named = Named {
            table,
            link,
            ours: &OURS_TO_READ,
        };
        self.link(&named);
        self.group(&named, &source.kind);
    }

    /// The name of a topic, as Kafka takes it.
    fn topic(&mut self, key: &str, topic: &str) {
        if !is_name(topic) {
            let message = format!(
                "`{key}` holds `{}`, which is no name of a topic: expected {NAME_FORM}",
                topic.escape_debug()
            );
            self.problem(&[key], message);
        }
    }

    fn link(&mut self, named: &Named<'_>) {
        self.servers(named);
        self.properties(named);
        self.security(named);
    }

    fn servers(&mut self, named: &Named<'_>) {
        let key = named.key("bootstrap_servers");
        for server in servers(&named.link.servers) {
            if let Err(why) = server_parts(server) {
                let message = format!(
                    "`{key}` holds `{}`, {why}: expected `host:port`, separated by commas, such as \"a.example.org:9093,b.example.org:9093\"",
                    server.escape_debug()
                );
                self.problem(&[&key], message);
            }
        }
    }

    /// Names, and what librdkafka takes.
    fn properties(&mut self, named: &Named<'_>) {
        let key = named.key("properties");
        for (name, property) in &named.link.properties {
            let is_it = |(ours, _): &&(&str, &str)| {
                name == ours || (ours.ends_with('.') && name.starts_with(ours))
            };
            let ours = OURS.iter().chain(named.ours).find(is_it);
            if let Some((_, why)) = ours {
                let message = format!(
                    "`{key}` holds `{name}`, which lanekeeper sets itself ({why}): remove it"
                );
                self.problem(&[&key], message);
            } else if !LOOKED_AT.contains(&name.as_str())
                && let Some(why) = refused(name, property)
            {
                let message = format!("`{key}` holds `{}`, {why}", name.escape_debug());
                self.problem(&[&key], message);
            }
        }
    }
}

/// What Kafka takes for the name of a topic, or of a member.
const NAME_FORM: &str =
    "1 to 249 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`, other than `.` and `..`";

fn is_name(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&text.len()) && text.chars().all(sound) && !matches!(text, "." | "..")
}

/// Why a property cannot be passed on.
#[cfg(feature = "kafka")]
fn refused(name: &str, property: &Property) -> Option<String> {
    let value = match property {
        Property::Text(text) => Some(text.as_str()),
        Property::Secret(_) => None,
    };
    crate::source::kafka::refused_property(name, value)
}

/// Without librdkafka nobody knows.
#[cfg(not(feature = "kafka"))]
fn refused(_: &str, _: &Property) -> Option<String> {
    None
}

/// As librdkafka reads a list of servers: spaces before one are no part of it.
fn servers(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|server| server.trim_start_matches(' '))
}

/// Hosts with ports, of those that are sound.
fn hosts(list: &str) -> impl Iterator<Item = &str> {
    servers(list).filter(|server| server_parts(server).is_ok())
}

/// Host and port of a server; `Err`: what it lacks.
fn server_parts(server: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = server.rsplit_once(':').ok_or("without a port")?;
    let host = if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("with half a bracket")?;
        let address = inner.parse::<std::net::Ipv6Addr>();
        address.map_err(|_| "with brackets around what is no IPv6 address")?;
        inner
    } else if host.contains(':') {
        return Err("with an IPv6 address that needs brackets, or with a scheme");
    } else {
        host
    };
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(sound) {
        return Err("without a host");
    }
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse() {
        Ok(port) if port > 0 && digits => Ok((host, port)),
        Ok(_) | Err(_) => Err("with a port that is not from 1 to 65535"),
    }
}

/// The first server that is not on this machine.
fn remote(list: &str) -> Option<&str> {
    let is_here = |server: &&str| match server_parts(server) {
        Ok((host, _)) => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        // What is no server is said by itself.
        Err(_) => true,
    };
    servers(list).find(|server| !is_here(server))
}
