//! What a Lambda function is invoked with by the mapping of a Kinesis stream, an SQS queue or Kafka
//! topics, and what it answers.
//!
//! [`decode`] tells the kinds of events apart and gives a [`Delivery`]: its partitions, each with its
//! entries in the order in which they may be run. Of these [`Batches`] makes the records that a processor
//! takes.
//!
//! What AWS is known to vary is taken as it comes: fields that are absent or null, times as fractions, a
//! consumer's ARN in place of its stream's. What would lose a record or let one overtake another is
//! refused as a whole ([`EventError`]): an invocation that fails has lost nothing, since all of it comes
//! again.

mod delivery;
mod event;
mod kafka;
mod kinesis;
#[cfg(test)]
mod sample;
mod sqs;

pub use delivery::{Batches, Delivered, Delivery, Entry, Handed, NotUnpacked, Unpacked, Window};
pub use event::{Event, EventError, EventKind, Place, decode};
