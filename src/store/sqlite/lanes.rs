//! Lane items and chains: their rows, an operator's word, and what a commit does to them.

use super::{
    columns::{damaged, integer, position, position_or_null, unsigned, unsigned_32},
    history,
    ownership::{self, in_row, unread},
};
use crate::{
    position::Position,
    record::{LaneKey, PartitionName},
    sqlite::{Fault, RowChecksum, check_row},
    store::{
        DecideError, DecisionNote, Fence, HistoryEvent, HistoryItem, LaneChange, LaneItem,
        LaneState, lane::state_name, rules,
    },
};
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "lane, state, head, record, tail, cut, count, bytes, attempts, first_error, \
    last_error, since, rev, decision, name, crc, tails";

struct Columns {
    lane: Vec<u8>,
    name: String,
    state: String,
    head: String,
    record: Option<Vec<u8>>,
    tail: Option<String>,
    tails: Option<String>,
    cut: Option<String>,
    count: i64,
    bytes: i64,
    attempts: i64,
    first_error: String,
    last_error: String,
    since: i64,
    rev: i64,
    decision: Option<String>,
}

impl Columns {
    fn of(item: &LaneItem) -> Result<Self, Fault> {
        let decision = item.decision.as_ref().map(serde_json::to_string);
        Ok(Self {
            lane: item.lane.bytes().to_vec(),
            name: item.lane.to_string(),
            state: state_name(item.state).to_owned(),
            head: item.head.padded(),
            record: item.record.clone(),
            tail: item.tail.as_ref().map(Position::padded),
            tails: item.tails_text(),
            cut: item.cut.as_ref().map(Position::padded),
            count: integer(item.count),
            bytes: integer(item.bytes),
            attempts: item.attempts.into(),
            first_error: item.first_error.clone(),
            last_error: item.last_error.clone(),
            since: item.since,
            rev: integer(item.rev),
            decision: decision
                .transpose()
                .map_err(|error| Fault::Sql(error.to_string()))?,
        })
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<(u32, Self)> {
        Ok((
            row.get(15)?,
            Self {
                lane: row.get(0)?,
                state: row.get(1)?,
                head: row.get(2)?,
                record: row.get(3)?,
                tail: row.get(4)?,
                cut: row.get(5)?,
                count: row.get(6)?,
                bytes: row.get(7)?,
                attempts: row.get(8)?,
                first_error: row.get(9)?,
                last_error: row.get(10)?,
                since: row.get(11)?,
                rev: row.get(12)?,
                decision: row.get(13)?,
                name: row.get(14)?,
                tails: row.get(16)?,
            },
        ))
    }

    fn sum(&self, app: &str, partition: &PartitionName) -> RowChecksum {
        let sum = RowChecksum::new()
            .text(app)
            .text(&partition.source)
            .text(&partition.partition)
            .blob(&self.lane)
            .text(&self.name)
            .text(&self.state)
            .text(&self.head)
            .blob_or_null(self.record.as_deref())
            .text_or_null(self.tail.as_deref())
            .text_or_null(self.cut.as_deref())
            .integer(self.count)
            .integer(self.bytes)
            .integer(self.attempts)
            .text(&self.first_error)
            .text(&self.last_error)
            .integer(self.since)
            .integer(self.rev)
            .text_or_null(self.decision.as_deref());
        // Rows from before there was such a column are sound.
        match &self.tails {
            Some(tails) => sum.text(tails),
            None => sum,
        }
    }

    fn check(self, crc: u32, app: &str, partition: &PartitionName) -> Result<LaneItem, Fault> {
        let key = format!("{app}/{partition}/{}", self.lane.escape_ascii());
        check_row("store_lanes", &key, crc, self.sum(app, partition))?;
        self.decode()
            .map_err(|fault| in_row("store_lanes", &key, fault))
    }

    fn decode(self) -> Result<LaneItem, Fault> {
        Ok(LaneItem {
            lane: LaneKey::from_bytes(&self.lane)
                .ok_or_else(|| damaged("lane", "its tag is not known"))?,
            state: match self.state.as_str() {
                "stopped" => LaneState::Stopped,
                "parked" => LaneState::Parked,
                "draining" => LaneState::Draining,
                "live" => LaneState::Live,
                other => return Err(damaged("state", format!("it is `{other}`"))),
            },
            head: position("head", &self.head)?,
            record: self.record,
            tail: position_or_null("tail", self.tail.as_deref())?,
            tails: LaneItem::tails_from(self.tails.as_deref())
                .map_err(|error| damaged("tails", error))?,
            cut: position_or_null("cut", self.cut.as_deref())?,
            count: unsigned("count", self.count)?,
            bytes: unsigned("bytes", self.bytes)?,
            attempts: unsigned_32("attempts", self.attempts)?,
            first_error: self.first_error,
            last_error: self.last_error,
            since: self.since,
            rev: unsigned("rev", self.rev)?,
            decision: self
                .decision
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| damaged("decision", error))?,
        })
    }
}

