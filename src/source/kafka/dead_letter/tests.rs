use super::*;
use crate::{
    position::Position,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use rdkafka::message::Headers as _;

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
    let headers = [("trace", &b"t-1"[..]), ("raw", b"\xff"), ("trace", b"t-2")];
    batch
        .push(
            order,
            Position::Offset(9),
            Some(b"a"),
            None,
            headers,
            Some(5),
        )
        .expect("key");
    batch.finish(None).pop().expect("one")
}

fn settings() -> Settings {
    Settings {
        // Nobody listens there.
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        topic: "orders.dead".to_owned(),
        properties: BTreeMap::new(),
        timeout: Duration::from_millis(300),
        bytes: 1 << 20,
    }
}

#[test]
fn the_record_s_own_headers_come_first_and_what_became_of_it_behind() {
    let headers = headers(&record(), "no such account", 5);
    let all: Vec<(&str, &[u8])> = { headers.iter() }
        .map(|header| (header.key, header.value.expect("a value")))
        .collect();
    let expected: [(&str, &[u8]); 9] = [
        ("trace", b"t-1"),
        ("raw", b"\xff"),
        ("trace", b"t-2"),
        ("lanekeeper.id", b"in/orders/3/9/2"),
        ("lanekeeper.source", b"in"),
        ("lanekeeper.partition", b"orders/3"),
        ("lanekeeper.position", b"9"),
        ("lanekeeper.error", b"no such account"),
        ("lanekeeper.attempts", b"5"),
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_cluster_out_of_reach_is_the_targets_fault_and_gives_the_room_back() {
    let mut settings = settings();
    // Room for less than one letter: each has it alone.
    settings.bytes = 1;
    let target = KafkaDeadLetter::new(settings).expect("settings");
    for _ in 0..2 {
        let error = target
            .publish(record(), String::new(), 1)
            .await
            .expect_err("nobody listens");
        assert!(
            error.target
                && error
                    .error
                    .starts_with("topic `orders.dead`: no answer in time"),
            "{error}"
        );
    }
}

#[test]
fn settings_that_librdkafka_refuses_are_named_without_their_values() {
    let mut settings = settings();
    let property = ("sasl.pasword".to_owned(), "hunter2".to_owned());
    settings.properties.extend([property]);
    let Err(ClusterError::Settings(said)) = KafkaDeadLetter::new(settings) else {
        panic!("accepted");
    };
    assert!(
        said.contains("sasl.pasword") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn who_is_to_blame_depends_on_whether_another_letter_would_have_been_taken() {
    let letters = letters(&settings());
    let failed = |code| letters.failed(&KafkaError::MessageProduction(code));
    for code in OF_THE_LETTER {
        assert!(!failed(code).target, "{code}");
    }
    for (code, named) in [
        (RDKafkaErrorCode::QueueFull, "QueueFull"),
        (RDKafkaErrorCode::TopicAuthorizationFailed, "`Write`"),
        (RDKafkaErrorCode::NotEnoughReplicas, "NotEnoughReplicas"),
    ] {
        let error = failed(code);
        assert!(error.target && error.error.contains(named), "{error}");
        assert!(!letters.is_stale.load(Ordering::Relaxed));
    }
    let error = failed(RDKafkaErrorCode::UnknownTopic);
    assert!(error.target && error.error.contains("create it"), "{error}");
    assert!(letters.is_stale.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_target_ends_though_somebody_waits_for_a_letter() {
    let mut settings = settings();
    settings.timeout = Duration::from_secs(3600);
    let target = KafkaDeadLetter::new(settings).expect("settings");
    let mut waits = target.publish(record(), String::new(), 1);
    assert!((&mut waits).now_or_never().is_none());
    tokio::task::spawn_blocking(move || drop(target))
        .await
        .expect("it ends");
    let error = waits.await.expect_err("nobody listens");
    assert!(error.target, "{error}");
}
