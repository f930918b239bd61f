//! Records from librdkafka by the batch: half as fast again as one poll for each.
//!
//! All that is unsafe of the source is in this file and in `topic_ids`. What the calls promise is said in
//! librdkafka's `rdkafka.h`.
#![expect(
    unsafe_code,
    reason = "librdkafka's batch fetch has no safe binding: each call says why it may be made"
)]

use super::client::Context;
use rdkafka::{
    bindings as native,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaRespErr,
};
use std::{
    borrow::Cow,
    ffi::{CStr, CString},
    os::raw::c_void,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

/// Most records of one call.
const SLOTS: usize = 2048;

/// A queue that partitions hand their records to, instead of to the consumer's own, which serves
/// rebalances.
pub(super) struct Queue {
    queue: NonNull<native::rd_kafka_queue_t>,
    slots: Vec<*mut native::rd_kafka_message_t>,
    /// Declared last: the queue must be destroyed before its client.
    consumer: Arc<BaseConsumer<Context>>,
}

impl Queue {
    /// A queue of this consumer; `None`: librdkafka gave none.
    pub(super) fn new(consumer: &Arc<BaseConsumer<Context>>) -> Option<Self> {
        // SAFETY: the client lives as long as the queue, which holds a reference to it.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Some(Self {
            queue: NonNull::new(queue)?,
            slots: Vec::with_capacity(SLOTS),
            consumer: Arc::clone(consumer),
        })
    }

    /// Lets a partition hand its records to this queue. To be called before it is assigned.
    pub(super) fn forward(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else {
            return false;
        };
        // SAFETY: the client lives; the topic's name ends with a zero; the handle is given back.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let handle = native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if handle.is_null() {
                return false;
            }
            native::rd_kafka_queue_forward(handle, self.queue.as_ptr());
            native::rd_kafka_queue_destroy(handle);
        }
        true
    }

    /// Waits for records, at most so long, and takes at most `max` of them.
    pub(super) fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> impl Iterator<Item = Message> + use<'_> {
        let max = max.clamp(1, SLOTS);
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        self.slots.clear();
        // SAFETY: there is room for `max` pointers behind the (empty) vector's start, and as many as the
        // call says it has written are initialised.
        unsafe {
            let got = native::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                millis,
                self.slots.as_mut_ptr(),
                max,
            );
            self.slots
                .set_len(usize::try_from(got).unwrap_or(0).min(max));
        }
        self.slots.drain(..).filter_map(|message| {
            let message = NonNull::new(message)?;
            Some(Message(message))
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it was made by us, is not used any more, and its client still lives.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// What came out of the queue, owned: a record, the news that a partition's end is reached, or an error.
pub(super) struct Message(NonNull<native::rd_kafka_message_t>);

/// What a message is.
pub(super) enum Kind {
    Record,
    /// The end of the partition: the message's offset is that of the next record to come.
    End,
    /// What was asked for is not there.
    OutOfRange(String),
    /// A batch of records there, at about the message's offset, is not what can be decoded. librdkafka may
    /// go on behind it, or fetch it again.
    Undecodable(String),
    Error(String),
}

/// What librdkafka, or a broker, says of a batch that it cannot make sense of: a wrong checksum (where
/// `check.crcs` is not off), a codec or a format that it does not know, a payload that does not unpack.
const UNDECODABLE: [RDKafkaRespErr; 5] = [
    RDKafkaRespErr::RD_KAFKA_RESP_ERR__BAD_MSG,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
];

impl Message {
    fn get(&self) -> &native::rd_kafka_message_t {
        // SAFETY: the message is ours until it is destroyed in `drop`, and nobody else writes to it.
        unsafe { self.0.as_ref() }
    }

    /// Says whose partition it is, without the cost of its name: equal within one fetch for the same one.
    pub(super) fn handle(&self) -> (*const c_void, i32) {
        (self.get().rkt.cast_const().cast(), self.get().partition)
    }

    /// Its topic's name; empty for an error of the client as a whole.
    pub(super) fn topic(&self) -> Cow<'_, str> {
        let topic = self.get().rkt;
        if topic.is_null() {
            return Cow::Borrowed("");
        }
        // SAFETY: the topic's handle lives as long as its messages, and its name ends with a zero.
        unsafe { CStr::from_ptr(native::rd_kafka_topic_name(topic)) }.to_string_lossy()
    }

    pub(super) fn partition(&self) -> i32 {
        self.get().partition
    }

    /// Never negative for records and ends.
    pub(super) fn offset(&self) -> u64 {
        u64::try_from(self.get().offset).unwrap_or(0)
    }

    pub(super) fn kind(&self) -> Kind {
        let error = self.get().err;
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Kind::Record;
        }
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return Kind::End;
        }
        // SAFETY: both texts end with a zero, and live as long as the message or for ever.
        let said = unsafe {
            let text = native::rd_kafka_message_errstr(self.0.as_ptr());
            let text = if text.is_null() {
                native::rd_kafka_err2str(error)
            } else {
                text
            };
            CStr::from_ptr(text).to_string_lossy().into_owned()
        };
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            || error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        {
            Kind::OutOfRange(said)
        } else if UNDECODABLE.contains(&error) {
            Kind::Undecodable(said)
        } else {
            Kind::Error(said)
        }
    }

    /// `None`: it has no key (not: an empty one).
    pub(super) fn key(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: a message's key lives as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// `None`: a tombstone.
    pub(super) fn value(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: a message's payload lives as long as the message.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.get().key_len + self.get().len
    }

    /// Milliseconds since 1970.
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and the call writes to `kind` alone.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
            .then_some(millis)
    }

    /// Adds its headers, in order. A header without value has an empty one; a name that is not UTF-8 is
    /// made so.
    pub(super) fn headers<'a>(&'a self, into: &mut Vec<(Cow<'a, str>, &'a [u8])>) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives; its headers, names and values live as long as it does.
        unsafe {
            let found = native::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers);
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
                let got = native::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut length,
                );
                if got != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                let name = CStr::from_ptr(name).to_string_lossy();
                into.push((name, bytes(value.cast_mut(), length).unwrap_or_default()));
            }
        }
    }
}

/// `None` for a null pointer.
///
/// # Safety
/// What it points to is readable for `length` bytes, as long as the result lives.
unsafe fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    let start = NonNull::new(start.cast::<u8>())?;
    // SAFETY: as the caller promises.
    Some(unsafe { slice::from_raw_parts(start.as_ptr(), length) })
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has a reference to it any more.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// The last offset that a fetch said a partition's log ends before; `None`: not known yet. Asks nobody.
pub(super) fn high_watermark(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Option<u64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives, the name ends with a zero, and the call writes to both numbers alone.
    let known = unsafe {
        native::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (known == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
        .then(|| u64::try_from(high).ok())
        .flatten()
}
