//! Topics by name, and by a pattern of names.

use regex_lite::Regex;

/// What a pattern begins with, and no name of a topic does.
const MARK: char = '^';

/// What the names of Kafka's own topics begin with.
const INTERNAL: &str = "__";

/// A pattern of names. It is the same for both protocols of consumer groups, since it is matched here:
/// librdkafka and brokers have expressions of different kinds.
pub(crate) struct Pattern {
    regex: Regex,
    wants_internal: bool,
}

impl Pattern {
    /// Whether it is meant as a pattern.
    pub(crate) fn is_one(topic: &str) -> bool {
        topic.starts_with(MARK)
    }

    /// # Errors
    /// Why it does not compile.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let wants_internal = text[1..].starts_with(INTERNAL);
        Ok(Self {
            regex: Regex::new(text).map_err(|error| error.to_string())?,
            wants_internal,
        })
    }

    /// Whether a topic is meant. Those of Kafka itself are, where the pattern begins as they do.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        (self.wants_internal || !topic.starts_with(INTERNAL)) && self.regex.is_match(topic)
    }
}

/// Whether names and patterns name a topic. What does not compile names none.
pub(crate) fn name(topics: &[String], topic: &str) -> bool {
    topics.iter().any(|named| {
        named == topic
            || Pattern::is_one(named)
                && Pattern::new(named).is_ok_and(|pattern| pattern.matches(topic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_anchored_where_it_says_so_and_passes_over_kafka_s_own_topics() {
        let matches = |pattern: &str, topic: &str| {
            Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic))
        };
        assert!(matches("^orders-.*", "orders-eu"));
        assert!(matches("^orders-", "orders-eu"));
        assert!(matches(r"^orders-\d{1,3}$", "orders-12"));
        assert!(!matches("^orders-.*", "old-orders-eu"));
        assert!(!matches("^orders$", "orders-eu"));
        assert!(matches("^.*", "orders") && !matches("^.*", "__consumer_offsets"));
        assert!(matches("^__consumer", "__consumer_offsets"));
        let error = Pattern::new("^orders-(").err();
        assert!(error.is_some_and(|said| !said.is_empty()));
    }

    #[test]
    fn a_topic_is_named_by_name_or_by_pattern() {
        let topics = ["orders".to_owned(), "^refunds-".to_owned(), "^(".to_owned()];
        let named = |topic| name(&topics, topic);
        assert!(named("orders") && named("refunds-eu"));
        assert!(!named("orders-eu") && !named("old-refunds-eu"));
    }
}
