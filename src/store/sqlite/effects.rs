//! Effects: what handlers want written, each record's wholly or not at all.

use super::{
    guard,
    ownership::{in_row, unread},
};
use crate::{
    effect::{Effect, Sqlite},
    record::LaneKey,
    sqlite::{Fault, RowChecksum, check_row},
    store::{Commit, RecordEffects, rules},
};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Savepoint, params, types::Value as Column,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Why effects are not applied.
pub(super) enum Stop {
    /// Of this record.
    Refused(String),
    /// The file's fault.
    Fault(Fault),
    /// The statement ended the transaction (`ON CONFLICT ROLLBACK`, a statement that ran too long):
    /// all that was in it is undone.
    Ended(String),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// What applying the effects of a commit came to, where it did not fail.
pub(super) enum Applied {
    /// All are in.
    All,
    /// Of each lane, the first record whose effects are refused. Nothing later of its lane was
    /// looked at.
    Refused(Vec<(usize, String)>),
    /// As in [`Stop::Ended`], with the record's index.
    Ended(usize, String),
}

pub(super) fn apply(
    savepoint: &mut Savepoint<'_>,
    app: &str,
    commit: &Commit,
) -> Result<Applied, Fault> {
    let mut refused = Vec::new();
    let mut stopped: BTreeSet<&LaneKey> = BTreeSet::new();
    for (index, record) in commit.effects.iter().enumerate() {
        if stopped.contains(&record.lane) {
            continue;
        }
        let own = savepoint.savepoint()?;
        match apply_record(&own, app, record) {
            Ok(()) => own.commit()?,
            Err(Stop::Refused(why)) => {
                // Dropped, the savepoint is rolled back.
                own.finish()?;
                stopped.insert(&record.lane);
                refused.push((index, named(commit, record, &why)));
            }
            Err(Stop::Ended(why)) => {
                return Ok(Applied::Ended(index, named(commit, record, &why)));
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        }
    }
    Ok(if refused.is_empty() {
        Applied::All
    } else {
        Applied::Refused(refused)
    })
}

fn named(commit: &Commit, record: &RecordEffects, why: &str) -> String {
    format!(
        "record `{}/{}`: {why}",
        commit.partition_of(record),
        record.position
    )
}

fn apply_record(connection: &Connection, app: &str, record: &RecordEffects) -> Result<(), Stop> {
    let mut native = false;
    for effect in &record.effects {
        match effect {
            Effect::Sqlite(statement) => {
                native = true;
                run_native(connection, statement)?;
            }
            Effect::Put(put) => write_value(connection, app, (&put.table, &put.key), effect)?,
            Effect::Add(add) => write_value(connection, app, (&add.table, &add.key), effect)?,
            Effect::Delete(d) => write_value(connection, app, (&d.table, &d.key), effect)?,
            Effect::Dynamodb(_) => {
                return Err(Stop::Refused(
                    "effect `dynamodb`: this store is a SQLite file: use `put`, `add`, `delete` or `sqlite`, or a DynamoDB store".to_owned(),
                ));
            }
        }
    }
    if native && foreign_keys_are_open(connection) {
        // SQLite would look at COMMIT only, and refuse what all partitions write together.
        return Err(Stop::Refused(
            "effect `sqlite`: a deferred foreign key has no parent row".to_owned(),
        ));
    }
    Ok(())
}

fn write_value(
    connection: &Connection,
    app: &str,
    (table, key): (&str, &str),
    effect: &Effect,
) -> Result<(), Stop> {
    let current = read_value(connection, app, table, key)?;
    let next = rules::next_value(effect, current.as_ref()).map_err(Stop::Refused)?;
    match next {
        None => {
            connection
                .prepare_cached(
                    "DELETE FROM store_values WHERE app = ?1 AND name = ?2 AND key = ?3",
                )?
                .execute([app, table, key])?;
        }
        Some(value) => {
            let text = rules::encoded(&value);
            let crc = value_sum(app, table, key, &text).finish();
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO store_values(app, name, key, value, crc) \
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![app, table, key, text, crc])?;
        }
    }
    Ok(())
}

fn value_sum(app: &str, table: &str, key: &str, value: &str) -> RowChecksum {
    RowChecksum::new()
        .text(app)
        .text(table)
        .text(key)
        .text(value)
}

fn check_value(app: &str, table: &str, key: &str, text: &str, crc: u32) -> Result<Value, Fault> {
    let row = format!("{app}/{table}/{key}");
    check_row("store_values", &row, crc, value_sum(app, table, key, text))?;
    serde_json::from_str(text)
        .map_err(|error| in_row("store_values", &row, Fault::Damaged(error.to_string())))
}

pub(super) fn read_value(
    connection: &Connection,
    app: &str,
    table: &str,
    key: &str,
) -> Result<Option<Value>, Fault> {
    let found: Option<(String, u32)> = connection
        .prepare_cached(
            "SELECT value, crc FROM store_values WHERE app = ?1 AND name = ?2 AND key = ?3",
        )?
        .query_row([app, table, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(unread("store_values", table))?;
    found
        .map(|(text, crc)| check_value(app, table, key, &text, crc))
        .transpose()
}

pub(super) fn read_values(
    connection: &Connection,
    app: &str,
    table: &str,
    after: Option<&str>,
    max: usize,
) -> Result<Vec<(String, Value)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value, crc FROM store_values \
         WHERE app = ?1 AND name = ?2 AND (?3 IS NULL OR key > ?3) ORDER BY key LIMIT ?4",
    )?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![app, table, after, max])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let unread = unread("store_values", table);
        let key: String = row.get(0).map_err(&unread)?;
        let text: String = row.get(1).map_err(&unread)?;
        let value = check_value(app, table, &key, &text, row.get(2).map_err(&unread)?)?;
        all.push((key, value));
    }
    Ok(all)
}

