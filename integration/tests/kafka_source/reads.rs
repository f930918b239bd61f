//! What is read, and how: everything once, whatever the records look like.

use crate::bench::{Bench, Written, echo, flush, send, stop};
use lanekeeper_integration::{
    kafka::{Kafka, Setup},
    scene::{PATIENCE, eventually},
};
use rdkafka::producer::{BaseProducer, Producer as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn one_member_reads_everything_once_and_the_group_and_status_know() {
    let mut bench = Bench::new(4, "");
    bench.request(1_000, 50, 0);
    let member = bench.member("history.jsonl");
    bench.wait_for(1_000);
    bench.wait_for_the_group();
    eventually("status to say that nothing is behind", || {
        let status = bench.scene.run(&["status", "--json"])?.json()?;
        let partitions = status["partitions"].as_array().unwrap();
        Ok(partitions.len() == 4 && partitions.iter().all(|partition| partition["lag"] == 0))
    })
    .unwrap();
    stop(member);
    assert_eq!(bench.check(), 0);
    bench.audit(&["history.jsonl"]);
}

#[test]
fn a_run_to_the_end_reads_to_the_end_and_the_next_one_reads_nothing() {
    let mut bench = Bench::new(2, "");
    bench.request(200, 10, 0);
    for _ in 0..2 {
        let ended = bench.run_to_the_end(&[]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(bench.done(), 200);
    }
    assert_eq!(bench.check(), 0);
}

#[test]
fn g9_with_little_memory_reading_pauses_and_goes_on_and_nothing_is_lost_or_repeated() {
    let mut bench = Bench::new(4, "\"--millis\", \"1\"");
    bench.request(3_000, 40, 2_000);
    let args = ["run", "--history", "history.jsonl", "--set", "memory=1MiB"];
    let member = bench.scene.start(&args).unwrap();
    bench.wait_for(3_000);
    bench.wait_for_the_group();
    stop(member);
    assert_eq!(bench.check(), 0);
    bench.audit(&["history.jsonl"]);
}

#[test]
fn g9_a_record_larger_than_the_memory_passes_alone() {
    let kafka = Kafka::start().unwrap();
    let limit = [("max.message.bytes", "10000000")];
    let bench = Bench::with(kafka, 1, &limit, &echo(0));
    let (small, large) = ("s".repeat(1_000), "l".repeat(8_000_000));
    let values = [&small, &small, &large, &small, &small, &large, &small].map(String::as_str);
    bench.write_values(&values);
    let ended = bench.run_to_the_end(&["memory=2MiB"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let ledger = bench.ledger("ledger.jsonl");
    let bytes: Vec<u64> = { ledger.iter() }
        .map(|line| line["bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(bytes, values.map(|value| value.len() as u64));
}

/// Keys, values and headers of all kinds.
fn write_all_kinds(bench: &Bench) {
    let of = |key: Option<&'static [u8]>, value: Option<&'static [u8]>| Written {
        key,
        value,
        ..Written::default()
    };
    let headers: [(&str, Option<&[u8]>); 3] = [
        ("kind", Some(b"text")),
        ("kind", Some(b"\xff")),
        ("none", None),
    ];
    let (key, value) = (Some(&b"key"[..]), Some(&b"value"[..]));
    bench.write(&[
        Written {
            headers: &headers,
            ..of(key, value)
        },
        of(key, None),
        of(None, value),
        of(Some(b""), value),
        of(Some(b"\xff\x00"), Some(b"")),
        of(None, None),
        Written {
            timestamp: Some(1_234),
            ..of(key, Some(b"\xfe"))
        },
    ]);
}

#[test]
fn tombstones_headers_and_keys_of_all_kinds_are_handed_over_as_they_are() {
    let bench = Bench::of_echoes(1);
    write_all_kinds(&bench);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let handed_over = bench.ledger("ledger.jsonl");
    let of_key = handed_over.iter().filter(|line| line["key"] == "key");
    let order: Vec<_> = of_key.map(|line| line["position"].clone()).collect();
    assert_eq!(order, ["0", "1", "6"]);
    let mut lines = handed_over;
    let position = |line: &Value| line["position"].as_str().unwrap().parse::<u64>().unwrap();
    lines.sort_by_key(position);
    let field = |name: &str| {
        let each = lines.iter().map(|line| line[name].clone());
        Value::from(each.collect::<Vec<_>>())
    };
    let keys = json!(["key", "key", null, "", null, null, "key"]);
    assert_eq!(field("key"), keys);
    let values = json!(["value", null, "value", "value", "", null, null]);
    assert_eq!(field("value"), values);
    assert_eq!(lines[4]["key_base64"], "/wA=");
    assert_eq!(lines[6]["value_base64"], "/g==");
    assert_eq!(lines[6]["timestamp"], 1_234);
    let headers = &lines[0]["headers"];
    assert_eq!(headers[0], json!(["kind", "text"]));
    assert_eq!(headers[1], json!(["kind", {"base64": "/w=="}]));
    assert_eq!(headers[2][0], "none");
}

#[test]
fn all_topics_of_a_source_are_read() {
    let kafka = Kafka::start().unwrap();
    let (bench, other) = (Bench::of_echoes(2), Kafka::topic_name());
    kafka.create_topic(&other, 2, &[]).unwrap();
    let producer = bench.producer();
    for topic in [&bench.topic, &other] {
        for number in 0..40 {
            let value = format!("{topic} {number}");
            let written = Written {
                partition: Some(number % 2),
                value: Some(value.as_bytes()),
                ..Written::default()
            };
            send(&producer, topic, &written);
        }
    }
    flush(&producer);
    let topics = format!("sources.orders.topics=[\"{}\", \"{other}\"]", bench.topic);
    let ended = bench.run_to_the_end(&[&topics]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let values = bench.values();
    assert_eq!(values.len(), 80);
    assert_eq!(values.into_iter().collect::<BTreeSet<_>>().len(), 80);
}

#[test]
fn a_topic_that_is_made_later_is_waited_for() {
    let kafka = Kafka::start().unwrap();
    let bench = Bench::without_topic(kafka, Kafka::topic_name(), &echo(0));
    let refresh = "sources.orders.properties.\"topic.metadata.refresh.interval.ms\"=500";
    let member = bench.scene.start(&["run", "--set", refresh]).unwrap();
    eventually("the wait for the topic", || {
        Ok(member.errors()?.contains("waiting for it"))
    })
    .unwrap();
    bench.kafka.create_topic(&bench.topic, 1, &[]).unwrap();
    bench.write_values(&["late"]);
    eventually("the record", || Ok(bench.values() == ["late"])).unwrap();
    stop(member);
}

/// A producer of one transaction.
fn transactional(bench: &Bench) -> BaseProducer {
    let mut config = bench.config();
    config.set("transactional.id", &bench.topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// Writes values in a transaction of their own.
fn write_in_transaction(bench: &Bench, producer: &BaseProducer, values: &[&str], commit: bool) {
    producer.begin_transaction().unwrap();
    for value in values {
        let written = Written {
            partition: Some(0),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            ..Written::default()
        };
        send(producer, &bench.topic, &written);
    }
    flush(producer);
    let end = if commit {
        producer.commit_transaction(PATIENCE)
    } else {
        producer.abort_transaction(PATIENCE)
    };
    end.unwrap();
}

#[test]
fn transactions_that_come_one_by_one_behind_the_end_cost_no_other_look_at_the_cluster() {
    let bench = Bench::of_echoes(1);
    let producer = transactional(&bench);
    // Looks at the log's end are said at this level alone.
    let said = [("LANEKEEPER_LOG", "lanekeeper=debug".to_owned())];
    let member = bench.scene.start_within(&["run"], &said).unwrap();
    for number in 1..=5 {
        let value = number.to_string();
        write_in_transaction(&bench, &producer, &[&value, &value], true);
        eventually("the records", || Ok(bench.values().len() == 2 * number)).unwrap();
        // Its marker is passed over: the end was reached.
        bench.wait_for_the_group();
    }
    let ended = stop(member);
    assert!(!ended.errors.contains("fetched again"), "{ended:#?}");
}

#[test]
fn aborted_transactions_are_passed_over_and_so_is_a_tail_of_markers() {
    let bench = Bench::of_echoes(1);
    let producer = transactional(&bench);
    let transaction = |values: &[&str], commit: bool| {
        write_in_transaction(&bench, &producer, values, commit);
    };
    transaction(&["a", "b"], true);
    transaction(&["never"], false);
    transaction(&["c"], true);
    transaction(&["never", "never"], false);
    // Six records and four markers, two of them at the end behind records that do not count.
    assert_eq!(bench.kafka.extents(&bench.topic).unwrap(), [(0, 10)]);
    let member = bench.member("history.jsonl");
    bench.wait_for_the_group();
    eventually("status to say that nothing is behind", || {
        let status = bench.scene.run(&["status", "--json"])?.json()?;
        Ok(status["partitions"][0]["lag"] == 0 && status["partitions"][0]["frontier"] == "9")
    })
    .unwrap();
    assert_eq!(bench.values(), ["a", "b", "c"]);
    transaction(&["d"], true);
    bench.wait_for_the_group();
    stop(member);
    assert_eq!(bench.values(), ["a", "b", "c", "d"]);
    bench.audit(&["history.jsonl"]);
}

#[test]
fn what_compaction_took_is_passed_over() {
    let setup = Setup::default().with("log.cleaner.backoff.ms", "100");
    let kafka = Kafka::own(&setup).unwrap();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let bench = Bench::with(kafka, 1, &configs, &echo(0));
    let of = |key: &'static str, value: &'static str| Written {
        partition: Some(0),
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Written::default()
    };
    let earlier: Vec<_> = (0..50).map(|_| of("k", "old")).collect();
    bench.write(&earlier);
    let mut rounds = 0;
    eventually("compaction", || {
        // Each begins a segment: what lies in the last one is never compacted.
        rounds += 1;
        bench.write(&[of("k", "newer")]);
        let left = read_all(&bench);
        Ok(left.iter().filter(|value| *value == "old").count() == 0)
    })
    .unwrap();
    bench.write(&[of("k", "last")]);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let (_, next) = bench.kafka.extents(&bench.topic).unwrap()[0];
    assert_eq!(next, 51 + rounds);
    let values = bench.values();
    assert!(!values.contains(&"old".to_owned()), "{values:?}");
    assert_eq!(values.last().unwrap(), "last");
    bench.wait_for_the_group();
}

/// What a plain consumer finds in partition 0.
fn read_all(bench: &Bench) -> Vec<String> {
    use rdkafka::{
        Message as _, Offset, TopicPartitionList,
        consumer::{BaseConsumer, Consumer as _},
    };
    let mut config = bench.config();
    config
        .set("group.id", "reader")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bench.topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    let mut values = Vec::new();
    loop {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => {
                let value = message.payload().unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return values,
            other => unreachable!("{other:?}"),
        }
    }
}
