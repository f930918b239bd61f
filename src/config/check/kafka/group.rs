//! How a member and its group get on.

use super::{super::duration_text, Check, NAME_FORM, Named, is_name};
use crate::config::{GroupProtocol, SourceKind};
use std::time::Duration;

/// With the newer group protocol the broker says them.
const OF_THE_BROKER: [&str; 2] = ["session.timeout.ms", "heartbeat.interval.ms"];

/// Which property a key stands for.
const ONE: [(&str, &str); 2] = [
    ("group_protocol", "group.protocol"),
    ("group_instance_id", "group.instance.id"),
];

/// librdkafka's own default of `max.poll.interval.ms`.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// What a handover takes beside the drain.
const HANDOVER: Duration = Duration::from_secs(10);

impl Check<'_> {
    /// What a member has to keep to.
    pub(super) fn group(&mut self, named: &Named<'_>, kind: &SourceKind) {
        let SourceKind::Kafka {
            group_protocol,
            group_instance_id,
            ..
        } = kind
        else {
            return;
        };
        let key = named.key("properties");
        let given = [group_protocol.is_some(), group_instance_id.is_some()];
        for ((ours, property), _) in ONE.iter().zip(given).filter(|(_, given)| *given) {
            if named.link.properties.contains_key(*property) {
                let ours = named.key(ours);
                let message =
                    format!("`{ours}` and `{property}` in `{key}` are one: remove one of them");
                self.problem(&[&ours, &key], message);
            }
        }
        self.protocol(named, *group_protocol);
        self.instance(named, group_instance_id.as_deref());
        self.interval(named);
    }

    fn protocol(&mut self, named: &Named<'_>, ours: Option<GroupProtocol>) {
        let key = named.key("properties");
        let written = named.text("group.protocol").map(str::to_ascii_lowercase);
        let (protocol, at) = match (ours, &written) {
            (Some(ours), _) => (ours.name(), named.key("group_protocol")),
            (None, Some(written)) => (written.as_str(), key.clone()),
            (None, None) => return self.of_consumer_only(named),
        };
        match protocol {
            "consumer" => {
                for name in OF_THE_BROKER {
                    if named.link.properties.contains_key(name) {
                        let message = format!(
                            "`{key}` holds `{name}` and the group's protocol is `consumer` (`{at}`): there the broker says it; remove it"
                        );
                        self.problem(&[&key, &at], message);
                    }
                }
            }
            "classic" => self.of_consumer_only(named),
            _ => {
                let message = format!(
                    "`{key}`: `group.protocol` is something else: expected `classic` or `consumer`"
                );
                self.problem(&[&key], message);
            }
        }
    }

    /// What a broker that shares out partitions is asked for, and nobody else.
    fn of_consumer_only(&mut self, named: &Named<'_>) {
        const NAME: &str = "group.remote.assignor";
        let key = named.key("properties");
        if named.link.properties.contains_key(NAME) {
            let message = format!(
                "`{key}` holds `{NAME}`, which has no effect with the protocol `classic`: set `{}` to `consumer`, or remove it",
                named.key("group_protocol")
            );
            self.problem(&[&key], message);
        }
    }

    /// Brokers refuse what is no name, and librdkafka would ask again for ever.
    fn instance(&mut self, named: &Named<'_>, ours: Option<&str>) {
        let (id, key) = match (ours, named.text("group.instance.id")) {
            (Some(id), _) => (id, named.key("group_instance_id")),
            (None, Some(id)) => (id, named.key("properties")),
            (None, None) => return,
        };
        if !is_name(id) {
            let message = format!(
                "`{key}` names the member `{}`: expected {NAME_FORM}, as for a topic",
                id.escape_debug()
            );
            self.problem(&[&key], message);
        }
    }

    /// The group waits for a drain.
    fn interval(&mut self, named: &Named<'_>) {
        let key = named.key("properties");
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        let (interval, written) = match named.text("max.poll.interval.ms") {
            // What is no number is librdkafka's to refuse.
            Some(text) => (millis(text), "as written"),
            None => (Some(POLL_INTERVAL), "its default"),
        };
        let Some(interval) = interval else { return };
        let drain = self.config.drain;
        if interval < drain.saturating_add(HANDOVER) {
            let message = format!(
                "`{key}`: `max.poll.interval.ms` is {} ({written}) and `drain` is `{}` ({}): a partition is given up when what runs of it has ended, and the group waits no longer than the former: it must be {} longer at least",
                duration_text(interval),
                duration_text(drain),
                self.place("drain"),
                duration_text(HANDOVER),
            );
            self.problem(&[&key, "drain"], message);
        }
    }
}
