use super::*;
use rusqlite::params;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn refused(path: &Path, access: Access) -> DatabaseError {
    match Database::open(path, access) {
        Ok(_) => panic!("`{}` was opened", path.display()),
        Err(error) => error,
    }
}

#[test]
fn a_new_file_is_ours_in_wal_and_full() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let database = Database::open(&path, Access::Create).expect("new");
    database
        .install("CREATE TABLE IF NOT EXISTS t(n INTEGER)")
        .expect("schema");
    let found = database
        .call_blocking(|c| {
            c.execute("INSERT INTO t VALUES (?1)", params![7])?;
            let text = |sql| c.query_row(sql, [], |r| r.get::<_, String>(0));
            let number = |sql| c.query_row(sql, [], |r| r.get::<_, i32>(0));
            Ok((
                text("PRAGMA journal_mode")?,
                number("PRAGMA synchronous")?,
                number("PRAGMA application_id")?,
                number("PRAGMA user_version")?,
            ))
        })
        .expect("pragmas");
    assert_eq!(found, ("wal".to_owned(), 2, APPLICATION_ID, SCHEMA_VERSION));
    drop(database);
    let reader = Database::open(&path, Access::Read).expect("again");
    reader.install("CREATE TABLE x(n)").expect("reads only");
    let n =
        reader.call_blocking(|c| Ok(c.query_row("SELECT n FROM t", [], |r| r.get::<_, i32>(0))?));
    assert_eq!(n, Ok(7));
    let write = reader.call_blocking(|c| Ok(c.execute("DELETE FROM t", [])?));
    assert!(matches!(
        write.map_err(|e| e.fault),
        Err(Fault::ReadOnly(_))
    ));
}

#[test]
fn other_files_are_refused_by_name_and_left_alone() {
    let directory = directory();
    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign)
        .expect("open")
        .execute_batch("PRAGMA application_id = 17; CREATE TABLE theirs(n)")
        .expect("theirs");
    let unmarked = directory.path().join("unmarked.db");
    Connection::open(&unmarked)
        .expect("open")
        .execute_batch("CREATE TABLE theirs(n)")
        .expect("theirs");
    let newer = directory.path().join("newer.db");
    Connection::open(&newer)
        .expect("open")
        .execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
            SCHEMA_VERSION + 1
        ))
        .expect("newer");
    let text = directory.path().join("text.db");
    std::fs::write(
        &text,
        "not a database at all, but long enough to be one".repeat(40),
    )
    .expect("text");
    let cases = [
        (&foreign, Fault::Foreign { application: 17 }),
        (&unmarked, Fault::Foreign { application: 0 }),
        (
            &newer,
            Fault::Version {
                found: SCHEMA_VERSION + 1,
                known: SCHEMA_VERSION,
            },
        ),
        (&text, Fault::NotADatabase),
    ];
    for (path, expected) in cases {
        let before = std::fs::read(path).expect("content");
        for access in [Access::Create, Access::Existing, Access::Read] {
            let error = refused(path, access);
            assert_eq!(error.fault, expected, "{access:?}");
            assert!(error.to_string().contains(&path.display().to_string()));
        }
        assert_eq!(std::fs::read(path).expect("content"), before);
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = directory();
    let missing = directory.path().join("no/such/a.db");
    let error = refused(&missing, Access::Create).to_string();
    assert!(error.contains("there is no directory"), "{error}");
    let error = refused(directory.path(), Access::Create).to_string();
    assert!(error.contains("it is a directory"), "{error}");
    for access in [Access::Existing, Access::Read] {
        let error = refused(&directory.path().join("a.db"), access).to_string();
        assert!(error.contains("there is no such file"), "{error}");
    }
    assert!(!directory.path().join("a.db").exists());
    let error = refused(Path::new(""), Access::Create).to_string();
    assert!(error.contains("the path is empty"), "{error}");
}

#[test]
fn two_that_create_at_once_agree() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let database = Database::open(path, Access::Create)?;
                database.install("CREATE TABLE IF NOT EXISTS t(n INTEGER)")?;
                database.call_blocking(|c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?))
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), Ok(1));
    }
}

#[tokio::test]
async fn a_panic_is_one_callers_and_its_transaction_is_undone() {
    let directory = directory();
    let database = Database::open(directory.path().join("a.db"), Access::Create).expect("new");
    database
        .install("CREATE TABLE t(n INTEGER)")
        .expect("schema");
    let panicked = database
        .call(|c| {
            let transaction = c.transaction()?;
            transaction.execute("INSERT INTO t VALUES (1)", [])?;
            assert!(!transaction.is_autocommit(), "it is under way");
            panic!("on purpose");
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        })
        .await;
    assert_eq!(panicked.map_err(|e| e.fault), Err(Fault::Stopped));
    let rows = database
        .call(|c| Ok(c.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i32>(0))?))
        .await;
    assert_eq!(rows, Ok(0));
}
