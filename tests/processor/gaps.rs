//! A log that was made anew under an old checkpoint: nothing of it may count as settled.

use lanekeeper::{
    Done, Record,
    config::Config,
    each_with,
    run::{RunError, RunOptions, run_until},
    source::local::put::{BadLines, Options, put},
};
use std::{
    fmt::Write as _,
    io::Cursor,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
};

fn append(folder: &Path, lines: std::ops::RangeInclusive<u32>) {
    let mut text = String::new();
    for n in lines {
        let _ = writeln!(text, "{n}");
    }
    let options = Options {
        path: folder.join("log.db"),
        topic: "orders".to_owned(),
        key: None,
        no_key: false,
        partitions: Some(1),
        from_line: 0,
        bad_lines: BadLines::Fail,
    };
    put(&options, Cursor::new(text), &mut |_| {
        ControlFlow::Continue(())
    })
    .expect("appended");
}

async fn run(folder: &Path, on_gap: &str) -> (Result<u64, RunError>, Vec<String>) {
    let text = format!(
        "app = \"gaps\"\ncap = 1\n[sources.orders]\ntype = \"local\"\npath = \"log.db\"\ntopic = \"orders\"\n\
         on_gap = \"{on_gap}\"\n[store]\ntype = \"local\"\npath = \"store.db\"\n"
    );
    let config = Config::from_toml(&text, &folder.join("lanekeeper.toml")).expect("configuration");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = each_with(
        Arc::clone(&seen),
        async |seen: Arc<Arc<Mutex<Vec<String>>>>, record: Record| {
            let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
            seen.lock().expect("not poisoned").push(value);
            Ok(Done)
        },
    );
    let options = RunOptions {
        until_idle: true,
        ..RunOptions::default()
    };
    let end = run_until(&config, handler, options, std::future::pending()).await;
    let seen = seen.lock().expect("not poisoned").clone();
    (end.map(|report| report.done), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn g7_a_log_made_anew_is_read_whole_where_that_is_allowed() {
    let folder = tempfile::tempdir().expect("folder");
    append(folder.path(), 1..=5);
    let (end, seen) = run(folder.path(), "refuse").await;
    assert_eq!((end.expect("idle"), seen.len()), (5, 5));
    for name in ["log.db", "log.db-wal", "log.db-shm"] {
        // The write-ahead files need not be there.
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    append(folder.path(), 11..=13);
    let (end, seen) = run(folder.path(), "refuse").await;
    let refused = end.expect_err("another log").to_string();
    assert!(
        refused.contains("on_gap"),
        "it says what decides: {refused}"
    );
    assert!(seen.is_empty());
    let (end, seen) = run(folder.path(), "earliest").await;
    assert_eq!(end.expect("idle"), 3);
    assert_eq!(
        seen,
        ["11", "12", "13"],
        "positions that the old log had settled are new records here"
    );
    let (end, seen) = run(folder.path(), "refuse").await;
    assert_eq!(
        (end.expect("idle"), seen.len()),
        (0, 0),
        "the checkpoint is of the new log now"
    );
}
