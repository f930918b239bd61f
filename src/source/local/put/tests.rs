use super::*;
use crate::sqlite::Access;
use std::io::Cursor;
use tempfile::TempDir;

mod interrupted;

type Kept = (u32, u64, Option<String>, String);

struct World {
    folder: TempDir,
    bad: Vec<(u64, String, Vec<u8>, u64)>,
    appended: Vec<Summary>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            bad: Vec::new(),
            appended: Vec::new(),
        }
    }

    fn options(&self, key: Option<&str>) -> Options {
        Options {
            path: self.folder.path().join("a.db"),
            topic: "orders".to_owned(),
            key: key.map(|key| key.parse().expect("a key setting")),
            no_key: false,
            partitions: None,
            from_line: 1,
            bad_lines: BadLines::Fail,
        }
    }

    fn put(&mut self, options: &Options, input: &[u8]) -> Result<Summary, PutError> {
        let input = Cursor::new(input.to_vec());
        let (bad, appended) = (&mut self.bad, &mut self.appended);
        put(options, input, &mut |progress| {
            match progress {
                Progress::Appended(summary) => appended.push(*summary),
                Progress::Bad(b) => {
                    bad.push((b.number, b.why.to_owned(), b.line.to_vec(), b.length))
                }
                Progress::Waiting => {}
            }
            ControlFlow::Continue(())
        })
    }

    fn log(&self) -> Log {
        Log::open(&self.folder.path().join("a.db"), Access::Read).expect("the log")
    }

    fn kept(&self) -> Vec<Kept> {
        kept(&self.log())
    }
}

fn kept(log: &Log) -> Vec<Kept> {
    let Some(topic) = log.topic("orders").expect("readable") else {
        return Vec::new();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Vec::new();
    for partition in 0..topic.partitions() {
        log.read(&topic, partition, (1, u64::MAX), usize::MAX, |r| {
            all.push((partition, r.position, r.key.map(text), text(r.value)));
            true
        })
        .expect("sound");
    }
    all
}

#[test]
fn partitions_of_keys_never_change() {
    // SHA-256 of "", "abc" (FIPS 180-2) and a few more, first eight bytes: computed with Python's
    // hashlib. What is appended today must be found there by every later version.
    for (key, head) in [
        ("", 0xe3b0_c442_98fc_1c14_u64),
        ("abc", 0xba78_16bf_8f01_cfea),
        ("account-1", 0x07e9_9801_2c11_37de),
        ("1.0", 0xd0ff_5974_b6aa_52cf),
    ] {
        for n in [1, 8, 12, 4096] {
            let expected = u32::try_from(head % u64::from(n)).expect("small");
            assert_eq!(
                partition_of(Some(key.as_bytes()), n),
                expected,
                "`{key}` of {n}"
            );
        }
    }
    assert_eq!(partition_of(Some(b"abc"), 8), 2);
    assert_eq!(partition_of(None, 8), 0);
}

#[test]
fn lines_become_records_in_order() {
    let mut world = World::new();
    let options = world.options(Some("k"));
    let input = b"{\"k\":\"a\",\"n\":1}\r\n{\"k\":7,\"n\":2}\n {\"k\":\"a\",\"n\":3} \n{\"n\":4,\"k\":\"a\"}";
    let summary = world.put(&options, input).expect("sound");
    assert_eq!(
        (summary.records, summary.through_line, summary.partitions),
        (4, 4, 8)
    );
    let a = partition_of(Some(b"a"), 8);
    let expected = [
        (
            a,
            1,
            Some("a".to_owned()),
            "{\"k\":\"a\",\"n\":1}".to_owned(),
        ),
        (
            a,
            2,
            Some("a".to_owned()),
            " {\"k\":\"a\",\"n\":3} ".to_owned(),
        ),
        (
            a,
            3,
            Some("a".to_owned()),
            "{\"n\":4,\"k\":\"a\"}".to_owned(),
        ),
    ];
    let kept = world.kept();
    let of_a: Vec<_> = kept
        .iter()
        .filter(|r| r.2.as_deref() == Some("a"))
        .cloned()
        .collect();
    assert_eq!(of_a, expected);
    let seven = kept
        .iter()
        .find(|r| r.2.as_deref() == Some("7"))
        .expect("there");
    assert_eq!(
        (seven.0, seven.3.as_str()),
        (partition_of(Some(b"7"), 8), "{\"k\":7,\"n\":2}")
    );
    // A second put goes on behind the first.
    world
        .put(&options, b"{\"k\":\"a\",\"n\":5}\n")
        .expect("sound");
    let last = world
        .kept()
        .into_iter()
        .rfind(|r| r.0 == a && r.2.as_deref() == Some("a"));
    assert_eq!(last.expect("there").3, "{\"k\":\"a\",\"n\":5}");
}

#[test]
fn without_key_any_line_is_a_record_of_partition_0() {
    let mut world = World::new();
    let options = world.options(None);
    world
        .put(&options, b"plain\n\n\xff\xfe\r\n")
        .expect("sound");
    let kept = world.kept();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|r| r.0 == 0 && r.2.is_none()));
    assert_eq!((kept[1].1, kept[1].3.as_str()), (2, ""));
    let topic = world
        .log()
        .topic("orders")
        .expect("readable")
        .expect("there");
    let mut raw = Vec::new();
    world
        .log()
        .read(&topic, 0, (3, 3), 1, |r| {
            raw = r.value.to_vec();
            true
        })
        .expect("sound");
    assert_eq!(raw, b"\xff\xfe");
}