/// The lanes of a partition that are not live, by lane key.
pub(super) fn read_all(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
) -> Result<Vec<LaneItem>, Fault> {
    let mut items = read_items(connection, app, partition)?;
    items.retain(|item| item.state != LaneState::Live);
    Ok(items)
}

/// All lane items of a partition, by lane key.
pub(super) fn read_items(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
) -> Result<Vec<LaneItem>, Fault> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM store_lanes \
         WHERE app = ?1 AND source = ?2 AND partition = ?3 ORDER BY lane"
    ))?;
    let rows = statement.query_map(
        params![app, &*partition.source, &*partition.partition],
        Columns::read,
    )?;
    let mut items = Vec::new();
    for row in rows {
        let (crc, columns) = row.map_err(unread("store_lanes", partition))?;
        items.push(columns.check(crc, app, partition)?);
    }
    Ok(items)
}

pub(super) fn read(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    lane: &LaneKey,
) -> Result<Option<LaneItem>, Fault> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM store_lanes \
             WHERE app = ?1 AND source = ?2 AND partition = ?3 AND lane = ?4"
        ))?
        .query_row(
            params![app, &*partition.source, &*partition.partition, lane.bytes()],
            Columns::read,
        )
        .optional()
        .map_err(unread("store_lanes", partition))?
        .map(|(crc, columns)| columns.check(crc, app, partition))
        .transpose()
}

pub(super) fn put(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    item: &LaneItem,
) -> Result<(), Fault> {
    let columns = Columns::of(item)?;
    let crc = columns.sum(app, partition).finish();
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO store_lanes(app, source, partition, {COLUMNS}) VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
        ))?
        .execute(params![
            app,
            &*partition.source,
            &*partition.partition,
            columns.lane,
            columns.state,
            columns.head,
            columns.record,
            columns.tail,
            columns.cut,
            columns.count,
            columns.bytes,
            columns.attempts,
            columns.first_error,
            columns.last_error,
            columns.since,
            columns.rev,
            columns.decision,
            columns.name,
            crc,
            columns.tails,
        ])?;
    Ok(())
}

/// The changes whose lanes are not as their owner knows them.
pub(super) fn moved(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    changes: &[LaneChange],
) -> Result<Vec<usize>, Fault> {
    let mut moved = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let found = read(connection, app, partition, &change.lane)?;
        if rules::moved(change, found.as_ref()) {
            moved.push(index);
        }
    }
    Ok(moved)
}

