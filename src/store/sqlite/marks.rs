//! Marks and done records: their rows, and what a commit with a mark does.

use super::{
    columns::{damaged, integer, position, unsigned},
    lanes, now_millis,
    ownership::{in_row, unread},
};
use crate::{
    checkpoint::OpenSet,
    position::Position,
    record::{LaneKey, PartitionName},
    sqlite::{Fault, RowChecksum, check_row},
    store::{
        Commit, CommitError, ContentId, DecideError, LaneItem, Lease, Mark,
        rules::{self, Admission},
    },
};
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "last, invocation, first, commit_number, content, generation, begun, deadline, \
    done, tried, announced, ended, expires, crc, lanes";

struct Columns {
    last: String,
    invocation: String,
    first: String,
    number: i64,
    content: Vec<u8>,
    generation: i64,
    begun: i64,
    deadline: i64,
    done: Vec<u8>,
    tried: String,
    announced: String,
    ended: i64,
    expires: i64,
    lanes: Vec<u8>,
}

impl Columns {
    fn of(mark: &Mark, number: u64, content: ContentId) -> Self {
        Self {
            last: mark.last.padded(),
            invocation: mark.invocation.clone(),
            first: mark.first.padded(),
            number: integer(number),
            content: content.to_vec(),
            generation: integer(mark.generation),
            begun: mark.begun,
            deadline: mark.deadline,
            done: mark.done.encode().to_vec(),
            tried: mark.tried_text(),
            announced: mark.announced_text(),
            ended: mark.ended.into(),
            expires: mark.expires,
            lanes: mark.lanes_bytes(),
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<(u32, Self)> {
        Ok((
            row.get(13)?,
            Self {
                last: row.get(0)?,
                invocation: row.get(1)?,
                first: row.get(2)?,
                number: row.get(3)?,
                content: row.get(4)?,
                generation: row.get(5)?,
                begun: row.get(6)?,
                deadline: row.get(7)?,
                done: row.get(8)?,
                tried: row.get(9)?,
                announced: row.get(10)?,
                ended: row.get(11)?,
                expires: row.get(12)?,
                lanes: row.get(14)?,
            },
        ))
    }

    fn sum(&self, app: &str, partition: &PartitionName) -> RowChecksum {
        RowChecksum::new()
            .text(app)
            .text(&partition.source)
            .text(&partition.partition)
            .text(&self.last)
            .text(&self.invocation)
            .text(&self.first)
            .integer(self.number)
            .blob(&self.content)
            .integer(self.generation)
            .integer(self.begun)
            .integer(self.deadline)
            .blob(&self.done)
            .text(&self.tried)
            .text(&self.announced)
            .integer(self.ended)
            .integer(self.expires)
            .blob(&self.lanes)
    }

    fn check(self, crc: u32, app: &str, of: &PartitionName) -> Result<Self, Fault> {
        let key = format!("{app}/{of}/{}/{}", self.last, self.invocation);
        check_row("store_marks", &key, crc, self.sum(app, of))?;
        Ok(self)
    }

    fn decode(self) -> Result<Mark, Fault> {
        let key = format!("{}/{}", self.last, self.invocation);
        let wrong = |column: &str, why: String| in_row("store_marks", &key, damaged(column, why));
        Ok(Mark {
            first: position("first", &self.first)?,
            last: position("last", &self.last)?,
            generation: unsigned("generation", self.generation)?,
            begun: self.begun,
            deadline: self.deadline,
            done: OpenSet::decode(&self.done).map_err(|error| wrong("done", error.to_string()))?,
            tried: Mark::tried_from(&self.tried).map_err(|why| wrong("tried", why))?,
            announced: Mark::announced_from(&self.announced)
                .map_err(|why| wrong("announced", why))?,
            ended: self.ended != 0,
            expires: self.expires,
            lanes: Mark::lanes_from(&self.lanes).map_err(|why| wrong("lanes", why))?,
            invocation: self.invocation,
        })
    }
}

/// The marks of batches that may overlap one from `first` to `last`.
pub(super) fn read_all(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    first: &Position,
    last: &Position,
) -> Result<Vec<Mark>, Fault> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM store_marks WHERE app = ?1 AND source = ?2 AND partition = ?3 \
         AND last >= ?4 AND first <= ?5 ORDER BY last, invocation"
    ))?;
    let mut rows = statement.query(params![
        app,
        &*partition.source,
        &*partition.partition,
        first.padded(),
        last.padded()
    ])?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        let (crc, columns) = Columns::read(row).map_err(unread("store_marks", partition))?;
        marks.push(columns.check(crc, app, partition)?.decode()?);
    }
    Ok(marks)
}

/// Number and content of the commit that wrote a mark.
pub(super) fn written(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    mark: &Mark,
) -> Result<Option<(u64, ContentId)>, Fault> {
    let found = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM store_marks WHERE app = ?1 AND source = ?2 AND partition = ?3 \
             AND last = ?4 AND invocation = ?5"
        ))?
        .query_row(
            params![
                app,
                &*partition.source,
                &*partition.partition,
                mark.last.padded(),
                mark.invocation
            ],
            Columns::read,
        )
        .optional()
        .map_err(unread("store_marks", partition))?;
    let Some((crc, columns)) = found else {
        return Ok(None);
    };
    let columns = columns.check(crc, app, partition)?;
    let content = columns.content.try_into();
    let content = content.map_err(|_| damaged("content", "it is not of 16 bytes"))?;
    Ok(Some((unsigned("commit_number", columns.number)?, content)))
}

