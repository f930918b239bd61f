//! An SQS queue as the target of dead letters, standard or FIFO.
//!
//! What a letter looks like stands in `docs/formats.md`. A queue refuses letters above 1 MiB, or above its own
//! `MaximumMessageSize`; what is refused is not cut short but fails, so that its lane stops with that
//! reason and the record stays where it is.

use crate::{
    aws,
    handler::{DeadLetter, PublishError},
    record::Record,
};
use aws_config::Region;
use aws_sdk_sqs::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::send_message::SendMessageError,
};
use futures_util::future::BoxFuture;
use letter::Letter;
use std::sync::Arc;
use tokio::sync::{OnceCell, Semaphore};

mod letter;

pub use letter::BYTES_MAX;

/// What ends the name of a FIFO queue, and of no other.
const FIFO: &str = ".fifo";

/// Letters on their way at once: each may be as large as a message can be.
const AT_ONCE: usize = 16;

/// Where letters go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// As SQS gives it out: `https://sqs.{region}.amazonaws.com/{account}/{name}`.
    pub queue_url: String,
    /// Of whose records they are: apps may share a queue, and call their sources the same.
    pub app: String,
}

/// Publishes to a queue.
pub struct SqsDeadLetter(Arc<Queue>);

struct Queue {
    settings: Settings,
    is_fifo: bool,
    client: OnceCell<Client>,
    room: Semaphore,
}

impl SqsDeadLetter {
    /// A target; nothing is asked before the first letter. Credentials, region and endpoint are found as
    /// by every AWS tool, but for the region where the queue's URL says it.
    pub fn new(settings: Settings) -> Self {
        Self::over(settings, OnceCell::new())
    }

    /// As [`SqsDeadLetter::new`], through this client.
    pub fn with_client(settings: Settings, client: Client) -> Self {
        Self::over(settings, OnceCell::new_with(Some(client)))
    }

    fn over(settings: Settings, client: OnceCell<Client>) -> Self {
        Self(Arc::new(Queue {
            is_fifo: settings.queue_url.ends_with(FIFO),
            settings,
            client,
            room: Semaphore::new(AT_ONCE),
        }))
    }
}

impl DeadLetter for SqsDeadLetter {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let queue = Arc::clone(&self.0);
        Box::pin(async move {
            // It is closed by nobody.
            let _room = queue.room.acquire().await;
            let letter = Letter::of(&queue.settings.app, &record, (&error, attempts));
            queue.send(letter).await
        })
    }
}

impl Queue {
    async fn client(&self) -> &Client {
        let connect = || async {
            let mut loader = aws::loader();
            if let Some(region) = region_of(&self.settings.queue_url) {
                loader = loader.region(Region::new(region.to_owned()));
            }
            Client::new(&loader.load().await)
        };
        self.client.get_or_init(connect).await
    }

    async fn send(&self, letter: Letter) -> Result<(), PublishError> {
        let bytes = letter.bytes();
        if bytes > BYTES_MAX {
            return Err(PublishError {
                target: false,
                error: format!(
                    "queue `{}`: the record makes a message of {bytes} bytes with what says what became of it, and SQS takes {BYTES_MAX} at most: park or skip it, or publish it by hand",
                    self.settings.queue_url
                ),
            });
        }
        let client = self.client().await;
        let mut request = client
            .send_message()
            .queue_url(&self.settings.queue_url)
            .message_body(letter.body);
        for (name, attribute) in letter.attributes {
            let attribute = attribute.built().map_err(|error| PublishError {
                target: false,
                error: format!("attribute `{name}` cannot be built: {error}"),
            })?;
            request = request.message_attributes(name, attribute);
        }
        if self.is_fifo {
            request = request
                .message_group_id(letter.group)
                .message_deduplication_id(letter.deduplication);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &SdkError<SendMessageError, HttpResponse>) -> PublishError {
        let Some(service) = error.as_service_error() else {
            let told = aws::causes(error);
            return self.told(true, &told, "");
        };
        let code = service.code().unwrap_or_default();
        let message = service.message().unwrap_or_default();
        let said = [code, message].into_iter().filter(|text| !text.is_empty());
        let said = said.collect::<Vec<_>>().join(": ");
        let (is_of_the_letter, hint) = judged(code);
        self.told(!is_of_the_letter, &said, hint)
    }

    fn told(&self, target: bool, said: &str, hint: &str) -> PublishError {
        PublishError {
            target,
            error: format!("queue `{}`: {said}{hint}", self.settings.queue_url),
        }
    }
}

/// Whether another letter would have been taken, and what to do. Codes are those of the JSON protocol, or
/// of the older query protocol.
fn judged(code: &str) -> (bool, &'static str) {
    match code {
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => (
            false,
            ": there is no such queue in this region: create it, or correct `failure.dead_letter.queue_url`",
        ),
        "AccessDenied" | "AccessDeniedException" => (
            false,
            ": give the role `sqs:SendMessage` on the queue (deploy/iam/dead-letters.json)",
        ),
        "KmsAccessDenied" | "KMS.AccessDeniedException" => (
            false,
            ": give the role `kms:GenerateDataKey` and `kms:Decrypt` on the queue's key",
        ),
        // Among them that it is longer than the queue takes.
        "InvalidMessageContents"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidAttributeValue" => (
            true,
            ": the record cannot be a message of this queue; where it is too long, raise the queue's `MaximumMessageSize`",
        ),
        _ => (false, ""),
    }
}

/// The region of a queue, where its URL says so; others are of an endpoint that is configured.
fn region_of(queue_url: &str) -> Option<&str> {
    let host = queue_url.strip_prefix("https://")?.split('/').next()?;
    let (region, _) = host.strip_prefix("sqs.")?.split_once(".amazonaws.com")?;
    (!region.is_empty() && !region.contains('.')).then_some(region)
}

#[cfg(test)]
mod tests;