/// Writes a change that [`moved`] found nothing against.
pub(super) fn write(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    change: &LaneChange,
) -> Result<(), Fault> {
    let (source, name, lane) = (
        &*partition.source,
        &*partition.partition,
        change.lane.bytes(),
    );
    let Some(item) = &change.item else {
        for table in ["store_lanes", "store_chain"] {
            connection
                .prepare_cached(&format!(
                    "DELETE FROM {table} \
                     WHERE app = ?1 AND source = ?2 AND partition = ?3 AND lane = ?4"
                ))?
                .execute(params![app, source, name, lane])?;
        }
        return Ok(());
    };
    put(connection, app, partition, item)?;
    for record in &change.append {
        let (position, stored) = (record.position().padded(), record.to_stored());
        let crc = chain_sum(app, partition, lane, &position, &stored).finish();
        connection
            .prepare_cached(
                "INSERT INTO store_chain(app, source, partition, lane, position, record, crc) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![app, source, name, lane, position, stored, crc])?;
    }
    if let Some(passed) = &change.passed {
        connection
            .prepare_cached(
                "DELETE FROM store_chain WHERE app = ?1 AND source = ?2 AND partition = ?3 \
                 AND lane = ?4 AND position <= ?5",
            )?
            .execute(params![app, source, name, lane, passed.padded()])?;
    }
    Ok(())
}

fn chain_sum(
    app: &str,
    partition: &PartitionName,
    lane: &[u8],
    position: &str,
    record: &[u8],
) -> RowChecksum {
    RowChecksum::new()
        .text(app)
        .text(&partition.source)
        .text(&partition.partition)
        .blob(lane)
        .text(position)
        .blob(record)
}

/// Stored records of a chain behind `after`: at most `records_max`, and no more once they exceed
/// `bytes_max`, but always the first.
pub(super) fn chain(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    lane: &LaneKey,
    after: Option<&Position>,
    records_max: usize,
    bytes_max: u64,
) -> Result<Vec<(Position, Vec<u8>)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT position, record, crc FROM store_chain \
         WHERE app = ?1 AND source = ?2 AND partition = ?3 AND lane = ?4 AND position > ?5 \
         ORDER BY position LIMIT ?6",
    )?;
    // All positions are behind the empty text.
    let after = after.map_or_else(String::new, Position::padded);
    let mut rows = statement.query(params![
        app,
        &*partition.source,
        &*partition.partition,
        lane.bytes(),
        after,
        integer(records_max as u64)
    ])?;
    let (mut records, mut bytes) = (Vec::new(), 0u64);
    while let Some(row) = rows.next()? {
        let unread = unread("store_chain", partition);
        let text: String = row.get(0).map_err(&unread)?;
        let record: Vec<u8> = row.get(1).map_err(&unread)?;
        bytes += record.len() as u64;
        if bytes > bytes_max && !records.is_empty() {
            break;
        }
        let key = format!("{app}/{partition}/{}/{text}", lane.bytes().escape_ascii());
        let columns = chain_sum(app, partition, lane.bytes(), &text, &record);
        check_row("store_chain", &key, row.get(2)?, columns)?;
        let position =
            position("position", &text).map_err(|fault| in_row("store_chain", &key, fault))?;
        records.push((position, record));
    }
    Ok(records)
}

pub(super) fn decide(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    lane: &LaneKey,
    rev: u64,
    decision: &DecisionNote,
) -> Result<Result<u64, DecideError>, Fault> {
    let transaction = connection.transaction()?;
    let Some(item) = read(&transaction, app, partition, lane)? else {
        return Ok(Err(no_such_lane(partition, lane)));
    };
    let item = match rules::decided(partition, item, rev, decision) {
        Ok(item) => item,
        Err(error) => return Ok(Err(error)),
    };
    put(&transaction, app, partition, &item)?;
    let act = HistoryItem {
        at: decision.at,
        what: HistoryEvent::Decided {
            lane: lane.clone(),
            head: item.head,
            decision: decision.clone(),
        },
    };
    history::append(&transaction, app, partition, &act)?;
    transaction.commit()?;
    Ok(Ok(item.rev))
}

pub(super) fn take(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    fence: Fence,
    lane: &LaneKey,
    rev: u64,
) -> Result<Result<LaneItem, DecideError>, Fault> {
    let transaction = connection.transaction()?;
    let owner = ownership::read(&transaction, app, partition)?;
    if !owner
        .as_ref()
        .is_some_and(|found| found.worker == Some(fence.worker) && found.epoch == fence.epoch)
    {
        return Ok(Err(ownership::fenced(partition, owner.as_ref()).into()));
    }
    let Some(item) = read(&transaction, app, partition, lane)? else {
        return Ok(Err(no_such_lane(partition, lane)));
    };
    let item = match rules::taken(partition, item, rev) {
        Ok(item) => item,
        Err(error) => return Ok(Err(error)),
    };
    put(&transaction, app, partition, &item)?;
    transaction.commit()?;
    Ok(Ok(item))
}

pub(super) fn no_such_lane(partition: &PartitionName, lane: &LaneKey) -> DecideError {
    DecideError::NoSuchLane {
        lane: lane.clone(),
        partition: partition.clone(),
    }
}
