use super::*;
use crate::{
    record::{LaneOrder, NoKey, OrderBy},
    source::{Extent, OnGap, kafka::Settings},
};
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use std::{collections::BTreeMap, thread};

const TOPIC: &str = "orders";
const RECORDS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster of one broker with records in one partition.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("topic");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .expect("producer");
    for n in 0..RECORDS {
        let value = n.to_string();
        let record: BaseRecord<'_, str, String> = BaseRecord::to(TOPIC).payload(&value);
        producer.send(record).expect("queued");
    }
    producer.flush(PATIENCE).expect("flushed");
    cluster
}

fn settings(servers: String) -> Settings {
    Settings {
        name: "orders".to_owned(),
        bootstrap_servers: servers,
        topics: vec![TOPIC.to_owned()],
        group_id: "scan".to_owned(),
        properties: BTreeMap::new(),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        start: None,
        on_gap: OnGap::Refuse,
        new_partitions_wait: true,
        store_is_shared: true,
        queue_bytes: 1 << 20,
        extent: Extent::Everything,
    }
}

#[test]
fn a_broker_that_is_away_for_a_while_is_waited_for() {
    let mock = cluster();
    let asked = Cluster::open(&settings(mock.bootstrap_servers())).expect("a client");
    mock.broker_down(1).expect("down");
    let seen = thread::scope(|scope| {
        let scanned = scope.spawn(|| {
            let mut seen = Vec::new();
            asked
                .scan(TOPIC, 0, (0, RECORDS - 1), |one| seen.push(one.offset))
                .map(|()| seen)
        });
        // Long enough for the client to complain of it.
        thread::sleep(Duration::from_secs(1));
        mock.broker_up(1).expect("up");
        scanned.join().expect("no panic").expect("all of them")
    });
    assert_eq!(seen, (0..RECORDS).collect::<Vec<_>>());
}

#[test]
fn what_will_not_change_and_what_is_not_there_ends_it_at_once() {
    let transport =
        KafkaError::MessageConsumption(rdkafka::types::RDKafkaErrorCode::BrokerTransportFailure);
    let complaint = |said: &str| {
        Some(Complaint {
            said: said.to_owned(),
            by_iam: false,
        })
    };
    let refused = complaint("connect to 127.0.0.1:9 failed: Connection refused");
    assert!(passes(&transport, refused));
    assert!(passes(&transport, None));
    let stranger = complaint("SSL handshake failed: certificate verify failed");
    assert!(!passes(&transport, stranger));
    let range = KafkaError::MessageConsumption(rdkafka::types::RDKafkaErrorCode::AutoOffsetReset);
    assert!(!passes(&range, None));
}
