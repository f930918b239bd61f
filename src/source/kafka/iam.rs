//! SASL by AWS's identities (`AWS_MSK_IAM`, as Java's clients call it), as brokers of Amazon MSK ask for it:
//! librdkafka's `OAUTHBEARER` with a token that is a signed URL.

use rdkafka::{ClientConfig, client::OAuthToken};
use std::{collections::BTreeMap, error::Error};

#[cfg(feature = "msk")]
mod token;

/// What the configuration calls it.
const MECHANISM: &str = "AWS_MSK_IAM";

/// librdkafka's two names of one property.
const NAMES: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// Where tokens are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Iam {
    /// `None`: the servers' names do not say it; AWS's own settings do.
    region: Option<String>,
}

impl Iam {
    /// `None`: another mechanism is asked for, or none.
    pub(super) fn of(servers: &str, properties: &BTreeMap<String, String>) -> Option<Self> {
        let asked = NAMES.iter().find_map(|name| properties.get(*name));
        (asked.map(String::as_str) == Some(MECHANISM)).then(|| Self {
            region: servers.split(',').find_map(region_of).map(str::to_owned),
        })
    }

    /// What librdkafka is told instead.
    pub(super) fn set(config: &mut ClientConfig) {
        for name in NAMES {
            config.remove(name);
        }
        config.set(NAMES[0], "OAUTHBEARER");
    }

    /// A new token. Waits for AWS where it has the credentials from there.
    ///
    /// # Errors
    /// Which credentials or region are missing.
    #[cfg(feature = "msk")]
    pub(super) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let region = self.region.clone();
        // On a thread of its own: whoever polls a client may be within a runtime, or not.
        let made = std::thread::spawn(move || token::made(region)).join();
        let made = made.unwrap_or_else(|_| Err("it ended by a panic".to_owned()));
        made.map_err(|why| format!("no token of AWS IAM: {why}").into())
    }

    /// The configuration refuses it by name.
    #[cfg(not(feature = "msk"))]
    #[expect(clippy::unused_self, reason = "the same call in all builds")]
    pub(super) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        Err("this build has no `msk`".into())
    }
}

/// The region in the name of a broker of MSK, such as
/// `b-1.orders.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098`.
fn region_of(server: &str) -> Option<&str> {
    let (host, _) = server.trim().rsplit_once(':')?;
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let host = host.strip_suffix(".amazonaws.com")?;
    let mut labels = host.rsplit('.');
    let region = labels.next()?;
    matches!(labels.next()?, "kafka" | "kafka-serverless").then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_that_of_the_servers_names() {
        for (server, region) in [
            (
                "b-1.orders.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098",
                Some("eu-central-1"),
            ),
            (
                "boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com:9098",
                Some("us-east-1"),
            ),
            (
                " b-1.o.a.c2.kafka.cn-north-1.amazonaws.com.cn:9098",
                Some("cn-north-1"),
            ),
            ("kafka.example.org:9098", None),
            ("sqs.eu-central-1.amazonaws.com:443", None),
        ] {
            assert_eq!(region_of(server), region, "{server}");
        }
    }

    #[test]
    fn librdkafka_is_told_of_a_mechanism_that_it_knows() {
        let with = |mechanism: &str| {
            [("sasl.mechanism".to_owned(), mechanism.to_owned())]
                .into_iter()
                .collect()
        };
        assert_eq!(Iam::of("a:1", &with("PLAIN")), None);
        let here = Iam::of("a:1", &with(MECHANISM));
        assert_eq!(here, Some(Iam { region: None }));
        let mut config = ClientConfig::new();
        config.set("sasl.mechanisms", MECHANISM);
        Iam::set(&mut config);
        assert_eq!(config.get("sasl.mechanism"), Some("OAUTHBEARER"));
        assert_eq!(config.get("sasl.mechanisms"), None);
    }
}
