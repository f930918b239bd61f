//! Who may come by AWS's identities, as brokers of Amazon MSK ask for them: our own class in the broker
//! takes the tokens apart and computes their signatures anew.

use super::{security::Listener, setup::Setup};

/// The one user: the access key's id.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";

/// The user's secret key.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Where the cluster is.
pub const REGION: &str = "eu-central-1";

/// A session token is this and the time at which the session ends, in milliseconds since 1970: what AWS
/// knows of its own is not in a token.
pub const SESSION: &str = "until-";

/// Answers the callbacks of Kafka.
const CLASS: &str = "IamTokens";

/// The most that a connection may last without a new token: as long as AWS lets a role's session last. A
/// token ends sooner, and its connection with it, unless a new one is shown.
const REAUTH_MAX_MS: &str = "43200000";

/// The mechanism of the listener that asks for such tokens.
pub(super) fn with(setup: Setup) -> Setup {
    let options = format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         accessKey=\"{ACCESS_KEY}\" secretKey=\"{SECRET_KEY}\" region=\"{REGION}\";"
    );
    [
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("oauthbearer.sasl.jaas.config", options.as_str()),
        ("oauthbearer.sasl.server.callback.handler.class", CLASS),
        ("oauthbearer.sasl.login.callback.handler.class", CLASS),
        ("oauthbearer.connections.max.reauth.ms", REAUTH_MAX_MS),
    ]
    .iter()
    .fold(setup, |setup, (name, value)| {
        setup.with(&Listener::Iam.property(name), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{java, package_once};
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    /// 2023-11-14, 22:13:20.
    const SIGNED: u64 = 1_700_000_000_000;

    /// A quarter of an hour later.
    const END: u64 = SIGNED + 900_000;

    /// Signed by the published steps of Signature Version 4, apart from the broker's class and from
    /// lanekeeper.
    const URL: &str = "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-central-1%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20231114T221320Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=14ddbfb3509467d7fb015413260f629542ff80c468c87d490ec7ced88c6419a1&User-Agent=somebody";

    /// What the broker's class says of these tokens at these times.
    fn judged(tokens: &[(u64, String)]) -> Vec<String> {
        let mut judge = Command::new(java())
            .args(["-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"])
            .arg(package_once().unwrap().class_path())
            .args([CLASS, ACCESS_KEY, SECRET_KEY, REGION])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = judge.stdin.take().unwrap();
        for (now, token) in tokens {
            writeln!(lines, "{now} {token}").unwrap();
        }
        drop(lines);
        let said = judge.wait_with_output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        said.lines().map(str::to_owned).collect()
    }

    fn token(url: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(url)
    }

    #[test]
    fn the_broker_takes_the_token_that_amazon_would_take_and_no_other() {
        let accepted = format!("until {END}");
        let other = |from: &str, to: &str| {
            assert!(URL.contains(from), "{from}");
            (SIGNED, token(&URL.replace(from, to)))
        };
        let cases: [((u64, String), &str); 18] = [
            ((SIGNED, token(URL)), &accepted),
            ((END - 1, token(URL)), &accepted),
            ((SIGNED - 300_000, token(URL)), &accepted),
            (other("&User-Agent=somebody", ""), &accepted),
            ((END, token(URL)), "it ended"),
            ((SIGNED - 301_000, token(URL)), "it is of the future"),
            (other("419a1", "419a2"), "the signature is another"),
            (other("=900", "=800"), "the signature is another"),
            (other("=900", "=901"), "X-Amz-Expires is 901"),
            (
                other("&X-Amz-Expires=900", ""),
                "X-Amz-Expires is no number",
            ),
            (
                other("AKIDEXAMPLE", "AKIDANOTHER"),
                "X-Amz-Credential is AKIDANOTHER",
            ),
            (other("20231114T", "20231113T"), "X-Amz-Credential is"),
            (
                other("3AConnect", "3ADelete"),
                "Action is kafka-cluster:Delete",
            ),
            (
                other("=host", "=host%3Bdate"),
                "X-Amz-SignedHeaders is host;date",
            ),
            (
                other("kafka.eu-central-1", "kafka.eu-west-1"),
                "the host is",
            ),
            (other("https", "http"), "the scheme is http"),
            (
                other("&User", "&X-Amz-Security-Token=until-1&User"),
                "the signature is another",
            ),
            ((SIGNED, format!("{}=", token(URL))), "base64 with padding"),
        ];
        let tokens: Vec<(u64, String)> = cases.iter().map(|(case, _)| case.clone()).collect();
        let said = judged(&tokens);
        assert_eq!(said.len(), cases.len());
        for ((case, expected), said) in cases.iter().zip(said) {
            assert!(said.starts_with(expected), "{case:?}: {said}");
        }
    }
}
