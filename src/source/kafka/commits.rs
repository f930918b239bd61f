//! Offsets that the group is told, and whether it took them.
#![expect(
    unsafe_code,
    reason = "rdkafka's asynchronous commit tells no result: each call says why it may be made"
)]

use super::client::{Context, Place};
use rdkafka::{
    TopicPartitionList, bindings as native,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaRespErr,
};
use std::{
    ffi::CStr,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

/// What became of a commit.
#[derive(Debug)]
pub(super) struct Told {
    /// The number that it was told with.
    pub(super) number: usize,
    /// Those that the group took.
    pub(super) taken: Vec<Place>,
    /// Those that it did not take, and why.
    pub(super) refused: Vec<(Place, String)>,
    /// Some of them since the group is between two generations: it takes offsets again soon.
    pub(super) between: bool,
}

/// What a member hears while others come or go, and it is one all the same. The last one is of the new
/// protocol.
const BETWEEN: [RDKafkaRespErr; 3] = [
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
];

/// Commits that are out.
pub(super) struct Commits {
    queue: NonNull<native::rd_kafka_queue_t>,
    /// Declared last: the queue must be destroyed before its client.
    consumer: Arc<BaseConsumer<Context>>,
}

impl Commits {
    /// `None`: librdkafka gave no queue.
    pub(super) fn new(consumer: &Arc<BaseConsumer<Context>>) -> Option<Self> {
        // SAFETY: the client lives as long as the queue, which holds a reference to it.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Some(Self {
            queue: NonNull::new(queue)?,
            consumer: Arc::clone(consumer),
        })
    }

    /// Tells the group; waits for nothing. What becomes of it is told with the number.
    ///
    /// # Errors
    /// When it cannot even be asked.
    pub(super) fn tell(&self, list: &TopicPartitionList, number: usize) -> Result<(), String> {
        // SAFETY: client, list and queue live; the list is copied; there is no callback, and nobody takes
        // the number for an address.
        let asked = unsafe {
            native::rd_kafka_commit_queue(
                self.consumer.client().native_ptr(),
                list.ptr(),
                self.queue.as_ptr(),
                None,
                ptr::without_provenance_mut(number),
            )
        };
        if asked == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(())
        } else {
            Err(words(asked))
        }
    }

    /// What became of one of them, waiting so long at most.
    pub(super) fn told(&self, wait: Duration) -> Option<Told> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives; the event is ours until it is destroyed, after its last use.
        unsafe {
            let event =
                NonNull::new(native::rd_kafka_queue_poll(self.queue.as_ptr(), millis))?.as_ptr();
            let told = read(event);
            native::rd_kafka_event_destroy(event);
            Some(told)
        }
    }
}

/// # Safety
/// The event is alive, and the answer to a commit.
unsafe fn read(event: *mut native::rd_kafka_event_t) -> Told {
    // SAFETY: the list and its names live as long as the event; as many elements as it says are there.
    unsafe {
        let of_all = native::rd_kafka_event_error(event);
        let number = native::rd_kafka_event_opaque(event).addr();
        let (mut taken, mut refused, mut between) = (Vec::new(), Vec::new(), false);
        if let Some(list) = native::rd_kafka_event_topic_partition_list(event).as_ref()
            && !list.elems.is_null()
        {
            let count = usize::try_from(list.cnt).unwrap_or(0);
            for element in slice::from_raw_parts(list.elems, count) {
                let topic = CStr::from_ptr(element.topic).to_string_lossy();
                let place = (topic.into_owned(), element.partition);
                match why([element.err, of_all]) {
                    None => taken.push(place),
                    Some(error) => {
                        refused.push((place, words(error)));
                        between |= BETWEEN.contains(&error);
                    }
                }
            }
        }
        Told {
            number,
            taken,
            refused,
            between,
        }
    }
}

/// The first of them that is an error: a partition's own says more than that of all.
fn why(errors: [RDKafkaRespErr; 2]) -> Option<RDKafkaRespErr> {
    { errors.into_iter() }.find(|error| *error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
}

fn words(error: RDKafkaRespErr) -> String {
    // SAFETY: the texts of errors live for ever and end with a zero.
    let text = unsafe { CStr::from_ptr(native::rd_kafka_err2str(error)) };
    text.to_string_lossy().into_owned()
}

impl Drop for Commits {
    fn drop(&mut self) {
        // SAFETY: it was made by us, is not used any more, and its client still lives.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_judged_by_its_own_error_and_by_that_of_all() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR__TRANSPORT as LOST, RD_KAFKA_RESP_ERR_NO_ERROR as NONE,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as GONE,
        };
        assert_eq!(why([NONE, NONE]), None);
        assert_eq!(why([GONE, NONE]), Some(GONE));
        assert_eq!(why([NONE, LOST]), Some(LOST));
        assert_eq!(why([GONE, LOST]), Some(GONE));
    }
}
