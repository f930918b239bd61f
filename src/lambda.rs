//! What a Lambda function is invoked with by the mapping of a stream of Kinesis or DynamoDB, an SQS queue
//! or Kafka topics, and what it answers.
//!
//! [`decode`] tells the kinds of events apart and gives a [`Delivery`]: its partitions, each with its
//! entries in the order in which they may be run. Of these [`Batches`] makes the records that a processor
//! takes. In the end [`Delivery::failures`] names what is unfinished in the mapping's own words, and
//! nothing that did not come.
//!
//! | from | a partition is | an entry's position | its key |
//! |---|---|---|---|
//! | Kinesis | the shard | the sequence number, `:n` behind it for the n-th record of an aggregate | the partition key; none where the stream places records by itself |
//! | DynamoDB Streams | the table | the sequence number, `:n` behind it for the item | the item's primary key |
//! | SQS | the queue | the message's id as a number: an identity, not an order | none |
//! | SQS FIFO | the queue | `SequenceNumber` | the message group |
//! | Kafka | `{topic}/{n}` | the offset | the record's key, if it has one |
//!
//! Headers are Kafka's headers and the attributes of SQS messages. Aggregates of the producer library
//! are read apart ([`crate::kpl`]), all of their records kept.
//!
//! What AWS is known to vary is taken as it comes: fields that are absent or null, times as fractions, a
//! consumer's ARN in place of its stream's. What would lose a record or let one overtake another is
//! refused as a whole ([`EventError`]): an invocation that fails has lost nothing, since all of it comes
//! again.

mod answer;
mod applied;
mod batch;
mod bootstrap;
mod delivery;
mod dynamodb;
mod event;
mod figures;
mod holder;
mod invocation;
mod kafka;
mod kinesis;
mod marks;
mod merge;
#[cfg(all(feature = "cli", feature = "kinesis"))]
pub(crate) mod recovery;
mod release;
#[cfg(test)]
mod sample;
mod serve;
mod sqs;
mod standing;
mod windows;

pub use answer::{Answer, Failures};
pub use bootstrap::bootstrap;
pub(crate) use bootstrap::serve_here;
#[cfg(feature = "cli")]
pub(crate) use bootstrap::{BootstrapError, serve_configured};
pub use delivery::{Batches, Delivered, Delivery, Entry, Handed, NotUnpacked, Unpacked, Window};
pub use event::{Event, EventError, EventKind, Place, decode};
pub use figures::{Figures, Standstill};
#[cfg(all(feature = "cli", feature = "kinesis"))]
pub(crate) use invocation::MARKS_AFTER;
pub use invocation::{Function, InvocationError, Invoked};
pub use serve::{ServeError, run, run_windowed, serve};
#[cfg(all(feature = "cli", feature = "kinesis"))]
pub(crate) use serve::{function, store as mark_store, store_apart};
pub(crate) use serve::{serve_with, within_lambda};
pub use windows::{Aggregate, Aggregated, STATE_BYTES_MAX, WindowState, aggregate};
