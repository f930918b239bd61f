use super::*;
use crate::sqlite::Fault;
use tempfile::TempDir;

fn new_log() -> (TempDir, Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(&folder.path().join("a.db"), Access::Create).expect("a new log");
    (folder, log)
}

/// Appends `count` records to partition 0 of a topic of two.
fn fill(log: &mut Log, count: usize) -> Topic {
    let value = |n: usize| format!("value {n}").into_bytes();
    let values: Vec<_> = (0..count).map(value).collect();
    log.append("orders", Some(2), |_| {
        values
            .iter()
            .map(|value| NewRecord {
                partition: 0,
                key: Some(b"k"),
                value,
            })
            .collect()
    })
    .expect("appended")
}

fn positions(log: &Log, topic: &Topic, partition: u32) -> Vec<u64> {
    let mut all = Vec::new();
    log.read(topic, partition, (1, u64::MAX), usize::MAX, |record| {
        all.push(record.position);
        true
    })
    .expect("sound");
    all
}

/// Moves the times of all records, checksums included, so that they look old.
fn age(log: &Log, by: i64) {
    type Row = (i64, Option<Vec<u8>>, Vec<u8>, i64);
    let rows: Vec<Row> = log
        .view()
        .sql(|c| {
            c.prepare("SELECT id, key, value, timestamp FROM log_records")?
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
                .collect()
        })
        .expect("rows");
    for (id, key, value, timestamp) in rows {
        let timestamp = timestamp - by;
        let crc = records::record_crc(id, key.as_deref(), &value, timestamp);
        log.view()
            .sql(|c| {
                c.execute(
                    "UPDATE log_records SET timestamp = ?2, crc = ?3 WHERE id = ?1",
                    (id, timestamp, crc),
                )
            })
            .expect("aged");
    }
}

#[test]
fn positions_count_from_1_in_each_partition() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 3);
    log.append("orders", None, |partitions| {
        assert_eq!(partitions, 2);
        let record = |partition, value| NewRecord {
            partition,
            key: None,
            value,
        };
        vec![record(1, &b"x"[..]), record(0, b"y"), record(1, b"z")]
    })
    .expect("appended");
    assert_eq!(positions(&log, &topic, 0), [1, 2, 3, 4]);
    assert_eq!(positions(&log, &topic, 1), [1, 2]);
    let bounds = log.bounds(&topic, 1).expect("there");
    assert_eq!((bounds.first, bounds.last), (1, 2));
    let mut values = Vec::new();
    log.read(&topic, 1, (1, 2), 10, |record| {
        values.push((record.key.map(<[u8]>::to_vec), record.value.to_vec()));
        true
    })
    .expect("sound");
    assert_eq!(values, [(None, b"x".to_vec()), (None, b"z".to_vec())]);
    let error = log
        .bounds(&topic, 2)
        .expect_err("there are two")
        .to_string();
    assert_eq!(
        error,
        "topic `orders` has 2 partitions, numbered from 0: there is no partition 2"
    );
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 2);
    let before = log.bounds(&topic, 0);
    let record = |partition| NewRecord {
        partition,
        key: None,
        value: b"x",
    };
    let error = log.append("orders", None, |_| vec![record(0), record(7)]);
    assert!(
        matches!(error, Err(LogError::NoPartition { partition: 7, .. })),
        "{error:?}"
    );
    assert_eq!(
        (log.bounds(&topic, 0), positions(&log, &topic, 0)),
        (before, vec![1, 2])
    );
}

#[test]
fn the_log_id_tells_a_topic_from_its_successor() {
    let (_one, mut a) = new_log();
    let (_two, mut b) = new_log();
    assert_ne!(fill(&mut a, 1).id, fill(&mut b, 1).id);
    assert_eq!(
        a.topic("orders").expect("readable").map(|t| t.id),
        Some(fill(&mut a, 1).id)
    );
    assert_eq!(a.topic("other"), Ok(None));
}

#[test]
fn times_never_go_back_and_find_their_position() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 5);
    let first = log.bounds(&topic, 0).expect("there").last_timestamp;
    // As if the clock had been far ahead when the last record came.
    let far = first + 3_600_000;
    let mut bounds = log.bounds(&topic, 0).expect("there");
    bounds.last_timestamp = far;
    log.view().put_bounds(&topic, 0, &bounds).expect("written");
    fill(&mut log, 5);
    let mut times = Vec::new();
    log.read(&topic, 0, (1, 10), 10, |record| {
        times.push(record.timestamp);
        true
    })
    .expect("sound");
    assert!(times.is_sorted() && times[5] == far, "{times:?}");
    for (at, position) in [(0, 1), (first, 1), (first + 1, 6), (far, 6), (far + 1, 11)] {
        assert_eq!(log.position_at(&topic, 0, at), Ok(position), "at {at}");
    }
    assert_eq!(log.position_at(&topic, 1, 0), Ok(1), "an empty partition");
}

