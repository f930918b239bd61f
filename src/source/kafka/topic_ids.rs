//! The identities of topics: a topic that is deleted and made anew has another one.
#![expect(
    unsafe_code,
    reason = "DescribeTopics has no safe binding: each call says why it may be made"
)]

use super::client::Context;
use rdkafka::{
    bindings as native,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaRespErr,
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    ptr::NonNull,
    slice,
    time::Duration,
};

/// Asks for the ids of topics, as Kafka's tools write them. A topic that does not exist, and every topic
/// of a cluster that knows no ids (before Kafka 2.8), is left out.
///
/// # Errors
/// What librdkafka said, when there was no answer.
pub(super) fn topic_ids(
    consumer: &BaseConsumer<Context>,
    topics: &[&str],
    wait: Duration,
) -> Result<BTreeMap<String, String>, String> {
    let names: Vec<CString> = { topics.iter() }
        .filter_map(|topic| CString::new(*topic).ok())
        .collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: the client outlives the call and the queue, the event and the collection, which are all
    // given back before it returns; the names end with a zero and are copied by the collection.
    unsafe {
        let collection =
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let queue = native::rd_kafka_queue_new(client);
        let options = native::rd_kafka_AdminOptions_new(
            client,
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut problem = [0; 256];
        native::rd_kafka_AdminOptions_set_request_timeout(
            options,
            millis,
            problem.as_mut_ptr(),
            problem.len(),
        );
        native::rd_kafka_DescribeTopics(client, collection, options, queue);
        // It answers by itself when its time is over.
        let event = native::rd_kafka_queue_poll(queue, millis.saturating_add(1000));
        let found = NonNull::new(event).map_or_else(
            || Err("no answer in time".to_owned()),
            |event| {
                let found = read(event.as_ptr());
                native::rd_kafka_event_destroy(event.as_ptr());
                found
            },
        );
        native::rd_kafka_AdminOptions_destroy(options);
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_TopicCollection_destroy(collection);
        found
    }
}

/// # Safety
/// The event is alive, and the answer to a DescribeTopics.
unsafe fn read(event: *mut native::rd_kafka_event_t) -> Result<BTreeMap<String, String>, String> {
    // SAFETY: all that is reached from the event lives as long as it, and all texts end with a zero.
    unsafe {
        let error = native::rd_kafka_event_error(event);
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE {
            return Ok(BTreeMap::new());
        }
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let said = native::rd_kafka_event_error_string(event);
            return Err(CStr::from_ptr(said).to_string_lossy().into_owned());
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("an answer to another question".to_owned());
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = BTreeMap::new();
        if topics.is_null() {
            return Ok(ids);
        }
        for topic in slice::from_raw_parts(topics, count) {
            let error = native::rd_kafka_TopicDescription_error(*topic);
            let is_sound = error.is_null()
                || native::rd_kafka_error_code(error) == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            let id = native::rd_kafka_TopicDescription_topic_id(*topic);
            if !is_sound || id.is_null() || is_zero(id) {
                continue;
            }
            let id = CStr::from_ptr(native::rd_kafka_Uuid_base64str(id));
            let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(*topic));
            ids.insert(
                name.to_string_lossy().into_owned(),
                id.to_string_lossy().into_owned(),
            );
        }
        Ok(ids)
    }
}

/// # Safety
/// The id is alive.
unsafe fn is_zero(id: *const native::rd_kafka_Uuid_t) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        native::rd_kafka_Uuid_most_significant_bits(id) == 0
            && native::rd_kafka_Uuid_least_significant_bits(id) == 0
    }
}