fn run_native(connection: &Connection, effect: &Sqlite) -> Result<(), Stop> {
    let refused = |why: String| format!("effect `sqlite` (`{}`): {why}", cut(&effect.sql));
    let mut parameters = Vec::with_capacity(effect.params.len());
    for (index, value) in effect.params.iter().enumerate() {
        parameters.push(column(value).ok_or_else(|| {
            Stop::Refused(refused(format!(
                "parameter {} is neither null, boolean, string nor a number of 64 bits",
                index + 1
            )))
        })?);
    }
    let (result, denied) = guard::guarded(|| execute(connection, &effect.sql, &parameters));
    if let Some(why) = denied {
        return Err(Stop::Refused(refused(format!("not allowed: {why}"))));
    }
    let changed = match result {
        Ok(changed) => changed,
        Err(error) => return Err(failed(connection, error, refused)),
    };
    match effect.rows {
        Some(wanted) if wanted != changed => Err(Stop::Refused(refused(format!(
            "it changed {changed} rows, `rows` asks for {wanted}"
        )))),
        _ => Ok(()),
    }
}

/// A statement's failure is the record's, unless the file is at fault.
fn failed(
    connection: &Connection,
    error: rusqlite::Error,
    refused: impl Fn(String) -> String,
) -> Stop {
    let code = error.sqlite_error_code();
    let text = error.to_string();
    let fault = Fault::from(error);
    if code == Some(ErrorCode::OutOfMemory) {
        return Stop::Fault(Fault::Io(text));
    } else if !matches!(fault, Fault::Sql(_)) {
        return Stop::Fault(fault);
    }
    let why = if code == Some(ErrorCode::OperationInterrupted) {
        refused("it ran for too long".to_owned())
    } else {
        refused(text)
    };
    if connection.is_autocommit() {
        Stop::Ended(why)
    } else {
        Stop::Refused(why)
    }
}

/// Runs one statement to its end; gives the number of rows that it changed itself.
fn execute(connection: &Connection, sql: &str, parameters: &[Column]) -> rusqlite::Result<u64> {
    // Not from the cache: a text that equals one of the store's own would pass unguarded.
    let mut statement = connection.prepare(sql)?;
    let wanted = statement.parameter_count();
    if wanted != parameters.len() {
        return Err(rusqlite::Error::InvalidParameterCount(
            parameters.len(),
            wanted,
        ));
    }
    for (index, value) in parameters.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    let before = connection.total_changes();
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    drop(rows);
    // `changes` keeps the number of an earlier statement when this one changes nothing.
    Ok(if connection.total_changes() == before {
        0
    } else {
        connection.changes()
    })
}

fn column(value: &Value) -> Option<Column> {
    match value {
        Value::Null => Some(Column::Null),
        Value::Bool(b) => Some(Column::Integer((*b).into())),
        Value::String(text) => Some(Column::Text(text.clone())),
        Value::Number(n) => match n.as_i64() {
            Some(n) => Some(Column::Integer(n)),
            None if n.is_f64() => n.as_f64().map(Column::Real),
            None => None,
        },
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn cut(sql: &str) -> &str {
    sql.char_indices()
        .nth(80)
        .and_then(|(end, _)| sql.get(..end))
        .unwrap_or(sql)
}

/// Whether some row still lacks its parent, which only a deferred foreign key allows for a while.
fn foreign_keys_are_open(connection: &Connection) -> bool {
    let (mut open, mut highest) = (0, 0);
    // SAFETY: the handle is this connection's, which lives and is used by this thread only; both
    // numbers outlive the call.
    #[expect(unsafe_code, reason = "rusqlite does not offer sqlite3_db_status")]
    let code = unsafe {
        rusqlite::ffi::sqlite3_db_status(
            connection.handle(),
            rusqlite::ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut open,
            &raw mut highest,
            0,
        )
    };
    code == rusqlite::ffi::SQLITE_OK && open != 0
}