#[test]
fn a_bad_line_ends_it_and_says_how_to_go_on() {
    for (bad, why) in [
        (
            &b"{\"k\":\"a\""[..],
            "line 3 is no record: it is not JSON: EOF while parsing an object",
        ),
        (
            b"",
            "line 3 is no record: it is blank, and with a key each line is a JSON record",
        ),
        (
            b" \t",
            "line 3 is no record: it is blank, and with a key each line is a JSON record",
        ),
        (
            b"{\"x\":1}",
            "line 3 is no record: it has no `k` (`--no-key` takes such lines",
        ),
        (
            b"{\"k\":null}",
            "line 3 is no record: its `k` is null, and a key is a string or a number",
        ),
        (b"{\"k\":{}}", "line 3 is no record: its `k` is an object"),
        (
            b"{\"k\":1,\"k\":2}",
            "line 3 is no record: its object has `k` more than once",
        ),
        (
            b"{\"k\":\"\xff\"}",
            "line 3 is no record: it is not JSON: byte 7 is not UTF-8",
        ),
    ] {
        let mut world = World::new();
        let options = world.options(Some("k"));
        let good = b"{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":2}\n";
        let mended = b"{\"k\":\"a\",\"n\":3}\n{\"k\":\"a\",\"n\":4}\n";
        let input = [good, bad, b"\n{\"k\":\"a\",\"n\":4}\n"].concat();
        let error = world.put(&options, &input).expect_err("bad").to_string();
        assert!(error.starts_with(why), "{error}");
        assert!(
            error.contains("`--from-line 3`") && error.contains("`--bad-lines skip`"),
            "{error}"
        );
        assert_eq!(world.kept().len(), 2, "all before it is in");
        let rest = Options {
            from_line: 3,
            ..options
        };
        let summary = world
            .put(&rest, &[&good[..], mended].concat())
            .expect("mended");
        assert_eq!((summary.records, summary.through_line), (2, 4));
        let numbers: Vec<_> = world
            .kept()
            .into_iter()
            .map(|r| r.3[r.3.len() - 2..].to_owned())
            .collect();
        assert_eq!(numbers, ["1}", "2}", "3}", "4}"]);
    }
}

#[test]
fn bad_lines_are_handed_out_when_they_are_skipped() {
    let mut world = World::new();
    let options = Options {
        bad_lines: BadLines::Skip,
        ..world.options(Some("k"))
    };
    let summary = world
        .put(&options, b"{\"k\":1}\nnonsense\r\n{\"k\":2}\n{}\n")
        .expect("skipped");
    assert_eq!(
        (summary.records, summary.bad, summary.through_line),
        (2, 2, 4)
    );
    assert_eq!(world.kept().len(), 2);
    let bad: Vec<_> = world
        .bad
        .iter()
        .map(|b| (b.0, b.2.as_slice(), b.3))
        .collect();
    assert_eq!(bad, [(2, &b"nonsense"[..], 8), (4, &b"{}"[..], 2)]);
}

#[test]
fn no_key_takes_lines_without_key_and_nothing_else() {
    let mut world = World::new();
    let options = Options {
        no_key: true,
        ..world.options(Some("/a/k"))
    };
    let input = b"{\"a\":{\"k\":\"x\"}}\n{}\n{\"a\":{\"k\":null}}\n[1]\n";
    world.put(&options, input).expect("taken");
    let kept = world.kept();
    assert_eq!(kept.iter().filter(|r| r.0 == 0 && r.2.is_none()).count(), 3);
    assert_eq!(
        kept.iter().filter(|r| r.2.as_deref() == Some("x")).count(),
        1
    );
    let error = world
        .put(&options, b"{\"a\":\n")
        .expect_err("not JSON")
        .to_string();
    assert!(
        error.starts_with("line 1 is no record: it is not JSON"),
        "{error}"
    );
}

