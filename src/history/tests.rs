use super::*;
use crate::{checkpoint::OpenSet, store::WorkerId};
use partitions::Resume;
use std::{fs, io::Write as _};
use uuid::Uuid;

fn worker(n: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(n))
}

fn settings() -> Opened {
    Opened {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        worker: worker(1).into(),
        app: "billing".to_owned(),
        cap: 3,
        unflushed_max: 10_000,
        records_per_call: 1,
        attempts: 5,
        then: "park".to_owned(),
        stops: "lane".to_owned(),
        timeout_ms: 20_000,
        settle_ms: 0,
        drain_ms: 30_000,
    }
}

#[expect(clippy::too_many_lines, reason = "a list")]
/// One fact of each kind, handed to `note` in turn.
fn each_event(mut note: impl FnMut(Fact<'_>)) {
    let partition = PartitionName::new("orders", "orders/3");
    let at = |n| Position::Offset(n);
    let checkpoint = Checkpoint {
        resume: Resume::After(at(3)),
        settled_to: Some(at(6)),
        open: OpenSet::from_iter([at(4), at(5)]),
        ..Checkpoint::default()
    };
    let text = LaneKey::of_key("acc\"ount".as_bytes());
    let bytes = LaneKey::of_key(&[0xff, 0]);
    let each = LaneKey::of_record(&at(5));
    let mut t = 1_000;
    let mut tell = |record: Option<(&LaneKey, &Position)>, event: Event<'_>| {
        t += 1;
        note(Fact {
            at: Duration::from_nanos(t),
            subject: (!matches!(event, Event::Opened(_))).then_some(Subject {
                partition: &partition,
                epoch: 2,
                generation: 0,
                record: record.map(|(lane, position)| (lane.bytes(), position)),
            }),
            event,
        });
    };
    let settings = settings();
    tell(None, Event::Opened(&settings));
    tell(None, Event::Claimed { clean: false });
    let found = Event::Restored {
        checkpoint: Some(&checkpoint),
        from: &checkpoint.resume,
        gap: None,
    };
    tell(None, found);
    let nothing = Event::Restored {
        checkpoint: None,
        from: &Resume::At(at(100)),
        gap: Some("re-created"),
    };
    tell(None, nothing);
    let held = Event::Held {
        state: LaneState::Parked,
        tail: Some(&at(9)),
        count: 3,
        decision: Some(Verb::DeadLetter),
    };
    tell(Some((&text, &at(2))), held);
    tell(Some((&text, &at(4))), Event::Fetched);
    tell(Some((&LaneKey::of_partition(), &at(4))), Event::Fetched);
    tell(Some((&LaneKey::without_key(), &at(4))), Event::Fetched);
    tell(None, Event::PassedOver { through: &at(7) });
    let (ticket, attempt) = (7, 1);
    tell(Some((&bytes, &at(5))), Event::Started { ticket, attempt });
    let ended = Event::Ended {
        ticket,
        attempt,
        outcome: "retry",
        error: Some("no\nsuch account"),
    };
    tell(Some((&bytes, &at(5))), ended);
    let millis = 250;
    tell(
        Some((&bytes, &at(5))),
        Event::Quarantined { ticket, millis },
    );
    let (error, attempts) = ("no such account", 5);
    for event in [
        Event::Retry { attempts: 1 },
        Event::Done,
        Event::AlreadyDone,
        Event::Stopped { error, attempts },
        Event::Parked { error, attempts },
        Event::Appended,
        Event::DeadLettered,
        Event::Skipped,
        Event::Released,
        Event::Gone,
        Event::Decided {
            verb: Verb::Release,
        },
        Event::Effect {
            table: "accounts",
            key: "7",
        },
    ] {
        tell(Some((&each, &at(5))), event);
    }
    for (number, repeated) in [(1, false), (2, true)] {
        let checkpoint = &checkpoint;
        tell(
            None,
            Event::Committed {
                number,
                checkpoint,
                repeated,
            },
        );
    }
    tell(None, Event::Acked { frontier: &at(3) });
    tell(
        None,
        Event::Refused {
            why: "fenced: epoch 3 owns it",
        },
    );
    tell(None, Event::Revoked { clean: true });
    tell(None, Event::Paused);
    tell(None, Event::Resumed);
}

fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("history.jsonl");
    let file = HistoryFile::open(&path, worker(1)).expect("opened");
    each_event(|fact| file.note(fact));
    assert_eq!(file.lost(), 0);
    (folder, path)
}

