//! Recovery, replay and what another consumer of the group has left.

use crate::bench::{Bench, Written, echo, stop};
use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Ended, eventually},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use std::time::Duration;

fn values(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("value {number}")).collect()
}

fn write(bench: &Bench, values: &[String]) {
    bench.write_values(&values.iter().map(String::as_str).collect::<Vec<_>>());
}

fn run(bench: &Bench, args: &[&str]) -> Ended {
    let ended = bench.scene.run(args).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

fn refused(bench: &Bench, args: &[&str], said: &str) {
    let ended = bench.scene.run(args).unwrap();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.errors.contains(said), "{ended:#?}");
}

/// A topic that keeps records of years ago.
fn of_echoes_for_ever() -> Bench {
    let kafka = Kafka::start().unwrap();
    Bench::with(kafka, 1, &[("retention.ms", "-1")], &echo(0))
}

/// What a consumer of another program commits for partition 0.
fn commit(bench: &Bench, group: &str, offset: i64, metadata: &str) {
    let mut config = bench.config();
    config.set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bench.topic, 0, Offset::Offset(offset))
        .unwrap();
    if let Some(mut element) = list.find_partition(&bench.topic, 0) {
        element.set_metadata(metadata);
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn g5_a_recovery_runs_what_is_open_to_the_end_that_it_found_and_moves_the_checkpoint() {
    let mut bench = Bench::new(2, "\"--closed\", \"a3\"");
    bench.request(100, 10, 0);
    let member = bench.member("member");
    bench.wait_for(90);
    refused(&bench, &["recover"], "at work: stop");
    eventually("the stop", || {
        let list = bench.scene.run(&["lanes", "list", "--json"])?;
        Ok(list.output.contains("stopped"))
    })
    .unwrap();
    stop(member);
    bench.request(20, 10, 0);
    // It stands, and what came to others runs.
    let recover = ["recover", "--history", "first", "--json"];
    let first = bench.scene.run(&recover).unwrap();
    assert_eq!(first.code, Some(3), "{first:#?}");
    bench.wait_for(108);
    bench.scene.write("mended", "").unwrap();
    run(
        &bench,
        &["lanes", "retry", "--key", "a3", "--why", "mended"],
    );
    let second = run(&bench, &["recover", "--history", "second", "--json"]);
    let document = second.json().unwrap();
    let partitions = document["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2, "{document:#}");
    let open = |when: &str| -> u64 {
        let each = partitions.iter().map(|p| p[when]["not_settled"].as_u64());
        each.map(Option::unwrap).sum()
    };
    assert_eq!((open("before"), open("after")), (12, 0), "{document:#}");
    bench.wait_for(120);
    bench.wait_for_the_group();
    assert_eq!(bench.check(), 0);
    bench.audit(&["member", "first", "second"]);
}

#[test]
fn members_of_the_new_protocol_are_known_from_the_store() {
    let bench = Bench::of_echoes(1);
    write(&bench, &values(3));
    let new = "sources.orders.group_protocol=\"consumer\"";
    let properties = "sources.orders.properties={}";
    let sets = ["--set", new, "--set", properties];
    let member = bench.scene.start(&[&["run"], &sets[..]].concat()).unwrap();
    eventually("work", || Ok(bench.values().len() == 3)).unwrap();
    let recover = [&["recover"], &sets[..]].concat();
    refused(&bench, &recover, "which is at work");
    let from = ["replay", "--from", "1970-01-01T00:00:00Z"];
    refused(&bench, &[&from, &sets[..]].concat(), "`--alongside`");
    stop(member);
    run(&bench, &recover);
    assert_eq!(bench.values().len(), 3);
}

#[test]
fn a_replay_runs_a_range_of_one_key_again_and_touches_nothing_of_the_group() {
    let bench = of_echoes_for_ever();
    let texts = values(12);
    let written: Vec<Written<'_>> = (0..12)
        .zip(&texts)
        .map(|(number, text)| Written {
            partition: Some(0),
            key: Some(if number % 3 == 0 { b"three" } else { b"other" }),
            value: Some(text.as_bytes()),
            timestamp: Some(1_700_000_000_000 + 1_000 * number),
            ..Written::default()
        })
        .collect();
    bench.write(&written);
    let partition = format!("{}/0", bench.topic);
    let range = |from, to| {
        [
            "replay",
            "--partition",
            &partition,
            "--from",
            from,
            "--to",
            to,
        ]
    };
    // Nothing ran yet, and nothing is needed but the log.
    let dry = run(
        &bench,
        &[&range("2", "9")[..], &["--dry-run", "--json"]].concat(),
    );
    assert_eq!(dry.json().unwrap()["records"], 8, "{dry:#?}");
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let before = run(&bench, &["checkpoint", "export"]).json().unwrap()["partitions"].take();
    let told = bench.kafka.committed(&bench.topic, &bench.topic).unwrap();
    let mut wanted = bench.values();
    let mut replayed = |args: &[&str], again: &[usize]| {
        let ended = run(&bench, args);
        let own = again.iter().map(|number| texts[*number].clone());
        wanted.extend(own);
        // Lanes run side by side.
        let (mut found, mut wanted) = (bench.values(), wanted.clone());
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{ended:#?}");
    };
    replayed(&range("3", "5"), &[3, 4, 5]);
    replayed(&range("0", "0"), &[0]);
    let of_a_key = ["--key", "three"];
    replayed(&[&range("1", "9")[..], &of_a_key].concat(), &[3, 6, 9]);
    let times = range("2023-11-14T22:13:24Z", "2023-11-14T22:13:27Z");
    replayed(&times, &[4, 5, 6]);
    replayed(&["replay", "--from", "checkpoint"], &[]);
    refused(&bench, &range("9", "12"), "it ends at 11");
    let after = run(&bench, &["checkpoint", "export"]).json().unwrap()["partitions"].take();
    assert_eq!(before, after);
    assert_eq!(
        bench.kafka.committed(&bench.topic, &bench.topic).unwrap(),
        told
    );

    let member = bench.member("member");
    eventually("a member", || {
        let ended = bench.scene.run(&range("3", "5"))?;
        Ok(ended.code == Some(2) && ended.errors.contains("`--alongside`"))
    })
    .unwrap();
    run(&bench, &[&range("3", "5")[..], &["--alongside"]].concat());
    stop(member);
}

#[test]
fn g8_a_replay_of_effects_that_is_killed_applies_each_once() {
    let mut bench = Bench::new(2, "\"--effects\", \"--millis\", \"2\"");
    bench.request(600, 10, 0);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let counted = |each: u64| {
        let list = run(&bench, &["value", "list", "counts"]);
        let lines: Vec<&str> = list.output.lines().collect();
        assert_eq!(lines.len(), 10);
        for line in lines {
            assert!(line.ends_with(&format!("\t{each}")), "{line}");
        }
    };
    counted(60);
    let args = [
        "replay",
        "--from",
        "1970-01-01T00:00:00Z",
        "--effects",
        "again",
    ];
    for kill in 0..3 {
        let size = bench.scene.size("ledger.jsonl");
        let mut running = bench.scene.start(&args).unwrap();
        eventually("progress", || {
            Ok(bench.scene.size("ledger.jsonl") > size + 3_000)
        })
        .unwrap();
        running.signal("KILL").unwrap();
        println!("killed {kill}");
    }
    let ended = run(&bench, &args);
    assert!(ended.errors.contains("going on with"), "{ended:#?}");
    counted(120);
    run(&bench, &["replay", "--abandon"]);
}

#[test]
fn a_live_partition_is_rewound_to_a_time() {
    let bench = of_echoes_for_ever();
    let texts = values(10);
    let written: Vec<Written<'_>> = (0..10)
        .zip(&texts)
        .map(|(number, text)| Written {
            partition: Some(0),
            value: Some(text.as_bytes()),
            timestamp: Some(1_700_000_000_000 + 1_000 * number),
            ..Written::default()
        })
        .collect();
    bench.write(&written);
    let member = bench.member("member");
    bench.wait_for_the_group();
    let partition = format!("{}/0", bench.topic);
    let back = ["--partition", &partition, "--to", "2023-11-14T22:13:27Z"];
    let rewound = run(&bench, &[&["checkpoint", "rewind"][..], &back].concat());
    assert!(rewound.output.contains("from 7 on"), "{rewound:#?}");
    for says in [
        "goes on from there by itself",
        "a recovery ends with exit code 4",
    ] {
        assert!(rewound.errors.contains(says), "{rewound:#?}");
    }
    let wanted = [&texts[..], &texts[7..]].concat();
    eventually("the records again", || {
        Ok(bench.values().len() >= wanted.len())
    })
    .unwrap();
    assert_eq!(bench.values(), wanted);
    let late = ["--partition", &partition, "--to", "2033-01-01T00:00:00Z"];
    refused(
        &bench,
        &[&["checkpoint", "rewind"][..], &late].concat(),
        "no record of",
    );
    stop(member);
    bench.audit(&["member"]);
}

#[test]
fn g8_what_another_consumer_has_committed_is_gone_on_with_without_repeats() {
    let bench = Bench::of_echoes(1);
    let texts = values(20);
    write(&bench, &texts);
    let import = ["checkpoint", "import", "--from-group"];
    refused(&bench, &import, "no offset");
    // As Parallel Consumer would: 5 is open, 6 to 8 are done, 9 is open, 10 and 11 are done.
    commit(&bench, &bench.topic, 5, "bgABAAMAAQAC");
    let ended = bench.scene.run(&["run", "--until-idle"]).unwrap();
    assert!(
        ended.errors.contains("checkpoint import --from-group"),
        "{ended:#?}"
    );
    let dry = run(&bench, &[&import[..], &["--dry-run"]].concat());
    let said = "would be import of";
    assert!(dry.output.contains(said), "{dry:#?}");
    assert!(dry.output.contains("5 records above it done"), "{dry:#?}");
    run(
        &bench,
        &[&import[..], &["--why", "from another consumer"]].concat(),
    );
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let wanted: Vec<String> = [5, 9]
        .into_iter()
        .chain(12..20)
        .map(|n| texts[n].clone())
        .collect();
    assert_eq!(bench.values(), wanted);
    bench.wait_for_the_group();
    // Nothing that was done since becomes open or is skipped by a second import.
    let again = run(&bench, &import);
    assert!(
        again.errors.contains("it stands there already"),
        "{again:#?}"
    );
}

#[test]
fn an_import_tells_of_metadata_that_it_does_not_know_and_of_members_at_work() {
    let bench = Bench::of_echoes(1);
    let texts = values(6);
    write(&bench, &texts);
    commit(&bench, "former", 4, "written by hand");
    let import = ["checkpoint", "import", "--from-group", "former"];
    let mut config = bench.config();
    config
        .set("group.id", "former")
        .set("enable.auto.commit", "false");
    let at_work: BaseConsumer = config.create().unwrap();
    at_work.subscribe(&[&bench.topic]).unwrap();
    eventually("a member", || {
        at_work.poll(Duration::from_millis(100));
        let ended = bench.scene.run(&import)?;
        Ok(ended.code == Some(2) && ended.errors.contains("group `former` has 1 member"))
    })
    .unwrap();
    drop(at_work);
    let ended = run(&bench, &import);
    let said = "beside offset 4 stand metadata of another program";
    assert!(ended.errors.contains(said), "{ended:#?}");
    let said = "settled is all before 4; generation 0";
    assert!(ended.output.contains(said), "{ended:#?}");
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values(), texts[4..]);
}

#[test]
fn a_checkpoint_older_than_the_group_s_offset_is_imported_into_a_new_file() {
    let bench = Bench::of_echoes(1);
    let texts = values(10);
    write(&bench, &texts[..5]);
    assert_eq!(bench.run_to_the_end(&[]).code, Some(0));
    run(&bench, &["checkpoint", "export", "older.json"]);
    write(&bench, &texts[5..]);
    assert_eq!(bench.run_to_the_end(&[]).code, Some(0));
    bench.wait_for_the_group();
    let anew = "store.path=\"anew.db\"";
    run(
        &bench,
        &["checkpoint", "import", "older.json", "--set", anew],
    );
    let ended = bench.run_to_the_end(&[anew]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values(), [&texts[..], &texts[5..]].concat());
}
