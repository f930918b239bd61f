//! The file: full, locked, killed over, shared, damaged, somebody else's.

use super::{Home, apply, native, owner, run};
use crate::conformance::{DONE, Owner, REPEATED, effects_of, lane, note, park, partition, record};
use lanekeeper::{
    Effect, Position,
    sqlite::{Access, Database, Fault},
    store::{
        CommitError, LaneChange, LaneItem, Store, StoreError, Verb, WorkerItem, sqlite::SqliteStore,
    },
};
use rusqlite::types::Value as Column;
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const TABLES: [&str; 7] = [
    "registry",
    "workers",
    "checkpoints",
    "lanes",
    "chain",
    "values",
    "history",
];

/// All rows of all tables, as text.
fn dump(home: &Home) -> Vec<String> {
    let other = home.other();
    let mut rows = Vec::new();
    for table in TABLES {
        let mut statement = other
            .prepare(&format!("SELECT * FROM store_{table} ORDER BY 1, 2, 3"))
            .expect("table");
        let columns = statement.column_count();
        let mut found = statement.query([]).expect("rows");
        while let Some(row) = found.next().expect("row") {
            let values: Vec<_> = (0..columns)
                .map(|n| format!("{:?}", row.get_ref(n)))
                .collect();
            rows.push(format!("{table}: {}", values.join(" | ")));
        }
    }
    rows
}

#[tokio::test]
async fn a_full_disk_writes_nothing_and_names_the_file() {
    let home = Home::new();
    let store = home.open();
    let mut owner = owner(&store).await;
    let mut parked = park(&mut owner, "a", 1..=1).await;
    run(
        store.database(),
        "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA max_page_count = 200",
    );
    let refused = loop {
        let next = owner.number + 2;
        assert!(next < 100_000, "the disk is never full");
        let grown = LaneItem {
            tail: Some(Position::Offset(next * 100 + 99)),
            ..parked.clone()
        };
        let mut commit = owner.next(next);
        commit.keep = true;
        commit.effects = vec![effects_of("b", next, vec![Effect::add("t", "n", 1)])];
        commit.lanes = vec![LaneChange {
            lane: lane("a"),
            expected: Some((parked.rev, parked.tail.clone())),
            item: Some(grown.clone()),
            append: (0..100)
                .map(|n| record(&owner.partition, "a", next * 100 + n))
                .collect(),
            passed: None,
        }];
        let before = dump(&home);
        match owner.commit(&commit).await {
            Ok(done) => assert_eq!(done, DONE),
            Err(CommitError::NotWritten(why)) => {
                assert!(why.contains(&home.path().display().to_string()), "{why}");
                assert!(why.contains("no room to write"), "{why}");
                assert_eq!(dump(&home), before, "nothing is half in");
                break commit;
            }
            Err(error) => panic!("{error:?}"),
        }
        parked = grown;
    };
    let claimed = store.claim(&partition("a/7"), owner.fence.worker).await;
    // A small write may still find room in a page that is not full.
    assert!(
        matches!(claimed, Ok(_) | Err(StoreError::OutOfReach(_))),
        "{claimed:?}"
    );
    run(store.database(), "PRAGMA max_page_count = 100000");
    assert_eq!(
        owner.commit(&refused).await,
        Ok(DONE),
        "the same content, later"
    );
    assert_eq!(owner.commit(&refused).await, Ok(REPEATED));
    let sum = store.value("t", "n").await;
    assert_eq!(sum, Ok(Some(json!(refused.number - 1))));
}

#[tokio::test]
async fn a_lock_held_for_too_long_is_not_written_and_repeated() {
    let home = Home::new();
    let store = home.open();
    run(store.database(), "PRAGMA busy_timeout = 20");
    let mut owner = owner(&store).await;
    let commit = owner.next(3);
    let other = home.other();
    other.execute_batch("BEGIN IMMEDIATE").expect("lock");
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(&outcome, Err(CommitError::NotWritten(why)) if why.contains("locked by another connection")),
        "{outcome:?}"
    );
    let released = store.release(&owner.partition, owner.fence).await;
    assert!(
        matches!(released, Err(StoreError::OutOfReach(_))),
        "{released:?}"
    );
    // Reading waits for nobody.
    assert_eq!(owner.frontier().await, None);
    other.execute_batch("ROLLBACK").expect("unlock");
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
}

const WRITER: &str = "LANEKEEPER_TEST_WRITER";

