//! Handlers' own statements: what they may do, and that none of them harms another's commit.

use super::{Home, apply, native, owner, run};
use crate::conformance::{DONE, Owner, effects_of, lane, park, partition};
use lanekeeper::{
    Effect,
    store::{CommitError, Store},
};
use serde_json::json;
use std::sync::Arc;

const TABLES: &str = "
CREATE TABLE accounts(name TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0), note);
CREATE TABLE children(name TEXT REFERENCES accounts(name) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO accounts VALUES ('ann', 10, NULL), ('bob', 0, NULL);";

async fn rows(home: &Home, sql: &str) -> i64 {
    home.other()
        .query_row(sql, [], |row| row.get(0))
        .expect("count")
}

#[tokio::test]
async fn a_statement_runs_with_its_commit() {
    let home = Home::new();
    let store = home.open();
    run(store.database(), TABLES);
    let mut owner = owner(&store).await;
    let sound = [
        native(
            "UPDATE accounts SET balance = balance + ?1 WHERE name = ?2",
            vec![json!(5), json!("ann")],
            Some(1),
        ),
        native(
            "INSERT INTO accounts VALUES (?, ?, ?)",
            vec![json!("cid"), json!(true), json!(1.5)],
            Some(1),
        ),
        native("UPDATE accounts SET note = ?", vec![json!(null)], Some(3)),
        native(
            "INSERT INTO children VALUES ('ann') RETURNING name",
            vec![],
            Some(1),
        ),
        native("SELECT name FROM accounts", vec![], Some(0)),
        native(
            "CREATE TABLE IF NOT EXISTS made(n INTEGER)",
            vec![],
            Some(0),
        ),
        native(
            "INSERT INTO made SELECT epoch FROM store_checkpoints",
            vec![],
            Some(1),
        ),
        native("DELETE FROM made", vec![], Some(1)),
        // Each value ends with what both kinds of effects wrote.
        Effect::add("t", "k", 1),
    ];
    for effect in sound {
        assert_eq!(
            apply(&mut owner, vec![effect.clone()]).await,
            Ok(()),
            "{effect:?}"
        );
    }
    assert_eq!(rows(&home, "SELECT sum(balance) FROM accounts").await, 16);
    let typed = "SELECT count(*) FROM accounts WHERE typeof(note) = 'null' AND balance >= 0";
    assert_eq!(rows(&home, typed).await, 3);
    assert_eq!(store.value("t", "k").await, Ok(Some(json!(1))));
}

/// Statements that fail by themselves, the rows that they must change, and what the refusal says.
const FAILING: [(&str, Option<u64>, &str); 9] = [
    (
        "UPDATE accounts SET balance = balance - 11 WHERE name = 'ann'",
        None,
        "CHECK constraint",
    ),
    (
        "UPDATE accounts SET balance = 1 WHERE name = 'zoe'",
        Some(1),
        "changed 0 rows, `rows` asks for 1",
    ),
    ("UPDATE accounts SET balance = 1", Some(1), "changed 2 rows"),
    ("INSERT INTO nowhere VALUES (1)", None, "no such table"),
    ("nonsense", None, "syntax error"),
    (
        "DELETE FROM accounts; DELETE FROM accounts",
        None,
        "ultiple statements",
    ),
    ("DELETE FROM accounts WHERE name = ?", None, "parameters"),
    ("INSERT INTO children VALUES ('zoe')", None, "foreign key"),
    (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        None,
        "ran for too long",
    ),
];

#[tokio::test]
async fn a_failing_statement_is_refused_and_says_why() {
    let home = Home::new();
    let store = home.open();
    run(store.database(), TABLES);
    let mut owner = owner(&store).await;
    let mut cases: Vec<(Effect, &str)> = FAILING
        .iter()
        .map(|(sql, rows, expected)| (native(sql, vec![], *rows), *expected))
        .collect();
    cases.extend([
        (
            native("DELETE FROM accounts", vec![json!(1)], None),
            "parameters",
        ),
        (
            native("SELECT ?", vec![json!([1])], None),
            "parameter 1 is neither",
        ),
        (
            native("SELECT ?, ?", vec![json!(1), json!(u64::MAX)], None),
            "parameter 2 is neither",
        ),
        (
            Effect::Dynamodb(json!({"Put": {}})),
            "this store is a SQLite file",
        ),
    ]);
    for (effect, expected) in cases {
        let put = Effect::put("t", "k", 1);
        let why = apply(&mut owner, vec![put, effect])
            .await
            .expect_err(expected);
        assert!(why.contains(expected), "{expected}: {why}");
        assert!(why.contains("orders/a/0/1"), "names the record: {why}");
    }
    assert_eq!(rows(&home, "SELECT sum(balance) FROM accounts").await, 10);
    assert_eq!(store.value("t", "k").await, Ok(None));
    assert_eq!(owner.frontier().await, None);
    assert_eq!(
        apply(&mut owner, vec![Effect::add("t", "k", 1)]).await,
        Ok(())
    );
}

/// Statements that would act on what is the store's, and what the refusal says.
const FORBIDDEN: [(&str, &str); 26] = [
    (
        "DELETE FROM store_checkpoints",
        "table `store_checkpoints` is lanekeeper's",
    ),
    ("delete from STORE_CHAIN", "is lanekeeper's"),
    ("UPDATE store_lanes SET rev = 1", "is lanekeeper's"),
    (
        "INSERT INTO store_values VALUES (1, 2, 3, 4, 5)",
        "is lanekeeper's",
    ),
    ("DROP TABLE store_history", "is lanekeeper's"),
    ("CREATE TABLE store_mine(n)", "is lanekeeper's"),
    ("CREATE TABLE log_mine(n)", "is lanekeeper's"),
    ("CREATE VIEW log_view AS SELECT 1", "is lanekeeper's"),
    ("CREATE INDEX i ON store_chain(record)", "is lanekeeper's"),
    (
        "CREATE TRIGGER t AFTER INSERT ON store_chain BEGIN SELECT 1; END",
        "is lanekeeper's",
    ),
    (
        "UPDATE accounts SET balance = 1",
        "table `store_lanes` is lanekeeper's",
    ),
    (
        "ALTER TABLE accounts RENAME TO store_mine",
        "change tables before",
    ),
    ("CREATE TEMP TABLE store_checkpoints(n)", "temporary"),
    ("CREATE TEMP TABLE t(n)", "temporary"),
    ("COMMIT", "transactions are the store's"),
    ("ROLLBACK", "transactions are the store's"),
    ("BEGIN", "transactions are the store's"),
    ("SAVEPOINT s", "transactions are the store's"),
    ("RELEASE s", "transactions are the store's"),
    ("PRAGMA synchronous = OFF", "`PRAGMA synchronous`"),
    ("PRAGMA user_version = 9", "`PRAGMA user_version`"),
    ("ATTACH 'x.db' AS x", "attaches"),
    ("DETACH main", "attaches"),
    ("VACUUM", "effect `sqlite`"),
    ("SELECT load_extension('x')", "load_extension"),
    ("DELETE FROM sqlite_schema", "may not be modified"),
];

#[tokio::test]
async fn what_is_lanekeepers_is_out_of_reach() {
    let home = Home::new();
    let store = home.open();
    run(store.database(), TABLES);
    run(
        store.database(),
        "CREATE TRIGGER sneaky AFTER UPDATE ON accounts BEGIN DELETE FROM store_lanes; END",
    );
    let mut owner = owner(&store).await;
    park(&mut owner, "k", 3..=4).await;
    for (sql, expected) in FORBIDDEN {
        let why = apply(&mut owner, vec![native(sql, vec![], None)])
            .await
            .expect_err(sql);
        assert!(why.contains(expected), "`{sql}`: {why}");
    }
    assert_eq!(owner.chain(&lane("k")).await, [3, 4]);
    assert_eq!(owner.frontier().await, Some(4));
    assert_eq!(
        rows(&home, "SELECT balance FROM accounts WHERE name = 'ann'").await,
        10
    );
    // The store's own text is no way around the guard either, though it stands prepared.
    let own = "DELETE FROM store_values WHERE app = ?1 AND name = ?2 AND key = ?3";
    apply(
        &mut owner,
        vec![Effect::put("t", "k", 1), Effect::delete("t", "k")],
    )
    .await
    .expect("in");
    let params = vec![json!("billing"), json!("t"), json!("k")];
    let why = apply(&mut owner, vec![native(own, params, None)])
        .await
        .expect_err("guarded");
    assert!(why.contains("is lanekeeper's"), "{why}");
}

#[tokio::test]
async fn a_statement_that_ends_the_transaction_spoils_only_its_own_commit() {
    let home = Home::new();
    let store = home.open();
    run(store.database(), TABLES);
    run(
        store.database(),
        "CREATE TRIGGER abort BEFORE DELETE ON accounts BEGIN SELECT RAISE(ROLLBACK, 'never'); END",
    );
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let mut owners = Vec::new();
    for n in 0..5 {
        owners.push(Owner::of(&shared, &partition(&format!("a/{n}"))).await);
    }
    let mut commits: Vec<_> = owners.iter_mut().map(|owner| owner.next(7)).collect();
    for (n, commit) in commits.iter_mut().enumerate() {
        commit.effects = vec![effects_of(
            "k",
            7,
            vec![
                Effect::add("t", "sum", 1),
                Effect::put("t", &n.to_string(), 1),
            ],
        )];
    }
    let conflict = "INSERT OR ROLLBACK INTO accounts VALUES ('ann', 1, 1)";
    commits[1].effects[0]
        .effects
        .push(native(conflict, vec![], None));
    commits[3].effects[0]
        .effects
        .push(native("DELETE FROM accounts", vec![], None));
    let outcomes = shared.commit(&commits).await;
    for (n, expected) in [(1, "UNIQUE constraint"), (3, "never")] {
        assert!(
            matches!(&outcomes[n], Err(CommitError::EffectsRefused(why)) if why[0].0 == 0 && why[0].1.contains(expected)),
            "{outcomes:?}"
        );
    }
    for n in [0, 2, 4] {
        assert_eq!(outcomes[n], Ok(DONE));
        assert_eq!(owners[n].frontier().await, Some(7));
    }
    assert_eq!(store.value("t", "sum").await, Ok(Some(json!(3))));
    assert_eq!(store.value("t", "1").await, Ok(None));
    assert_eq!(owners[1].frontier().await, None);
    assert_eq!(rows(&home, "SELECT count(*) FROM accounts").await, 2);
}
