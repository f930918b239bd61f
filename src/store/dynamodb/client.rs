//! The client: made from what every AWS tool reads, at the store's first call.

use aws_config::{BehaviorVersion, ConfigLoader, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{Builder, SharedHttpClient},
};
use aws_smithy_http_client::tls;
use std::time::Duration;

/// A connection that does not come about in this time does not come about.
const CONNECT: Duration = Duration::from_secs(2);
/// One request: DynamoDB answers within milliseconds, or something on the way is lost.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Before a first retry at most; the SDK's own second is many times what a request takes. How many there
/// are stays the user's.
const BACKOFF: Duration = Duration::from_millis(50);

/// Credentials, region, endpoint and retries as every AWS tool reads them: environment, profiles, SSO,
/// web identity, container and instance roles; `AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`,
/// `AWS_ENDPOINT_URL`, `AWS_RETRY_MODE`, `AWS_MAX_ATTEMPTS`.
pub(super) async fn connect() -> Client {
    let config = loader().load().await;
    let mut builder = Builder::from(&config);
    if let Some(retries) = config.retry_config() {
        builder = builder.retry_config(retries.clone().with_initial_backoff(BACKOFF));
    }
    Client::from_conf(builder.build())
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
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}
