//! What AWS's services are asked through: one stack of HTTP and TLS, one set of limits, and what every
//! AWS tool reads.

use aws_config::{BehaviorVersion, ConfigLoader, timeout::TimeoutConfig};
use aws_smithy_http_client::tls;
use std::{error::Error, time::Duration};

/// A connection that does not come about in this time does not come about.
const CONNECT: Duration = Duration::from_secs(2);
/// One request: an answer comes within milliseconds, or something on the way is lost.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Credentials, region, endpoint and retries as every AWS tool reads them: environment, profiles (with SSO and
/// programs that print credentials in a build with the command line),
/// web identity, container and instance roles; `AWS_REGION`, `AWS_ENDPOINT_URL` and the service's own,
/// `AWS_RETRY_MODE`, `AWS_MAX_ATTEMPTS`.
pub(crate) fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    // `ring` as everywhere in this crate: one provider of cryptography.
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .timeout_config(timeouts)
}

/// An error and what caused it, on one line; a cause that its effect names already is not said twice.
pub(crate) fn causes(error: &dyn Error) -> String {
    let one_line = |error: &dyn Error| {
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.join("; ")
    };
    let mut told = one_line(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let text = one_line(cause);
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}
