//! Event source mappings: what stands between a source and a function.

mod destination;
mod drive;
mod kafka;
mod kinesis;
mod retry;
mod running;
mod sqs;

pub use destination::OnFailure;
pub use kafka::KafkaMapping;
pub use kinesis::StreamMapping;
pub use running::Running;
pub use sqs::QueueMapping;

use super::{function::Function, queue::MessageQueue, stream::Stream, topics::Topics};

/// Makes mappings of each kind, with the defaults of Lambda.
pub struct Mapping;

impl Mapping {
    /// From a stream of Kinesis, from its oldest record on (`TRIM_HORIZON`).
    pub fn kinesis(function: &Function, stream: &Stream) -> StreamMapping {
        StreamMapping::new(function.clone(), stream.clone())
    }

    /// From the stream of a table of DynamoDB, likewise: what is recorded of Kinesis holds of it too.
    pub fn dynamodb(function: &Function, stream: &Stream) -> StreamMapping {
        StreamMapping::new(function.clone(), stream.clone())
    }

    /// From a queue of SQS, FIFO or not.
    pub fn sqs(function: &Function, queue: &(impl MessageQueue + Clone + 'static)) -> QueueMapping {
        QueueMapping::new(function.clone(), Box::new(queue.clone()))
    }

    /// From topics of Kafka, from their oldest records on.
    pub fn kafka(function: &Function, topics: &Topics) -> KafkaMapping {
        KafkaMapping::new(function.clone(), topics.clone())
    }
}
