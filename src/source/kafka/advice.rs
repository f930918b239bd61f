//! What to do about what a client complains of. librdkafka's words name the broker and the cause, and no
//! value of a property.

/// A complaint that begins with one of these, what it means, and whether waiting helps.
struct Known {
    words: &'static [&'static str],
    advice: &'static str,
    /// Of settings or certificates: it will be the same the next time.
    stays: bool,
}

const KNOWN: [Known; 8] = [
    Known {
        words: &[
            "certificate verify failed",
            "certificate could not be verified",
        ],
        advice: "the broker's certificate is not of an authority in `ssl.ca.location`, has expired, or is of another host name than `bootstrap_servers` says",
        stays: true,
    },
    Known {
        words: &[
            "certificate required",
            "bad certificate",
            "unknown ca",
            "handshake failure",
            "client SSL authentication might be",
        ],
        advice: "the broker asks for a certificate that it knows: name one by `ssl.certificate.location` and `ssl.key.location`, signed by an authority that it trusts",
        stays: true,
    },
    Known {
        words: &["nsupported SASL mechanism", "UNSUPPORTED_SASL_MECHANISM"],
        advice: "the broker does not offer this `sasl.mechanism`",
        stays: true,
    },
    Known {
        words: &[
            "uthentication fail",
            "authentication error",
            "invalid credentials",
        ],
        advice: "the broker does not know `sasl.username` with this `sasl.password` by this `sasl.mechanism`",
        stays: true,
    },
    Known {
        words: &["opic authorization failed"],
        advice: "the user may not do this with the topic: reading needs `Read` and `Describe`, publishing `Write` and `Describe`",
        stays: true,
    },
    Known {
        words: &["roup authorization failed"],
        advice: "the user needs `Read` on the group `group_id`",
        stays: true,
    },
    Known {
        words: &["luster authorization failed"],
        advice: "the user needs `IdempotentWrite` on the cluster, which brokers before Kafka 2.8 ask of producers",
        stays: true,
    },
    Known {
        words: &["onnection refused", "Failed to resolve", "not known"],
        advice: "is the broker running, and `bootstrap_servers` right?",
        stays: false,
    },
];

fn known(said: &str) -> Option<&'static Known> {
    let has = |known: &&Known| known.words.iter().any(|words| said.contains(words));
    KNOWN.iter().find(has)
}

/// The complaint, and what to do, where that is known.
pub(super) fn advised(said: &str) -> String {
    known(said).map_or_else(
        || said.to_owned(),
        |known| format!("{said}; {}", known.advice),
    )
}

/// Whether it will be the same however long one waits.
pub(super) fn stays(said: &str) -> bool {
    known(said).is_some_and(|known| known.stays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_comes_with_advice() {
        for (said, named, lasting) in [
            (
                "sasl_ssl://localhost:1/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256",
                "`sasl.password`",
                true,
            ),
            (
                "ssl://localhost:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                "`ssl.ca.location`",
                true,
            ),
            (
                "ssl://localhost:1/bootstrap: SSL handshake failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                "`ssl.certificate.location`",
                true,
            ),
            (
                "sasl_plaintext://localhost:1/bootstrap: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN",
                "does not offer",
                true,
            ),
            (
                "localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
                "is the broker running",
                false,
            ),
        ] {
            let advised = advised(said);
            assert!(
                advised.starts_with(said) && advised.contains(named),
                "{advised}"
            );
            assert_eq!(stays(said), lasting, "{said}");
        }
        assert_eq!(advised("something new"), "something new");
    }
}
