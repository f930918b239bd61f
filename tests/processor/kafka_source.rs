//! The Kafka source on librdkafka's mock cluster: quick, in this process, and wrong about transactions,
//! times, topic ids and retention. Those are tried on Apache Kafka, in `integration/`.

use lanekeeper::{
    Done, Failure, Record,
    config::{Config, Property, SourceConfig, SourceKind, StoreKind},
    each_with,
    processor::Report,
    run::{RunError, RunOptions, run_until},
    source::OnGap,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic(TOPIC, PARTITIONS, 1).expect("topic");
    cluster
}

/// So many records of each of 20 keys.
fn produce(cluster: &Cluster, of_each: u32) {
    produce_from(cluster, 0, of_each);
}

fn produce_from(cluster: &Cluster, from: u32, to: u32) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "1")
        .create()
        .expect("producer");
    for n in from..to {
        for key in 0..20 {
            let (key, value) = (format!("k{key}"), n.to_string());
            let record = BaseRecord::to(TOPIC).key(&key).payload(&value);
            producer.send(record).expect("queued");
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).expect("flushed");
}

/// The offsets that the group knows.
fn committed(cluster: &Cluster) -> Vec<Offset> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "mock")
        .create()
        .expect("consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
    let found = consumer.committed_offsets(list, PATIENCE).expect("offsets");
    found.elements().iter().map(|e| e.offset()).collect()
}

fn config(cluster: &Cluster, folder: &Path) -> Config {
    let quick = [
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "100"),
    ];
    let text = |(key, value): (&str, &str)| (key.to_owned(), Property::Text(value.to_owned()));
    let mut config = Config::new("mock", 4).source(SourceConfig {
        name: TOPIC.to_owned(),
        kind: SourceKind::Kafka {
            bootstrap_servers: cluster.bootstrap_servers(),
            topics: vec![TOPIC.to_owned()],
            group_id: "mock".to_owned(),
            group_protocol: None,
            group_instance_id: None,
            properties: quick.into_iter().map(text).collect(),
            allow_plaintext: false,
            new_partitions_wait: true,
        },
        start: None,
        on_gap: OnGap::Refuse,
    });
    config.store.kind = StoreKind::Local {
        path: folder.join("store.db"),
    };
    config.store.flush_interval = Duration::from_millis(50);
    config
}

/// What the handler saw: each key's values, in the order of their starts.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, Vec<u32>>>);

impl Seen {
    fn total(&self) -> usize {
        self.0.lock().expect("sound").values().map(Vec::len).sum()
    }

    /// Each key's records, once, in their order.
    fn assert_whole(&self, of_each: u32) {
        let seen = self.0.lock().expect("sound");
        assert_eq!(seen.len(), 20);
        for (key, values) in seen.iter() {
            assert_eq!(*values, (0..of_each).collect::<Vec<_>>(), "{key}");
        }
    }
}

async fn work(
    config: &Config,
    seen: &Arc<Seen>,
    until_idle: bool,
    stop: impl Future<Output = ()>,
) -> Result<Report, RunError> {
    let handler = each_with(
        Arc::clone(seen),
        async |seen: Arc<Arc<Seen>>, record: Record| {
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            let value = text(record.value()).parse().expect("a number");
            let mut seen = seen.0.lock().expect("sound");
            seen.entry(text(record.key())).or_default().push(value);
            Ok::<_, Failure>(Done)
        },
    );
    let options = RunOptions {
        until_idle,
        ..RunOptions::default()
    };
    tokio::time::timeout(PATIENCE, run_until(config, handler, options, stop))
        .await
        .expect("in time")
}

#[tokio::test]
async fn g7_everything_is_read_once_and_the_group_knows_how_far() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().expect("folder"));
    produce(&cluster, 50);
    let (config, seen) = (config(&cluster, folder.path()), Arc::new(Seen::default()));
    let report = work(&config, &seen, true, std::future::pending()).await;
    assert_eq!(report.expect("idle").done, 1_000);
    seen.assert_whole(50);
    let ends: i64 = committed(&cluster).iter().filter_map(|o| o.to_raw()).sum();
    assert_eq!(ends, 1_000, "the group's offsets are the ends");
    // After a clean stop nothing comes again.
    let again = work(&config, &seen, true, std::future::pending()).await;
    assert_eq!(again.expect("idle").records, 0);
    seen.assert_whole(50);
}

#[tokio::test]
async fn what_the_cluster_refuses_for_a_while_is_asked_for_again() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().expect("folder"));
    produce(&cluster, 10);
    let away = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 3];
    cluster.request_errors(RDKafkaApiKey::FindCoordinator, &away);
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 2];
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &denied);
    let stale = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION; 2];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &stale);
    let (config, seen) = (config(&cluster, folder.path()), Arc::new(Seen::default()));
    let report = work(&config, &seen, true, std::future::pending()).await;
    assert_eq!(report.expect("idle").done, 200);
    seen.assert_whole(10);
}

/// As a group does between two generations, while another member leaves.
#[tokio::test]
async fn the_last_offsets_are_told_again_where_the_group_refuses_them() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().expect("folder"));
    produce(&cluster, 10);
    let (config, seen) = (config(&cluster, folder.path()), Arc::new(Seen::default()));
    let between = |times: usize| {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
        cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &vec![error; times]);
    };
    // Until its end the group learns of nothing.
    between(1_000);
    let report = work(&config, &seen, false, async {
        while seen.total() < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(committed(&cluster).iter().all(|o| *o == Offset::Invalid));
        between(3);
    });
    assert_eq!(report.await.expect("drained").done, 200);
    let ends: i64 = committed(&cluster).iter().filter_map(|o| o.to_raw()).sum();
    assert_eq!(ends, 200, "the group's offsets are the ends");
}

#[tokio::test]
async fn g1_g7_two_members_share_the_work_and_hand_it_over_without_a_repeat() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().expect("folder"));
    produce(&cluster, 20);
    let (config, seen) = (config(&cluster, folder.path()), Arc::new(Seen::default()));
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let first = async {
        let report = work(&config, &seen, false, async {
            // It goes at the signal, or when the test is over.
            let _ = left.await;
        })
        .await;
        // Who did what came before hangs on how quick the group is; the first one has left now, so that
        // these are the second's in any case.
        produce_from(&cluster, 30, 40);
        report
    };
    let rest = async {
        while seen.total() < 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let second = work(&config, &seen, false, async {
            while seen.total() < 800 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let more = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            produce_from(&cluster, 20, 30);
            leave.send(()).expect("it waits");
        };
        tokio::join!(second, more)
    };
    let (first, (second, ())) = tokio::join!(first, rest);
    let (first, second) = (first.expect("drained"), second.expect("drained"));
    assert_eq!(first.done + second.done, 800, "{first:?} {second:?}");
    assert!(second.done > 0, "the second one took over");
    seen.assert_whole(40);
}