/// Commits for ever; says each number once it is durable.
#[expect(
    clippy::print_stdout,
    reason = "standard output is the pipe to the parent"
)]
fn write_until_killed(path: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let store = SqliteStore::open(path, Access::Create, "billing").expect("open");
        let mut owner = owner(&store).await;
        loop {
            let number = owner.number + 1;
            let mut commit = owner.next(number);
            commit.effects = vec![
                effects_of(
                    "k",
                    number,
                    vec![
                        Effect::add("t", "total", 1),
                        Effect::put("t", "last", number),
                    ],
                ),
                effects_of(
                    "l",
                    number,
                    vec![native(
                        "INSERT INTO rows VALUES (?)",
                        vec![json!(number)],
                        Some(1),
                    )],
                ),
            ];
            commit.keep = true;
            assert_eq!(owner.commit(&commit).await, Ok(DONE));
            // The parent starts this with `--nocapture`.
            println!("durable {number}");
        }
    });
}

#[test]
fn a_writer_killed_at_any_time_leaves_whole_commits() {
    if let Ok(path) = std::env::var(WRITER) {
        return write_until_killed(&path);
    }
    let home = Home::new();
    run(home.open().database(), "CREATE TABLE rows(n INTEGER)");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let mut total = 0;
    for round in 1..=6u64 {
        let name = "sqlite_store::file::a_writer_killed_at_any_time_leaves_whole_commits";
        let mut writer = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(WRITER, home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("writer");
        let lines = BufReader::new(writer.stdout.take().expect("pipe")).lines();
        let mut acknowledged = 0;
        for line in lines {
            let line = line.expect("line");
            if let Some((_, number)) = line.split_once("durable ") {
                acknowledged = number.parse().expect("number");
                // Killed while the next one is being written, at different moments of it.
                if acknowledged >= 5 * round {
                    std::thread::sleep(Duration::from_micros(300 * round));
                    writer.kill().expect("kill");
                    break;
                }
            }
        }
        writer.wait().expect("reaped");
        assert!(
            acknowledged >= 5 * round,
            "round {round}: the writer ended early"
        );
        let store = home.open();
        let found = runtime.block_on(store.ownership(&partition("a/0")));
        let found = found.expect("read").expect("an item");
        assert_eq!(found.epoch, round);
        assert!(
            found.commit >= acknowledged,
            "{} < {acknowledged}",
            found.commit
        );
        total += found.commit;
        let value = |key| runtime.block_on(store.value("t", key)).expect("read");
        assert_eq!(value("total"), Some(json!(total)), "round {round}");
        assert_eq!(value("last"), Some(json!(found.commit)));
        let rows: i64 = home
            .other()
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .expect("count");
        assert_eq!(rows.unsigned_abs(), total);
        let history = runtime
            .block_on(store.history(&partition("a/0")))
            .expect("read");
        assert_eq!(history.len() as u64, total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_work_on_one_file() {
    let home = Home::new();
    home.open();
    let mut tasks = Vec::new();
    for n in 0..4 {
        // A connection of its own, as another process has.
        let store: Arc<dyn Store> = Arc::new(home.open());
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::of(&store, &partition(&format!("a/{n}"))).await;
            for frontier in 1..=25 {
                let mut commit = owner.next(frontier);
                commit.effects = vec![effects_of("k", frontier, vec![Effect::add("t", "n", 1)])];
                assert_eq!(owner.commit(&commit).await, Ok(DONE));
            }
            owner.frontier().await
        }));
    }
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), Some(25));
    }
    assert_eq!(home.open().value("t", "n").await, Ok(Some(json!(100))));
}

/// A row in each table.
async fn fill(store: &SqliteStore, owner: &mut Owner) {
    let beat = WorkerItem {
        worker: owner.fence.worker.0,
        pid: 1,
        host: "h".to_owned(),
        started: 1,
        beat: 2,
        in_flight: 0,
        waiting: 0,
        buffered: 0,
        paused: Vec::new(),
        sick_since: None,
        fenced: 0,
        behind: Vec::new(),
        consumed: None,
    };
    store.beat(&beat).await.expect("beat");
    park(owner, "a", 3..=3).await;
    let (key, skip) = (lane("a"), note(Verb::Skip));
    let decided = store.decide(&owner.partition, &key, 1, &skip).await;
    assert_eq!(decided, Ok(2));
    let put = apply(owner, vec![Effect::put("t", "k", 1)]).await;
    assert_eq!(put, Ok(()));
}

