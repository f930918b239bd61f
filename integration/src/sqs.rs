//! The SQS that tests talk to: an emulator of this process, and its queues as mappings read them.

use crate::{
    emulator::{
        package::MINISTACK,
        package_once,
        server::{SQS, Server},
    },
    json_api::JsonApi,
    lambda::{Clock, Message, MessageQueue, Received, Refused},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::panicking,
    time::{Duration, SystemTime},
};

/// The one emulator of this process.
static OWN: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The most messages of one receive.
const RECEIVE_MAX: usize = 10;

/// After which time to look again for a message that is hidden: the emulator does not say when it will be
/// seen.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An emulator of SQS, which all tests of this process share. Dropped last, it ends.
pub struct Sqs {
    server: Arc<Server>,
    api: Arc<JsonApi>,
}

/// A queue of the emulator. A clone is the same queue.
#[derive(Clone)]
pub struct SqsQueue {
    api: Arc<JsonApi>,
    url: String,
    arn: String,
    visibility: Duration,
    clock: Clock,
    // The emulator lasts as long as its queues.
    _server: Arc<Server>,
}

impl Sqs {
    /// Fetches the emulator, unless it is in the cache, and starts it, unless it runs.
    ///
    /// # Errors
    /// When it cannot be fetched or started; the message says what to do.
    pub fn start() -> io::Result<Self> {
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match own.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::start(&package_once()?, SQS)?),
        };
        *own = Arc::downgrade(&server);
        let api = Arc::new(JsonApi::new(server.endpoint(), "AmazonSQS", "1.0")?);
        Ok(Self { server, api })
    }

    /// Where it listens, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    /// What it is, for figures.
    pub fn name() -> String {
        format!("the emulator ministack {}", MINISTACK.version())
    }

    /// A new standard queue that hides a received message for so long, in whole seconds.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_standard(&self, visibility: Duration) -> io::Result<SqsQueue> {
        self.create("", visibility, &json!({}))
    }

    /// A new FIFO queue, likewise.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_fifo(&self, visibility: Duration) -> io::Result<SqsQueue> {
        self.create(".fifo", visibility, &json!({"FifoQueue": "true"}))
    }

    /// A new FIFO queue with a FIFO queue for its dead letters, after so many receives.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create_fifo_with_dead_letters(
        &self,
        visibility: Duration,
        receives_max: u32,
    ) -> io::Result<(SqsQueue, SqsQueue)> {
        let dead_letters = self.create_fifo(visibility)?;
        let policy = json!({
            "deadLetterTargetArn": dead_letters.arn,
            "maxReceiveCount": receives_max.to_string(),
        });
        let attributes = json!({"FifoQueue": "true", "RedrivePolicy": policy.to_string()});
        let queue = self.create(".fifo", visibility, &attributes)?;
        Ok((queue, dead_letters))
    }

    fn create(&self, end: &str, visibility: Duration, more: &Value) -> io::Result<SqsQueue> {
        let name = format!("lanekeeper-test-{:016x}{end}", fastrand::u64(..));
        let mut attributes = more.clone();
        attributes["VisibilityTimeout"] = visibility.as_secs().to_string().into();
        let question = json!({"QueueName": name, "Attributes": attributes});
        let url = text(&self.api.ask("CreateQueue", &question)?, "QueueUrl")?;
        let question = json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]});
        let told = self.api.ask("GetQueueAttributes", &question)?;
        Ok(SqsQueue {
            api: Arc::clone(&self.api),
            arn: text(&told["Attributes"], "QueueArn")?,
            url,
            visibility,
            clock: Clock::real(),
            _server: Arc::clone(&self.server),
        })
    }
}