fn read(path: &std::path::Path) -> Result<Vec<Line<'static>>, String> {
    let text = fs::read(path).expect("read");
    read_lines(&text[..], "h")
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())
}

#[test]
fn the_format_stands() {
    let (_folder, path) = written();
    insta::assert_snapshot!(fs::read_to_string(path).expect("read"));
}

#[test]
fn file_and_memory_hold_the_same_lines() {
    let (_folder, path) = written();
    let collected = Collected::new(worker(1));
    each_event(|fact| collected.note(fact));
    let lines = collected.take();
    assert!(lines.len() > 25);
    assert_eq!(read(&path).expect("sound"), lines);
}

#[test]
fn lanes_read_back() {
    let (_folder, path) = written();
    let mut lanes = Vec::new();
    let mut buffer = Vec::new();
    for line in read(&path).expect("sound") {
        if line.lane_into(&mut buffer) {
            lanes.push(LaneKey::from_bytes(&buffer).expect("a lane").to_string());
        }
    }
    lanes.dedup();
    assert_eq!(
        lanes,
        [
            "acc\"ount",
            "(whole partition)",
            "(no key)",
            "\\xff\\x00",
            "(no key, 5)"
        ]
    );
}

#[test]
fn a_torn_last_line_is_ignored() {
    let (_folder, path) = written();
    let whole = fs::read(&path).expect("read");
    let lines = read(&path).expect("sound");
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .expect("lines")
        + 1;
    for cut in last..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).expect("write");
        assert_eq!(
            read(&path).as_deref(),
            Ok(&lines[..lines.len() - 1]),
            "cut {cut}"
        );
        // The next worker goes on in the same file.
        let next = HistoryFile::open(&path, worker(2)).expect("opened");
        each_event(|fact| next.note(fact));
        let both = read(&path).expect("sound");
        assert_eq!(both.len(), 2 * lines.len() - 1, "cut {cut}");
    }
}

#[test]
fn a_line_behind_anothers_torn_one_is_not_lost() {
    let (_folder, path) = written();
    let whole = fs::read_to_string(&path).expect("read");
    let other = whole.replace(&worker(1).to_string(), &worker(2).to_string());
    let first = other.lines().next().expect("a line");
    for cut in 1..first.len() {
        fs::write(&path, format!("{}{whole}", &first[..cut])).expect("write");
        assert_eq!(
            read(&path).map(|lines| lines.len()),
            Ok(whole.lines().count())
        );
    }
}

#[test]
fn a_torn_line_of_a_worker_that_goes_on_is_an_error() {
    let (_folder, path) = written();
    let whole = fs::read_to_string(&path).expect("read");
    let mut lines: Vec<&str> = whole.lines().collect();
    for cut in [3, 20, lines[6].len() - 4] {
        let torn = &lines[6][..cut];
        let kept = std::mem::replace(&mut lines[6], torn);
        fs::write(&path, lines.join("\n")).expect("write");
        let error = read(&path).expect_err("torn in the middle");
        assert!(error.contains("`h` line 7 "), "{error}");
        lines[6] = kept;
    }
    for nonsense in ["hello", "{}", "{\"t\":1}", "{\"t\":1,\"event\":\"danced\"}"] {
        let kept = std::mem::replace(&mut lines[6], nonsense);
        fs::write(&path, lines.join("\n")).expect("write");
        let error = read(&path).expect_err("no line");
        assert!(error.contains("`h` line 7 "), "{error}");
        lines[6] = kept;
    }
}

#[test]
fn a_full_disk_is_counted_and_does_not_stop() {
    let file = HistoryFile::open("/dev/full", worker(1)).expect("opened");
    each_event(|fact| file.note(fact));
    let mut expected = 0;
    each_event(|_| expected += 1);
    assert_eq!(file.lost(), expected);
}

#[test]
fn several_workers_append_whole_lines() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("history.jsonl");
    std::thread::scope(|scope| {
        for n in 1..=4 {
            let path = &path;
            scope.spawn(move || {
                let file = HistoryFile::open(path, worker(n)).expect("opened");
                each_event(|fact| file.note(fact));
            });
        }
    });
    let mut count = 0;
    each_event(|_| count += 1);
    assert_eq!(read(&path).map(|lines| lines.len()), Ok(4 * count));
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("opened");
    file.write_all(b"\n").expect("write");
    assert_eq!(read(&path).map(|lines| lines.len()), Ok(4 * count));
}