#[test]
fn retention_takes_what_is_old_and_settled_by_all() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 100);
    age(&log, 1_000_000);
    fill(&mut log, 10);
    let now = now_millis();
    log.put_frontiers(("billing", "orders"), &topic, &[(0, 70), (1, 0)])
        .expect("registered");
    log.put_frontiers(("audit", "orders"), &topic, &[(0, 40)])
        .expect("registered");
    let trimmed = log.trim(&topic, 0, now - 500_000).expect("trimmed");
    assert_eq!(
        trimmed,
        Trimmed {
            records: 40,
            first: 41,
            more: false
        }
    );
    assert_eq!(positions(&log, &topic, 0), (41..=110).collect::<Vec<_>>());
    let bounds = log.bounds(&topic, 0).expect("there");
    assert_eq!((bounds.first, bounds.last), (41, 110));
    assert!(bounds.trimmed_at.is_some_and(|at| at >= now));
    // The slowest reader is forgotten: the next one counts.
    assert_eq!(log.forget("audit"), Ok(1));
    assert_eq!(log.trim(&topic, 0, now - 500_000).map(|t| t.first), Ok(71));
    // All are past everything: what is young stays.
    log.put_frontiers(("billing", "orders"), &topic, &[(0, 110)])
        .expect("registered");
    assert_eq!(log.trim(&topic, 0, now - 500_000).map(|t| t.first), Ok(101));
    assert_eq!(log.trim(&topic, 0, now - 500_000).map(|t| t.records), Ok(0));
    // Nothing is left: positions go on.
    assert_eq!(log.trim(&topic, 0, i64::MAX).map(|t| t.first), Ok(111));
    assert_eq!(positions(&log, &topic, 0), [] as [u64; 0]);
    fill(&mut log, 1);
    assert_eq!(positions(&log, &topic, 0), [111]);
}

#[test]
fn a_removal_is_bounded_and_says_that_there_is_more() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 10_050);
    let first = log.trim(&topic, 0, i64::MAX).expect("trimmed");
    assert_eq!(
        first,
        Trimmed {
            records: 10_000,
            first: 10_001,
            more: true
        }
    );
    let rest = log.trim(&topic, 0, i64::MAX).expect("trimmed");
    assert_eq!(
        rest,
        Trimmed {
            records: 50,
            first: 10_051,
            more: false
        }
    );
}

#[test]
fn consumers_are_listed_with_their_frontiers() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 9);
    log.put_frontiers(("b", "s"), &topic, &[(0, 3), (1, 0)])
        .expect("registered");
    log.put_frontiers(("a", "s"), &topic, &[(0, 5)])
        .expect("registered");
    log.put_frontiers(("b", "s"), &topic, &[(0, 2)])
        .expect("moved back");
    let all = log.consumers("orders").expect("readable");
    let all: Vec<_> = all
        .iter()
        .map(|c| (c.app.as_str(), c.partition, c.frontier))
        .collect();
    assert_eq!(all, [("a", 0, 5), ("b", 0, 2), ("b", 1, 0)]);
    assert_eq!(log.frontier(("b", "s"), &topic, 0), Ok(Some(2)));
    assert_eq!(log.frontier(("b", "t"), &topic, 0), Ok(None));
}

