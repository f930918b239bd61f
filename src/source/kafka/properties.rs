//! What librdkafka says of properties, without their values: any of them may be a password.

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

/// Why librdkafka does not take a property; `value`: `None` where it is read at the start only.
///
/// Completes "`properties` holds `{name}`, ".
pub(crate) fn refused_property(name: &str, value: Option<&str>) -> Option<String> {
    let mut config = ClientConfig::new();
    config.set(name, value.unwrap_or("1"));
    let error = config.create_native_config().err()?;
    let of_the_name = matches!(
        error,
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) | KafkaError::Nul(_)
    );
    (value.is_some() || of_the_name).then(|| what_is_wrong(&error))
}

/// Why a client cannot be made.
pub(super) fn no_client(error: &KafkaError) -> String {
    if let KafkaError::ClientConfig(_, _, name, _) = error {
        return format!("the property `{name}`, {}", what_is_wrong(error));
    }
    // Of a client that was not made librdkafka says which properties contradict each other.
    if let KafkaError::ClientCreation(why) = error {
        return why.clone();
    }
    error.to_string()
}

fn what_is_wrong(error: &KafkaError) -> String {
    if matches!(error, KafkaError::Nul(_)) {
        return "which has a zero byte".to_owned();
    }
    let KafkaError::ClientConfig(result, said, ..) = error else {
        return "which librdkafka does not take".to_owned();
    };
    if *result == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN {
        return "which librdkafka does not know".to_owned();
    }
    let expected = allowed(said).map(|allowed| format!(": expected {allowed}"));
    format!(
        "whose value librdkafka does not take{}",
        expected.unwrap_or_default()
    )
}

/// What of librdkafka's words says what is allowed; the rest shows the value.
fn allowed(said: &str) -> Option<String> {
    if let Some((_, range)) = said.rsplit_once("is outside allowed range ") {
        let range = range.trim();
        let bounds = range.split_once("..");
        return bounds.map(|(least, most)| format!("{least} to {most}"));
    }
    if said.starts_with("Expected bool value for ") {
        return Some("`true` or `false`".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_does_not_take_is_said_without_the_value() {
        let cases = [
            ("sasl.pasword", "hunter2", "which librdkafka does not know"),
            (
                "fetch.wait.max.ms",
                "987654321",
                "whose value librdkafka does not take: expected 0 to 300000",
            ),
            (
                "socket.keepalive.enable",
                "hunter2",
                "whose value librdkafka does not take: expected `true` or `false`",
            ),
            (
                "isolation.level",
                "hunter2",
                "whose value librdkafka does not take",
            ),
            (
                "fetch.min.bytes",
                "hunter2",
                "whose value librdkafka does not take",
            ),
        ];
        for (name, value, expected) in cases {
            assert_eq!(
                refused_property(name, Some(value)).as_deref(),
                Some(expected),
                "{name}"
            );
            let mut config = ClientConfig::new();
            config.set(name, value);
            let error = config.create_native_config().err().expect("refused");
            let said = no_client(&error);
            assert!(said.contains(name) && !said.contains(value), "{said}");
        }
        assert_eq!(
            refused_property("isolation.level", Some("read_uncommitted")),
            None
        );
        assert_eq!(refused_property("sasl.password", None), None);
        assert_eq!(
            refused_property("sasl.pasword", None).as_deref(),
            Some("which librdkafka does not know")
        );
    }
}