impl SqsQueue {
    /// Sends a message to a standard queue; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub fn send(&self, body: &str) -> io::Result<String> {
        let message = json!({"QueueUrl": self.url, "MessageBody": body});
        text(&self.api.ask("SendMessage", &message)?, "MessageId")
    }

    /// Sends a message of a group; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub fn send_to(&self, group: &str, body: &str) -> io::Result<String> {
        let message = json!({
            "QueueUrl": self.url,
            "MessageBody": body,
            "MessageGroupId": group,
            "MessageDeduplicationId": format!("{:016x}", fastrand::u64(..)),
        });
        text(&self.api.ask("SendMessage", &message)?, "MessageId")
    }

    /// Its URL, as the emulator gives it out.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes all messages that can be received out of it, in the order in which they come, as the API
    /// gives them: `Body`, `Attributes`, `MessageAttributes`.
    ///
    /// # Errors
    /// When they cannot be received or deleted.
    pub fn drain(&self) -> io::Result<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let question = json!({
                "QueueUrl": self.url,
                "MaxNumberOfMessages": RECEIVE_MAX,
                "AttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            });
            let told = self.api.ask("ReceiveMessage", &question)?;
            let messages = told["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return Ok(all);
            }
            for message in messages {
                let handle = text(&message, "ReceiptHandle")?;
                let question = json!({"QueueUrl": self.url, "ReceiptHandle": handle});
                self.api.ask("DeleteMessage", &question)?;
                all.push(message);
            }
        }
    }

    /// How many messages can be received, and how many are hidden.
    fn counts(&self) -> io::Result<(u64, u64)> {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ];
        let question = json!({"QueueUrl": self.url, "AttributeNames": names});
        let told = self.api.ask("GetQueueAttributes", &question)?;
        let count = |name: &str| -> io::Result<u64> {
            let digits = text(&told["Attributes"], name)?;
            digits.parse().map_err(io::Error::other)
        };
        Ok((count(names[0])?, count(names[1])?))
    }
}

impl MessageQueue for SqsQueue {
    fn arn(&self) -> String {
        self.arn.clone()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn visibility(&self) -> Duration {
        self.visibility
    }

    fn receive(&self, messages_max: usize) -> io::Result<Received> {
        let question = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": messages_max.min(RECEIVE_MAX),
            "AttributeNames": ["All"],
        });
        let hidden_until = self.clock.now() + self.visibility;
        let told = self.api.ask("ReceiveMessage", &question)?;
        let messages = told["Messages"].as_array().into_iter().flatten();
        let messages = messages.map(|message| {
            let attributes = message["Attributes"].as_object().cloned();
            let attributes = attributes.unwrap_or_default();
            let attribute = |name: &str| Some(attributes.get(name)?.as_str()?.to_owned());
            let receives = attribute("ApproximateReceiveCount");
            Ok(Message {
                id: text(message, "MessageId")?,
                handle: text(message, "ReceiptHandle")?,
                body: text(message, "Body")?,
                md5_of_body: text(message, "MD5OfBody")?,
                group: attribute("MessageGroupId"),
                receives: receives.and_then(|n| n.parse().ok()).unwrap_or(1),
                attributes: attributes.clone(),
                hidden_until,
            })
        });
        Ok(Received {
            messages: messages.collect::<io::Result<_>>()?,
            redriven: Vec::new(),
        })
    }

    fn delete(&self, message: &Message) -> io::Result<Result<(), Refused>> {
        let question = json!({"QueueUrl": self.url, "ReceiptHandle": message.handle});
        let deleted = self.api.ask("DeleteMessage", &question);
        Ok(deleted
            .map(drop)
            .map_err(|error| Refused(error.to_string())))
    }

    fn next_seen(&self) -> io::Result<Option<SystemTime>> {
        let is_any = self.counts()? != (0, 0);
        Ok(is_any.then(|| self.clock.now() + LOOK_AGAIN))
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        if panicking() {
            self.server.keep_folder();
            let log = self.server.log();
            let _gone = writeln!(io::stderr(), "the log of SQS is {}", log.display());
        }
    }
}

fn text(value: &Value, name: &str) -> io::Result<String> {
    let text = value[name].as_str().map(str::to_owned);
    text.ok_or_else(|| io::Error::other(format!("SQS told no `{name}`: {value}")))
}