#[test]
fn a_changed_row_is_noticed_and_named() {
    for (sql, named) in [
        (
            "UPDATE log_records SET value = CAST('xxxxx 4' AS BLOB) WHERE id % 10 = 5",
            "position 5 of `orders/0`",
        ),
        (
            "UPDATE log_records SET key = NULL WHERE id % 10 = 5",
            "position 5 of `orders/0`",
        ),
        (
            "UPDATE log_records SET timestamp = timestamp - 1 WHERE id % 10 = 5",
            "position 5 of `orders/0`",
        ),
        (
            "UPDATE log_records SET id = id + 100 WHERE id % 10 = 5",
            "position 105 of `orders/0`",
        ),
        (
            "UPDATE log_partitions SET last = 7 WHERE partition = 0",
            "row `orders/0`",
        ),
        (
            "DELETE FROM log_partitions WHERE partition = 0",
            "row `orders`",
        ),
        ("UPDATE log_topics SET partitions = 1", "row `orders`"),
        (
            "UPDATE log_consumers SET frontier = 9",
            "row `a/s/orders/0`",
        ),
    ] {
        let (_folder, mut log) = new_log();
        // So that row ids end in their position's last digit.
        let topic = fill(&mut log, 8);
        let base = records::row_id(topic.partition_ids[0], 0) % 10;
        let sql = sql.replace("% 10 = 5", &format!("% 10 = {}", (base + 5) % 10));
        log.put_frontiers(("a", "s"), &topic, &[(0, 3)])
            .expect("registered");
        let changed = log.view().sql(|c| c.execute(&sql, [])).expect("changed");
        assert_eq!(changed, 1, "{sql}");
        let said = log
            .topic("orders")
            .and_then(|_| log.bounds(&topic, 0))
            .and_then(|_| log.consumers("orders"))
            .and_then(|_| log.read(&topic, 0, (1, u64::MAX), 1000, |_| true))
            .expect_err(&sql);
        let LogError::File(error) = said else {
            panic!("{sql}: {said}");
        };
        assert!(matches!(error.fault, Fault::Damaged(_)), "{sql}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(named) && text.contains("a.db"),
            "{sql}: {text}"
        );
    }
}

#[test]
fn a_file_without_a_log_has_no_topics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let database = crate::sqlite::Database::open(&path, Access::Create).expect("a store's file");
    database
        .install("CREATE TABLE IF NOT EXISTS other(n)")
        .expect("installed");
    let log = Log::open(&path, Access::Read).expect("a look");
    assert_eq!(log.topics(), Ok(Vec::new()));
    assert_eq!(log.topic("orders"), Ok(None));
    assert_eq!(log.consumers("orders"), Ok(Vec::new()));
    let mut writer = Log::open(&path, Access::Create).expect("a log");
    fill(&mut writer, 1);
    assert_eq!(
        log.topics().map(|topics| topics.len()),
        Ok(1),
        "it is there now"
    );
    let missing = Log::open(&folder.path().join("none.db"), Access::Read).expect_err("missing");
    assert!(missing.to_string().contains("none.db"), "{missing}");
}

#[test]
fn anybody_can_read_it_with_sqlite() {
    let (folder, mut log) = new_log();
    fill(&mut log, 2);
    let other = Connection::open(folder.path().join("a.db")).expect("open");
    let rows: Vec<(String, u32, u64, String, String)> = other
        .prepare("SELECT topic, partition, position, key, value FROM log_lines ORDER BY 1, 2, 3")
        .and_then(|mut s| {
            s.query_map([], |r| {
                let position: i64 = r.get(2)?;
                Ok((
                    r.get(0)?,
                    r.get(1)?,
                    position.cast_unsigned(),
                    r.get(3)?,
                    r.get(4)?,
                ))
            })?
            .collect()
        })
        .expect("rows");
    let expected = |position, value: &str| ("orders".into(), 0, position, "k".into(), value.into());
    assert_eq!(rows, [expected(1, "value 0"), expected(2, "value 1")]);
}

#[test]
fn a_frontier_that_was_put_back_is_not_moved_on_by_who_does_not_know() {
    let (_folder, mut log) = new_log();
    let topic = fill(&mut log, 20);
    let ours = ("billing", "orders");
    let frontier = |log: &Log| log.frontier(ours, &topic, 0).expect("readable");
    log.move_frontiers(ours, &topic, &[(0, 0, 5)])
        .expect("moved");
    assert_eq!(frontier(&log), None, "it was never registered");
    log.put_frontiers(ours, &topic, &[(0, 0)]).expect("put");
    log.move_frontiers(ours, &topic, &[(0, 0, 9)])
        .expect("moved");
    assert_eq!(frontier(&log), Some(9));
    // An operator's rewind.
    log.put_frontiers(ours, &topic, &[(0, 2)]).expect("put");
    log.move_frontiers(ours, &topic, &[(0, 9, 12)])
        .expect("moved");
    assert_eq!(frontier(&log), Some(2));
}

#[test]
fn several_may_append_at_once() {
    let (folder, mut log) = new_log();
    let topic = fill(&mut log, 1);
    let path = folder.path().join("a.db");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut log = Log::open(&path, Access::Existing).expect("the log");
                for _ in 0..20 {
                    fill(&mut log, 5);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("no panic");
    }
    assert_eq!(positions(&log, &topic, 0), (1..=401).collect::<Vec<_>>());
}
