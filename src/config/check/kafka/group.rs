//! How a member and its group get on.

use super::{super::duration_text, Check, Named};
use std::time::Duration;

/// With the newer group protocol the broker says them.
const OF_THE_BROKER: [&str; 2] = ["session.timeout.ms", "heartbeat.interval.ms"];

/// librdkafka's own default of `max.poll.interval.ms`.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// What a handover takes beside the drain.
const HANDOVER: Duration = Duration::from_secs(10);

impl Check<'_> {
    /// What a member has to keep to.
    pub(super) fn group(&mut self, named: &Named<'_>) {
        let key = named.key("properties");
        match named.text("group.protocol").map(str::to_ascii_lowercase) {
            Some(protocol) if protocol == "consumer" => {
                for name in OF_THE_BROKER {
                    if named.link.properties.contains_key(name) {
                        let message = format!(
                            "`{key}` holds `{name}` and `group.protocol`: with `consumer` the broker says it; remove it"
                        );
                        self.problem(&[&key], message);
                    }
                }
            }
            Some(protocol) if protocol != "classic" => {
                let message = format!(
                    "`{key}`: `group.protocol` is something else: expected `classic` or `consumer`"
                );
                self.problem(&[&key], message);
            }
            Some(_) | None => {}
        }
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
