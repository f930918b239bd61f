//! Puts lines into a topic, where Kafka's own tools are not at hand: `key:value` each, as standard input has
//! them. The topic is made, with so many partitions, unless it is there.
//!
//! ```console
//! $ cargo run --release --features kafka --example kafka_put -- 127.0.0.1:9092 orders 4 <<'END'
//! customer-17:{"order": 1, "amount": 10}
//! END
//! ```
#![expect(clippy::print_stdout, reason = "it says what it has done")]

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
    producer::{FutureProducer, FutureRecord},
};
use std::{env, error::Error, io, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [servers, topic, partitions] = &args[..] else {
        return Err("expected: SERVERS TOPIC PARTITIONS, and lines on standard input".into());
    };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(topic, partitions.parse()?, TopicReplication::Fixed(-1));
    for made in admin.create_topics([&new], &AdminOptions::new()).await? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, error)) => return Err(error.into()),
        }
    }
    let producer: FutureProducer = config.create()?;
    let mut lines = 0;
    for line in io::stdin().lines() {
        let line = line?;
        let (key, value) = line
            .split_once(':')
            .ok_or_else(|| format!("`{line}`: expected `key:value`"))?;
        let record = FutureRecord::to(topic).key(key).payload(value);
        // The next line follows once this one is there: what is put is in order, and what is not is told of.
        let sent = producer.send(record, PATIENCE).await;
        sent.map_err(|(error, _)| format!("`{line}`: {error}"))?;
        lines += 1;
    }
    println!("{lines} records in `{topic}`");
    Ok(())
}