/// Columns that are no part of a row's key: with another key it is another row, and nobody's.
fn columns(other: &rusqlite::Connection, table: &str) -> Vec<String> {
    let of = format!("SELECT name FROM pragma_table_info('store_{table}') WHERE pk = 0");
    let mut statement = other.prepare(&of).expect("columns");
    let names = statement.query_map([], |row| row.get(0)).expect("columns");
    let mut names: Vec<String> = names.collect::<Result<_, _>>().expect("columns");
    names.retain(|name| !["app", "source", "partition"].contains(&name.as_str()));
    names
}

#[tokio::test]
async fn a_change_to_any_column_is_noticed() {
    let home = Home::new();
    let store = home.open();
    let mut owner = owner(&store).await;
    fill(&store, &mut owner).await;
    let (mut tried, other) = (0, home.other());
    for table in TABLES {
        for column in columns(&other, table) {
            let before = dump(&home);
            let all = format!("SELECT {column} FROM store_{table}");
            let kept: Column = other.query_row(&all, [], |row| row.get(0)).expect("a row");
            let changed = other.execute(
                &format!(
                    "UPDATE store_{table} SET {column} = CASE typeof({column}) \
                     WHEN 'integer' THEN {column} + 1 WHEN 'null' THEN 1 \
                     WHEN 'blob' THEN CAST({column} || x'00' AS BLOB) ELSE {column} || ' ' END"
                ),
                [],
            );
            assert_eq!(changed, Ok(1), "{table}.{column}");
            let error = read(&store, &owner, table).await;
            assert!(
                matches!(&error, Err(StoreError::Damaged(why)) if why.contains(&format!("store_{table}"))),
                "{table}.{column}: {error:?}"
            );
            let put_back = format!("UPDATE store_{table} SET {column} = ?1");
            assert_eq!(other.execute(&put_back, [kept]), Ok(1));
            assert_eq!(dump(&home), before);
            let sound = read(&store, &owner, table).await;
            assert_eq!(sound, Ok(()), "{table}.{column}");
            tried += 1;
        }
    }
    assert!(tried >= 45, "{tried}");
}

/// Reads what a table holds.
async fn read(store: &SqliteStore, owner: &Owner, table: &str) -> Result<(), StoreError> {
    let p = &owner.partition;
    match table {
        "registry" => store.partitions().await.map(drop),
        "workers" => store.workers().await.map(drop),
        "checkpoints" => store.ownership(p).await.map(drop),
        "lanes" => store.lanes(p).await.map(drop),
        "chain" => store
            .chain(&owner.assignment(), &lane("a"), None, 9, 99)
            .await
            .map(drop),
        "values" => store.value("t", "k").await.map(drop),
        "history" => store.history(p).await.map(drop),
        other => panic!("no table `{other}`"),
    }
}

#[tokio::test]
async fn another_version_is_told_by_name_and_left_alone() {
    let home = Home::new();
    let store = home.open();
    let mut owner = owner(&store).await;
    apply(&mut owner, vec![Effect::put("t", "k", 1)])
        .await
        .expect("put");
    home.other()
        .execute_batch("UPDATE store_checkpoints SET format = 2")
        .expect("newer row");
    let error = store.ownership(&owner.partition).await;
    assert!(
        matches!(&error, Err(StoreError::Damaged(why)) if why.contains("format 2") && why.contains("upgrade")),
        "{error:?}"
    );
    drop((store, owner));
    home.other()
        .execute_batch("PRAGMA user_version = 2")
        .expect("newer file");
    let before = dump(&home);
    let error = SqliteStore::open(home.path(), Access::Create, "billing").expect_err("newer");
    assert_eq!(error.fault, Fault::Version { found: 2, known: 1 });
    assert!(
        error
            .to_string()
            .contains(&home.path().display().to_string())
    );
    assert_eq!(dump(&home), before);
}

#[tokio::test]
async fn looking_needs_no_tables_and_writes_nothing() {
    let home = Home::new();
    // As `put` leaves a file that nothing was processed from.
    drop(Database::open(home.path(), Access::Create).expect("log only"));
    let reader = SqliteStore::open(home.path(), Access::Read, "billing").expect("reader");
    assert_eq!(reader.partitions().await, Ok(Vec::new()));
    let claimed = reader
        .claim(&partition("a/0"), crate::conformance::worker())
        .await;
    assert!(
        matches!(&claimed, Err(StoreError::OutOfReach(why)) if why.contains("read-only")),
        "{claimed:?}"
    );
    // It sees what a worker writes meanwhile.
    let store = home.open();
    let mut owner = owner(&store).await;
    let commit = owner.next(5);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let seen = reader
        .ownership(&owner.partition)
        .await
        .expect("read")
        .expect("an item");
    assert_eq!(seen.checkpoint, Some(commit.checkpoint));
}
