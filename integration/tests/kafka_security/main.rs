//! The real binary and a real Kafka: who is let in, what is said of who is not, and where failed records
//! go.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

mod connect;
mod iam;
mod letters;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::time::Duration;

/// How long anything may take that is expected to succeed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records are of 2023: else Kafka deletes them at once.
const FOR_EVER: [(&str, &str); 1] = [("retention.ms", "-1")];

/// A handler that notes each try's position, and rejects tombstones and what is `bad`.
const HANDLER: &str = r#"
[handler]
type = "exec"
command = ["python3", "-c", '''
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    with open("ledger.txt", "a") as ledger:
        ledger.write(record["position"] + "\n")
    answer = {"id": record["id"], "status": "done"}
    if record.get("value") in (None, "bad"):
        answer = {"id": record["id"], "status": "reject", "error": "no such account"}
    print(json.dumps(answer), flush=True)
''']
"#;

/// Writes records with a header each to partition 0; `None`: a tombstone.
fn produce(bootstrap: &str, topic: &str, records: &[(&str, Option<&str>)]) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().unwrap();
    for &(key, value) in records {
        let header = Header {
            key: "trace",
            value: Some("t-1"),
        };
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic)
            .partition(0)
            .key(key)
            .timestamp(1_700_000_000_000)
            .headers(OwnedHeaders::new().insert(header));
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}
