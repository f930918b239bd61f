//! A stream in memory, and what is asked of it before anything runs.

use super::*;
use crate::{
    source::kinesis::fake::{Fake, RETENTION, number, row, shared},
    store::memory::{Memory, StoredMark},
};
use std::path::Path;

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";

fn config(more: &str) -> Config {
    let text =
        format!("app = \"a\"\ncap = 1\n[sources.s]\ntype = \"kinesis\"\narn = \"{ARN}\"\n{more}");
    Config::from_toml(&text, Path::new("lanekeeper.toml")).expect("sound")
}

fn streamed<'c>(config: &'c Config, fake: &Arc<Fake>) -> Streamed<'c> {
    Streamed {
        config,
        source: &config.sources[0],
        stream: shared(fake),
        shards: Vec::new(),
        others: Vec::new(),
        fans_out: false,
    }
}

#[tokio::test]
async fn where_marks_are_forgotten_first_nothing_runs() {
    let fake = Arc::new(Fake::default());
    let hours = RETENTION.as_secs() / 3_600 - 24;
    let kept = config(&format!("[lambda]\nretention = \"{hours}h\"\n"));
    let lasts = streamed(&kept, &fake).marks_last().await;
    assert!(lasts.is_ok(), "{lasts:?}");
    let short = config(&format!("[lambda]\nretention = \"{}h\"\n", hours - 1));
    let error = streamed(&short, &fake).marks_last().await;
    let error = error.expect_err("too short").to_string();
    assert!(error.contains("`lambda.retention` is"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn of_what_was_never_delivered_start_says_where_to_begin_but_of_a_child() {
    let fake = Arc::new(Fake::default());
    let store = Memory::new("a");
    let rows = || vec![row(11, "k", "v")];
    let root = fake.shard("root", &[], (10, Some(20)), rows());
    let child = fake.shard("child", &["root"], (30, None), rows());
    let begins = async |config: &Config, shard| {
        let start = streamed(config, &fake);
        let start = start.start(&store, shard, &When::Checkpoint).await;
        start.map(|start| start.map(|start| start.begin))
    };
    let horizon = Some(Begin::Horizon);
    assert_eq!(begins(&config(""), &root).await.ok(), Some(horizon.clone()));
    let latest = config("start = \"latest\"\n");
    assert_eq!(begins(&latest, &root).await.ok(), Some(None));
    assert_eq!(begins(&latest, &child).await.ok(), Some(horizon.clone()));
    let refuse = config("start = \"refuse\"\n");
    let error = begins(&refuse, &root).await.expect_err("refused");
    assert!(error.to_string().contains("`--from`"), "{error}");
    assert_eq!(begins(&refuse, &child).await.ok(), Some(horizon));
    let time = config("start = { time = \"1970-01-01T00:00:07Z\" }\n");
    let then = Some(Begin::Time(7_000));
    assert_eq!(begins(&time, &root).await.ok(), Some(then));
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_in_the_future() {
    let (fake, config) = (Arc::new(Fake::default()), config(""));
    let shard = fake.shard("s", &[], (10, None), vec![row(11, "k", "v")]);
    let future = "2999-01-01T00:00:00Z".parse().expect("a time");
    let streamed = streamed(&config, &fake);
    let error = streamed.start(&Memory::new("a"), &shard, &future).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("in the future"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_child_alone_is_refused_while_its_parent_may_be_open() {
    let (fake, config) = (Arc::new(Fake::default()), config(""));
    let store = Memory::new("a");
    let rows = || vec![row(11, "k", "v")];
    let parent = fake.shard("parent", &[], (10, Some(20)), rows());
    let child = fake.shard("child", &["parent"], (30, None), rows());
    let mut streamed = streamed(&config, &fake);
    (streamed.shards, streamed.others) = (vec![child], vec![parent]);
    // Nothing of either was delivered.
    let error = streamed.parents_first(&store).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("`parent` may be open"), "{error}");
    let mark = |n, is_done: bool| Mark {
        ended: true,
        done: { is_done.then(|| number(n)) }.into_iter().collect(),
        ..Mark::begun("i", (number(n), number(n)), 1)
    };
    let marks = |id: &str, n, is_done| {
        let mark = mark(n, is_done);
        let place = (
            PartitionName::new("s", id),
            mark.last.clone(),
            "i".to_owned(),
        );
        let stored = StoredMark {
            mark,
            number: 1,
            content: [0; 16],
        };
        store.tamper(|contents| contents.marks.insert(place, stored));
    };
    marks("parent", 11, true);
    assert!(streamed.parents_first(&store).await.is_err());
    // The mapping has begun with the child: it is through with the parent.
    marks("child", 31, true);
    assert!(streamed.parents_first(&store).await.is_ok());
    marks("parent", 11, false);
    assert!(streamed.parents_first(&store).await.is_err());
}

#[test]
fn a_position_is_one_of_its_shard() {
    let shard = |last: Option<&str>| Shard {
        id: "s".into(),
        parents: Vec::new(),
        first: "10000000000000000000".parse().expect("a number"),
        last: last.map(|last| last.parse().expect("a number")),
    };
    let position = |text: &str| -> Position { text.parse().expect("a position") };
    let closed = shard(Some("20000000000000000000"));
    for (text, is_there) in [
        ("10000000000000000000", true),
        ("15000000000000000000:3", true),
        ("20000000000000000000", true),
        ("20000000000000000001", false),
        // Compared as numbers.
        ("9999999999999999999:1", false),
        ("17", false),
    ] {
        let found = within(&closed, &position(text));
        assert_eq!(found.is_ok(), is_there, "{text}: {found:?}");
    }
    let far = position("90000000000000000000000");
    assert!(within(&shard(None), &far).is_ok());
}

#[test]
fn what_is_gone_goes_before_what_stands() {
    assert_eq!(exit(false, false, false), Exit::Fine);
    assert_eq!(exit(true, false, false), Exit::Held);
    assert_eq!(exit(true, false, true), Exit::Interrupted);
    assert_eq!(exit(true, true, true), Exit::OutOfReach);
}
