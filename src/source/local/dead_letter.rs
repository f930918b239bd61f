//! An embedded topic as the target of dead letters.
//!
//! A dead letter is one JSON line under the record's own key, so that letters of a key stay in order:
//! `{"format": 1, "id", "source", "partition", "position", "key" | "key_base64", "value" |
//! "value_base64", "headers", "timestamp", "error", "attempts"}`, each as in the exec protocol. The
//! same letter may come twice after a crash, with the same `id`.

use super::{
    log::{Log, NewRecord},
    put::partition_of,
};
use crate::{
    handler::{DeadLetter, PublishError},
    position::Position,
    record::Record,
    sqlite::Access,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use serde::Serialize;
use serde_json::{Value, json};
use std::{path::PathBuf, thread};
use tokio::sync::{mpsc, oneshot};

/// Publishes to a topic of an embedded log, on a thread of its own.
#[derive(Debug)]
pub struct LocalDeadLetter {
    letters: mpsc::UnboundedSender<Job>,
}

#[derive(Debug)]
struct Job {
    key: Option<Vec<u8>>,
    line: Vec<u8>,
    done: oneshot::Sender<Result<(), PublishError>>,
}

#[derive(Serialize)]
struct Letter<'a> {
    format: u32,
    id: String,
    source: &'a str,
    partition: &'a str,
    position: &'a Position,
    #[serde(flatten)]
    key: Value,
    #[serde(flatten)]
    value: Value,
    headers: Vec<(&'a str, Value)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    error: &'a str,
    attempts: u32,
}

impl LocalDeadLetter {
    /// A topic of the log in `path`; both are created by the first letter.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(path: PathBuf, topic: String) -> std::io::Result<Self> {
        let (letters, jobs) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("lanekeeper-dead-letters".to_owned())
            .spawn(move || serve(path, &topic, jobs))?;
        Ok(Self { letters })
    }
}

fn serve(path: PathBuf, topic: &str, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut log = None;
    while let Some(Job { key, line, done }) = jobs.blocking_recv() {
        let result = (|| {
            let opened = match log.take() {
                Some(opened) => opened,
                None => Log::open(&path, Access::Create)?,
            };
            let log = log.insert(opened);
            log.append(topic, None, |partitions| {
                let partition = partition_of(key.as_deref(), partitions);
                vec![NewRecord {
                    partition,
                    key: key.as_deref(),
                    value: &line,
                }]
            })
        })();
        let result = result.map(|_| ()).map_err(|error| PublishError {
            // A file that is full or locked is not the letter's fault.
            target: true,
            error: format!("topic `{topic}` of {}: {error}", path.display()),
        });
        // A processor that ended asks again after its restart.
        let _ = done.send(result);
    }
}

impl DeadLetter for LocalDeadLetter {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let (done, result) = oneshot::channel();
        let job = letter(&record, &error, attempts).map(|line| Job {
            key: record.key().map(<[u8]>::to_vec),
            line,
            done,
        });
        let sent = job.map(|job| self.letters.send(job).is_ok());
        async move {
            let gone = PublishError {
                target: true,
                error: "the dead-letter thread ended".to_owned(),
            };
            match sent {
                Ok(true) => result.await.unwrap_or(Err(gone)),
                Ok(false) => Err(gone),
                Err(error) => Err(PublishError {
                    target: false,
                    error: error.to_string(),
                }),
            }
        }
        .boxed()
    }
}

fn letter(record: &Record, error: &str, attempts: u32) -> Result<Vec<u8>, serde_json::Error> {
    let assignment = record.assignment();
    serde_json::to_vec(&Letter {
        format: 1,
        id: record.id(),
        source: &assignment.name.source,
        partition: &assignment.name.partition,
        position: record.position(),
        key: text_or_base64("key", record.key()),
        value: text_or_base64("value", record.value()),
        headers: record
            .headers()
            .map(|(name, value)| (name, header(value)))
            .collect(),
        timestamp: record.timestamp(),
        error,
        attempts,
    })
}

fn text_or_base64(name: &str, bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => json!({}),
        Some((Ok(text), _)) => json!({ name: text }),
        Some((Err(_), bytes)) => json!({ format!("{name}_base64"): STANDARD.encode(bytes) }),
    }
}

fn header(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName};
    use std::sync::Arc;

    fn record() -> Record {
        let name = PartitionName::new("in", "orders/3");
        let mut batch = BatchBuilder::new(Arc::new(Assignment {
            name,
            epoch: 1,
            generation: 2,
        }));
        let order = LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        };
        let headers = [("trace", &b"t-1"[..]), ("raw", b"\xff")];
        batch
            .push(
                order,
                Position::Offset(9),
                Some(b"a"),
                Some(b"\xfe"),
                headers,
                Some(5),
            )
            .expect("key");
        batch.finish(None).pop().expect("one")
    }

    #[tokio::test]
    async fn a_letter_is_in_the_log_once_it_is_acknowledged() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lanekeeper.db");
        let target = LocalDeadLetter::new(path.clone(), "orders.dead".to_owned()).expect("thread");
        target
            .publish(record(), "no such account".to_owned(), 5)
            .await
            .expect("published");
        let log = Log::open(&path, Access::Existing).expect("log");
        let topic = log
            .topic("orders.dead")
            .expect("readable")
            .expect("created");
        let partition = partition_of(Some(b"a"), topic.partitions());
        let mut lines = Vec::new();
        log.read(&topic, partition, (1, 10), 10, |record| {
            assert_eq!(record.key, Some(&b"a"[..]));
            lines.push(serde_json::from_slice::<Value>(record.value).expect("JSON"));
            true
        })
        .expect("read");
        let expected = json!({
            "format": 1, "id": "in/orders/3/9/2", "source": "in", "partition": "orders/3",
            "position": "9", "key": "a", "value_base64": "/g==", "timestamp": 5,
            "headers": [["trace", "t-1"], ["raw", {"base64": "/w=="}]],
            "error": "no such account", "attempts": 5,
        });
        assert_eq!(lines, [expected]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_the_targets_fault() {
        let path = PathBuf::from("/nonexistent/folder/lanekeeper.db");
        let target = LocalDeadLetter::new(path, "dead".to_owned()).expect("thread");
        let error = target
            .publish(record(), String::new(), 1)
            .await
            .expect_err("no folder");
        assert!(
            error.target && error.error.contains("/nonexistent/folder/lanekeeper.db"),
            "{error}"
        );
    }
}
