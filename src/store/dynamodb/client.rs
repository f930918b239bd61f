//! The client: made from what every AWS tool reads, at the store's first call.

use aws_config::{BehaviorVersion, ConfigLoader, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{Client, config::SharedHttpClient};
use aws_smithy_http_client::{Builder, tls};
use std::time::Duration;

/// A connection that does not come about in this time does not come about.
const CONNECT: Duration = Duration::from_secs(2);
/// One request: DynamoDB answers within milliseconds, or something on the way is lost.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Credentials, region, endpoint and retries as every AWS tool reads them: environment, profiles, SSO,
/// web identity, container and instance roles; `AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`,
/// `AWS_ENDPOINT_URL`, `AWS_RETRY_MODE`, `AWS_MAX_ATTEMPTS`.
pub(super) async fn connect() -> Client {
    Client::new(&loader().load().await)
}

pub(super) fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts)
}

/// `ring` as everywhere in this crate: one provider of cryptography.
fn http_client() -> SharedHttpClient {
    Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}
