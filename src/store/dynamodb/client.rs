//! The client: made from what every AWS tool reads, at the store's first call.

use crate::aws;
use aws_sdk_dynamodb::{Client, config::Builder};
use std::time::Duration;

/// Before a first retry at most; the SDK's own second is many times what a request takes. How many there
/// are stays the user's.
const BACKOFF: Duration = Duration::from_millis(50);

/// What [`aws::loader`] reads; the service's own endpoint is `AWS_ENDPOINT_URL_DYNAMODB`.
pub(super) async fn connect() -> Client {
    let config = aws::loader().load().await;
    let mut builder = Builder::from(&config);
    if let Some(retries) = config.retry_config() {
        builder = builder.retry_config(retries.clone().with_initial_backoff(BACKOFF));
    }
    Client::from_conf(builder.build())
}