/// Whether a commit with a mark is to be written.
pub(super) fn admit(
    connection: &Connection,
    app: &str,
    commit: &Commit,
    mark: &Mark,
) -> Result<Result<Admission, CommitError>, Fault> {
    let found = written(connection, app, &commit.partition, mark)?;
    let admission = match rules::admit_mark(commit, found) {
        Ok(Admission::Write) => Admission::Write,
        other => return Ok(other),
    };
    let mut already = Vec::new();
    for (index, record) in commit.effects.iter().enumerate() {
        let partition = commit.partition_of(record);
        let position = std::slice::from_ref(&record.position);
        let done = read_done(connection, app, partition, mark.generation, position)?;
        if !done.is_empty() {
            already.push(index);
        }
    }
    Ok(if already.is_empty() {
        Ok(admission)
    } else {
        Err(CommitError::AlreadyDone(already))
    })
}

/// Writes the mark of a commit and the names of its records with effects; what has expired of the
/// partition goes.
pub(super) fn put(
    connection: &Connection,
    app: &str,
    commit: &Commit,
    mark: &Mark,
) -> Result<(), Fault> {
    let partition = &commit.partition;
    let (source, name) = (&*partition.source, &*partition.partition);
    for table in ["store_marks", "store_done"] {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE app = ?1 AND source = ?2 AND partition = ?3 \
                 AND expires <= ?4"
            ))?
            .execute(params![app, source, name, now_millis()])?;
    }
    let columns = Columns::of(mark, commit.number, commit.content);
    let crc = columns.sum(app, partition).finish();
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO store_marks(app, source, partition, {COLUMNS}) VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
        ))?
        .execute(params![
            app,
            source,
            name,
            columns.last,
            columns.invocation,
            columns.first,
            columns.number,
            columns.content,
            columns.generation,
            columns.begun,
            columns.deadline,
            columns.done,
            columns.tried,
            columns.announced,
            columns.ended,
            columns.expires,
            crc,
            columns.lanes
        ])?;
    for record in &commit.effects {
        let partition = commit.partition_of(record);
        let position = record.position.padded();
        let crc = done_sum(app, partition, mark.generation, &position, mark.expires).finish();
        connection
            .prepare_cached(
                "INSERT INTO store_done(app, source, partition, generation, position, expires, crc) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                app,
                &*partition.source,
                &*partition.partition,
                integer(mark.generation),
                position,
                mark.expires,
                crc
            ])?;
    }
    Ok(())
}

fn done_sum(
    app: &str,
    partition: &PartitionName,
    generation: u64,
    position: &str,
    expires: i64,
) -> RowChecksum {
    RowChecksum::new()
        .text(app)
        .text(&partition.source)
        .text(&partition.partition)
        .integer(integer(generation))
        .text(position)
        .integer(expires)
}

pub(super) fn remove(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    mark: &Mark,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "DELETE FROM store_marks WHERE app = ?1 AND source = ?2 AND partition = ?3 \
             AND last = ?4 AND invocation = ?5",
        )?
        .execute(params![
            app,
            &*partition.source,
            &*partition.partition,
            mark.last.padded(),
            mark.invocation
        ])?;
    Ok(())
}

/// Those of the records whose effects are durable.
pub(super) fn read_done(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    generation: u64,
    positions: &[Position],
) -> Result<Vec<Position>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT expires, crc FROM store_done WHERE app = ?1 AND source = ?2 AND partition = ?3 \
         AND generation = ?4 AND position = ?5",
    )?;
    let mut done = Vec::new();
    for position in positions {
        let text = position.padded();
        let (source, name) = (&*partition.source, &*partition.partition);
        let found: Option<(i64, u32)> = statement
            .query_row(
                params![app, source, name, integer(generation), text],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(unread("store_done", partition))?;
        if let Some((expires, crc)) = found {
            let key = format!("{app}/{partition}/{text}");
            let sum = done_sum(app, partition, generation, &text, expires);
            check_row("store_done", &key, crc, sum)?;
            done.push(position.clone());
        }
    }
    Ok(done)
}

pub(super) fn lease(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    (lane, rev): (&LaneKey, u64),
    lease: &Lease,
    now: i64,
) -> Result<Result<LaneItem, DecideError>, Fault> {
    let transaction = connection.transaction()?;
    let Some(item) = lanes::read(&transaction, app, partition, lane)? else {
        return Ok(Err(lanes::no_such_lane(partition, lane)));
    };
    let item = match rules::leased(partition, item, rev, lease, now) {
        Ok(item) => item,
        Err(error) => return Ok(Err(error)),
    };
    lanes::put(&transaction, app, partition, &item)?;
    transaction.commit()?;
    Ok(Ok(item))
}
