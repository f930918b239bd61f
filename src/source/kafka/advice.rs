//! What to do about what a client complains of. librdkafka's words name the broker and the cause, and no
//! value of a property.

/// What a client last complained of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Complaint {
    pub(super) said: String,
    /// Brokers ask it for tokens of AWS IAM.
    pub(super) by_iam: bool,
}

impl Complaint {
    /// It, and what to do, where that is known.
    pub(super) fn advised(&self) -> String {
        match known(&self.said) {
            Some(known) if self.by_iam && known.advice == AUTHENTICATION => {
                format!("{}; {IAM}", self.said)
            }
            Some(_) | None => advised(&self.said),
        }
    }

    /// Whether it will be the same however long one waits.
    pub(super) fn stays(&self) -> bool {
        known(&self.said).is_some_and(|known| known.stays)
    }
}

/// A complaint that has one of these, what it means, and whether waiting helps.
struct Known {
    words: &'static [&'static str],
    advice: &'static str,
    /// Of settings or certificates: it will be the same the next time.
    stays: bool,
}

const AUTHENTICATION: &str =
    "the broker does not know `sasl.username` with this `sasl.password` by this `sasl.mechanism`";

/// Of authentication, where AWS's own settings say who this is. A broker says no more than that.
const IAM: &str = "the broker does not let these credentials of AWS in: are they those that are meant (the environment goes before a profile, and that before the role of the machine); does their policy allow `kafka-cluster:Connect` on the cluster; is it in the region that the servers' names say, else `AWS_REGION`; is this machine's clock right?";

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
        advice: AUTHENTICATION,
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
            let complaint = Complaint {
                said: said.to_owned(),
                by_iam: false,
            };
            let advised = complaint.advised();
            assert!(
                advised.starts_with(said) && advised.contains(named),
                "{advised}"
            );
            assert_eq!(complaint.stays(), lasting, "{said}");
        }
        assert_eq!(advised("something new"), "something new");
    }

    #[test]
    fn who_comes_by_tokens_of_aws_iam_is_told_of_no_password() {
        let of = |said: &str| Complaint {
            said: said.to_owned(),
            by_iam: true,
        };
        let refused = of("sasl_ssl://localhost:1/1: SASL authentication error: Access denied");
        assert!(refused.stays());
        let advised = refused.advised();
        assert!(advised.contains("`kafka-cluster:Connect`"), "{advised}");
        assert!(!advised.contains("password"), "{advised}");
        let away = of("localhost:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert!(away.advised().contains("is the broker running"));
        assert!(!away.stays());
    }
}