#[test]
fn a_record_that_is_too_large_is_a_bad_line() {
    let mut world = World::new();
    let options = world.options(None);
    let mut input = b"before\n".to_vec();
    input.resize(input.len() + LINE_BYTES_MAX, b'x');
    input.extend_from_slice(b"\r\n");
    input.resize(input.len() + LINE_BYTES_MAX + 1, b'y');
    input.extend_from_slice(b"\nafter\n");
    let error = world
        .put(&options, &input)
        .expect_err("too large")
        .to_string();
    let expected = "line 3 is no record: it has 16777217 bytes, and a record has at most 16777216";
    assert!(error.starts_with(expected), "{error}");
    let lengths: Vec<_> = world.kept().iter().map(|r| r.3.len()).collect();
    assert_eq!(
        lengths,
        [6, LINE_BYTES_MAX],
        "the largest that is allowed is in"
    );
    let skip = Options {
        bad_lines: BadLines::Skip,
        from_line: 3,
        ..options
    };
    let summary = world.put(&skip, &input).expect("skipped");
    assert_eq!((summary.records, summary.bad), (1, 1));
    assert_eq!(
        (world.bad[0].2.len(), world.bad[0].3),
        (LINE_BYTES_MAX, LINE_BYTES_MAX as u64 + 1)
    );
}

#[test]
fn the_number_of_partitions_is_fixed() {
    let mut world = World::new();
    let three = Options {
        partitions: Some(3),
        ..world.options(None)
    };
    assert_eq!(world.put(&three, b"x\n").expect("new").partitions, 3);
    assert_eq!(world.put(&three, b"x\n").expect("the same").partitions, 3);
    let any = world.options(None);
    assert_eq!(world.put(&any, b"x\n").expect("any").partitions, 3);
    let five = Options {
        partitions: Some(5),
        ..any.clone()
    };
    let error = world.put(&five, b"x\n").expect_err("other").to_string();
    assert!(
        error.contains("topic `orders` has 3 partitions, and 5 were asked for"),
        "{error}"
    );
    assert_eq!(world.kept().len(), 3);
    for partitions in [0, PARTITIONS_MAX_PLUS] {
        let wrong = Options {
            topic: "other".to_owned(),
            partitions: Some(partitions),
            ..any.clone()
        };
        let error = world
            .put(&wrong, b"x\n")
            .expect_err("out of bounds")
            .to_string();
        assert!(error.contains("1 to 4096 are allowed"), "{error}");
    }
    for topic in ["", "a/b", "a b", "ä", &"x".repeat(250)] {
        let wrong = Options {
            topic: topic.to_owned(),
            ..any.clone()
        };
        let error = world.put(&wrong, b"x\n").expect_err("no name").to_string();
        assert!(error.contains("cannot name a topic"), "{error}");
    }
    let names: Vec<_> = world
        .log()
        .topics()
        .expect("readable")
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(names, ["orders"], "what was refused left nothing behind");
}

const PARTITIONS_MAX_PLUS: u32 = log::PARTITIONS_MAX + 1;

#[test]
fn an_empty_input_creates_the_topic_and_a_bad_first_line_does_not() {
    let mut world = World::new();
    let options = Options {
        partitions: Some(2),
        ..world.options(Some("k"))
    };
    assert!(world.put(&options, b"nonsense\n").is_err());
    assert_eq!(world.log().topic("orders"), Ok(None));
    let summary = world.put(&options, b"").expect("empty");
    assert_eq!((summary.records, summary.partitions), (0, 2));
    let topic = world
        .log()
        .topic("orders")
        .expect("readable")
        .expect("there");
    assert_eq!(topic.partitions(), 2);
}

#[test]
fn from_line_behind_the_input_is_named() {
    let mut world = World::new();
    let options = world.options(None);
    let from = |from_line| Options {
        from_line,
        ..options.clone()
    };
    assert_eq!(
        world.put(&from(3), b"a\nb\n").expect("just behind").records,
        0
    );
    let error = world
        .put(&from(4), b"a\nb\n")
        .expect_err("behind")
        .to_string();
    assert_eq!(error, "there is no line 4: the input ends with line 2");
}

#[test]
fn transactions_are_bounded_and_told() {
    let mut world = World::new();
    let options = world.options(None);
    let input = b"0123456789\n".repeat(2 * LINES_MAX + 5);
    let summary = world.put(&options, &input).expect("sound");
    assert_eq!(summary.records, 2 * LINES_MAX as u64 + 5);
    // How many there are also depends on when the input paused; none is too large.
    let mut before = 0;
    for told in &world.appended {
        assert!(told.records - before <= LINES_MAX as u64);
        assert_eq!(told.through_line, told.records);
        before = told.records;
    }
    assert_eq!(world.appended.last(), Some(&summary));
    assert_eq!(world.kept().len(), 2 * LINES_MAX + 5);
}
