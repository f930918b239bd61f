//! Lambda and its event source mappings, for tests: functions as processes that speak the Runtime API, and
//! the mappings of Kinesis, SQS and Kafka as they were recorded on AWS.
//!
//! A mapping reads from a model in memory ([`Stream`], [`Queue`], [`Topics`]) or from a server
//! ([`Kinesis`](crate::kinesis::Kinesis), [`Sqs`](crate::sqs::Sqs), [`Kafka`](crate::kafka::Kafka)),
//! invokes a [`Function`], and keeps a [`Journal`] of everything that it does. What it does is that of AWS,
//! by the facts that `README.md` of this crate names; where nobody knows what AWS does, that says what was
//! chosen.

mod answer;
mod clock;
mod event;
mod function;
mod journal;
mod mapping;
mod queue;
mod stream;
mod topics;

pub use clock::Clock;
pub use function::{Environment, Function, Invoked, Outcome, Reuse, Stage};
pub use journal::{Delivery, End, Item, Journal, Loss, Verdict, Why};
pub use mapping::{KafkaMapping, Mapping, OnFailure, QueueMapping, Running, StreamMapping};
pub use queue::{Message, MessageQueue, Queue, Received, Refused};
pub use stream::{Put, Sequence, Stream, StreamRecord};
pub use topics::{TopicRecord, Topics};

/// What streams of servers are made of.
pub(crate) mod feed {
    pub(crate) use super::stream::{Feed, Shard};
}
