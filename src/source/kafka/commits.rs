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
    pub(super) places: Vec<Place>,
    /// Why the group did not take them.
    pub(super) error: Option<String>,
}

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
        let mut error = native::rd_kafka_event_error(event);
        let number = native::rd_kafka_event_opaque(event).addr();
        let mut places = Vec::new();
        if let Some(list) = native::rd_kafka_event_topic_partition_list(event).as_ref()
            && !list.elems.is_null()
        {
            let count = usize::try_from(list.cnt).unwrap_or(0);
            for element in slice::from_raw_parts(list.elems, count) {
                let topic = CStr::from_ptr(element.topic).to_string_lossy();
                places.push((topic.into_owned(), element.partition));
                if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    error = element.err;
                }
            }
        }
        let is_error = error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        Told {
            number,
            places,
            error: is_error.then(|| words(error)),
        }
    }
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
