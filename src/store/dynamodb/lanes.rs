//! Lane items: read, written by their owner, decided on by an operator.

use super::{
    DynamodbStore, Query,
    attributes::{Reader, Wrong, bytes, json, number, text},
    call::{Code, Trouble},
    expression::Expression,
    history,
    ownership::fenced,
    schema::{self, EXPIRES_AT, Item, LANE, Writer},
};
use crate::{
    position::Position,
    record::{LaneKey, PartitionName},
    store::{
        DecideError, DecisionNote, Fence, HistoryEvent, HistoryItem, LaneChange, LaneItem,
        LaneState, Lease, Mark, StoreError, lane::state_name, rules,
    },
};

/// Attribute of an item whose lane is live again, while segments of its chain may be left: the commit
/// that ended it. To everybody but who sweeps, there is no such item.
const ENDED: &str = "ended";

/// Which commit ended the lane that an item is of, if one did.
pub(super) fn ended(item: &Item) -> Result<Option<Writer>, Wrong> {
    Ok(Reader(item)
        .optional_text(ENDED)?
        .map(|writer| Writer(writer.to_owned())))
}

/// What an item says, or what is wrong with it.
pub(super) fn decode(item: &Item) -> Result<LaneItem, Wrong> {
    let of = Reader(item);
    let lane = LaneKey::from_bytes(of.bytes("lane")?)
        .ok_or_else(|| Wrong("attribute `lane`: its tag is not known".to_owned()))?;
    Ok(LaneItem {
        lane,
        state: state(of.text("state")?)?,
        head: of.position("head")?,
        record: of.optional_bytes("record")?.map(<[u8]>::to_vec),
        tail: of.optional_position("tail")?,
        tails: LaneItem::tails_from(of.optional_text("tails")?)
            .map_err(|error| Reader::wrong("tails", error))?,
        cut: of.optional_position("cut")?,
        count: of.number("count")?,
        bytes: of.number("bytes")?,
        attempts: of.number("attempts")?,
        first_error: of.text("first_error")?.to_owned(),
        last_error: of.text("last_error")?.to_owned(),
        since: of.number("since")?,
        rev: of.number("rev")?,
        decision: of.optional_json("decision")?,
    })
}

fn state(text: &str) -> Result<LaneState, Wrong> {
    [
        LaneState::Stopped,
        LaneState::Parked,
        LaneState::Draining,
        LaneState::Live,
    ]
    .into_iter()
    .find(|state| state_name(*state) == text)
    .ok_or_else(|| Wrong(format!("attribute `state`: it is `{text}`")))
}

/// Which commit made the chain of an item.
pub(super) fn chain_of(item: &Item) -> Result<Option<Writer>, Wrong> {
    Ok(Reader(item)
        .optional_text("chain")?
        .map(|writer| Writer(writer.to_owned())))
}

fn set_all(expression: &mut Expression, item: &LaneItem) {
    let position = |position: &Option<Position>| position.as_ref().map(|p| text(p.padded()));
    expression.set("lane", bytes(item.lane.bytes()));
    // So that a person at the console sees whose it is.
    expression.set("name", text(item.lane.to_string()));
    expression.set("state", text(state_name(item.state)));
    expression.set("head", text(item.head.padded()));
    expression.set_or_remove("record", item.record.as_ref().map(|r| bytes(r.clone())));
    expression.set_or_remove("tail", position(&item.tail));
    expression.set_or_remove("tails", item.tails_text().map(text));
    expression.set_or_remove("cut", position(&item.cut));
    expression.set("count", number(item.count));
    expression.set("bytes", number(item.bytes));
    expression.set("attempts", number(item.attempts));
    expression.set("first_error", text(&item.first_error));
    expression.set("last_error", text(&item.last_error));
    expression.set("since", number(item.since));
    expression.set("rev", number(item.rev));
    expression.set_or_remove("decision", item.decision.as_ref().map(json));
}

/// When an item may go: of a lane that is live again, with the mark of the commit that says so.
fn set_expiry(expression: &mut Expression, item: &LaneItem, mark: Option<&Mark>) {
    let expires = mark.filter(|_| item.state == LaneState::Live);
    let expires = expires.map(|mark| number(mark.expires / 1000));
    expression.set_or_remove(EXPIRES_AT, expires);
}

/// The write of a lane item, on the condition that it is as its owner knows it; `writer` is the commit.
pub(super) fn write(change: &LaneChange, writer: &Writer, mark: Option<&Mark>) -> Expression {
    let mut expression = Expression::default();
    let had_chain = matches!(change.expected, Some((_, Some(_))));
    match &change.item {
        Some(item) => {
            set_all(&mut expression, item);
            set_expiry(&mut expression, item, mark);
            if item.tail.is_none() {
                expression.set_or_remove("chain", None);
            } else if !had_chain {
                // Behind a mapping, whoever appends to it may have begun before whoever made it.
                let first = Writer::new(0, 0);
                let made = if mark.is_some() { &first } else { writer };
                expression.set("chain", text(&made.0));
            }
        }
        // Until its segments are gone, the item says that there may be some.
        None if had_chain => {
            expression.set("state", text(ENDED));
            expression.set(ENDED, text(&writer.0));
        }
        None => {}
    }
    match &change.expected {
        Some((rev, tail)) => {
            let rev = expression.compare("rev", "=", number(rev));
            let tail = expression.equals("tail", tail.as_ref().map(|p| text(p.padded())));
            let stands = expression.is_absent(ENDED);
            expression.and(&rev);
            expression.and(&tail);
            expression.and(&stands);
        }
        None => {
            let absent = expression.is_absent(schema::PK);
            let ended = expression.exists(ENDED);
            expression.and(&format!("{absent} OR {ended}"));
            // What an ended life of the lane left in the item.
            if change.item.is_some() {
                expression.set_or_remove(ENDED, None);
            }
        }
    }
    if let (true, Some(first), Some(last)) =
        (had_chain, change.append.first(), change.append.last())
    {
        let behind = expression.compare("tail", "<", text(first.position().padded()));
        let before = expression.compare("head", ">", text(last.position().padded()));
        expression.and(&format!("{behind} OR {before}"));
    }
    expression
}

/// Whether the item goes with this change, at once.
pub(super) fn is_deleted(change: &LaneChange) -> bool {
    change.item.is_none() && !matches!(change.expected, Some((_, Some(_))))
}

/// Whether the records of a change can join a chain at all, whatever is in the store.
pub(super) fn ascends(change: &LaneChange) -> bool {
    let mut pairs = change.append.iter().zip(change.append.iter().skip(1));
    pairs.all(|(one, next)| one.position() < next.position())
}

/// What the owner's view of a lane is compared with, to see whether damage is why it differs.
pub(super) fn check(item: Option<&Item>) -> Result<(), Wrong> {
    match item {
        Some(item) if !item.contains_key(ENDED) => decode(item).map(|_| ()),
        Some(_) | None => Ok(()),
    }
}

impl DynamodbStore {
    pub(super) fn lane_key(&self, partition: &PartitionName, lane: &LaneKey) -> Item {
        schema::key(
            schema::partition(&self.app, partition),
            schema::lane(partition, lane),
        )
    }

    pub(super) fn wrong_lane(
        &self,
        partition: &PartitionName,
        sk: &str,
        wrong: &Wrong,
    ) -> StoreError {
        self.damaged(format_args!("lane item `{sk}` of {partition}"), wrong)
    }

    /// Items of lanes that are not live, by lane key.
    pub(super) async fn read_lanes(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<LaneItem>, StoreError> {
        let mut lanes = self.read_lane_items(partition).await?;
        lanes.retain(|lane| lane.state != LaneState::Live);
        Ok(lanes)
    }

    /// All lane items of a partition, by lane key.
    pub(super) async fn read_lane_items(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<LaneItem>, StoreError> {
        let mut lanes = Vec::new();
        for item in self.lane_items(partition).await? {
            if item.contains_key(ENDED) {
                continue;
            }
            let lane = decode(&item)
                .map_err(|wrong| self.wrong_lane(partition, &schema::sk_of(&item), &wrong))?;
            lanes.push(lane);
        }
        lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
        Ok(lanes)
    }

    pub(super) async fn lane_items(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<Item>, StoreError> {
        let query = Query::begins(schema::partition(&self.app, partition), LANE);
        self.query_all(query).await
    }

    /// The item of a lane.
    async fn standing(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
    ) -> Result<LaneItem, DecideError> {
        let gone = || DecideError::NoSuchLane {
            lane: lane.clone(),
            partition: partition.clone(),
        };
        let item = self.item(&self.lane_key(partition, lane)).await?;
        let item = item
            .filter(|item| !item.contains_key(ENDED))
            .ok_or_else(gone)?;
        let found = decode(&item)
            .map_err(|wrong| self.wrong_lane(partition, &schema::sk_of(&item), &wrong))?;
        Ok(found)
    }

    pub(super) async fn decide_lane(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
        rev: u64,
        decision: &DecisionNote,
    ) -> Result<u64, DecideError> {
        let found = self.standing(partition, lane).await?;
        let head = found.head.clone();
        let item = rules::decided(partition, found, rev, decision)?;
        let mut expression = Expression::default();
        expression.set_or_remove("decision", item.decision.as_ref().map(json));
        expression.set("rev", number(item.rev));
        let as_read = expression.compare("rev", "=", number(rev));
        expression.and(&as_read);
        let stands = expression.is_absent(ENDED);
        expression.and(&stands);
        let act = HistoryItem {
            at: decision.at,
            what: HistoryEvent::Decided {
                lane: lane.clone(),
                head,
                decision: decision.clone(),
            },
        };
        let remembered = history::item(&self.app, partition, &act);
        let writes = || {
            let key = self.lane_key(partition, lane);
            Ok(vec![
                expression.update(&self.table, key)?,
                Expression::default().put(&self.table, remembered.clone())?,
            ])
        };
        self.write_on_lane(partition, lane, &item, writes).await?;
        Ok(item.rev)
    }

    pub(super) async fn take_decision(
        &self,
        partition: &PartitionName,
        fence: Fence,
        lane: &LaneKey,
        rev: u64,
    ) -> Result<LaneItem, DecideError> {
        let found = self.standing(partition, lane).await;
        // Who is fenced hears that, whatever became of the lane.
        let owner = self.read_ownership(partition).await?;
        let named = owner.as_ref().and_then(|owner| owner.worker);
        let epoch = owner.as_ref().map_or(0, |owner| owner.epoch);
        let fenced_out = || StoreError::Fenced {
            partition: partition.clone(),
            worker: named,
            epoch,
        };
        if named != Some(fence.worker) || epoch != fence.epoch {
            return Err(fenced_out().into());
        }
        let item = rules::taken(partition, found?, rev)?;
        let mut expression = Expression::default();
        expression.set_or_remove("decision", item.decision.as_ref().map(json));
        expression.set("rev", number(item.rev));
        let as_read = expression.compare("rev", "=", number(rev));
        expression.and(&as_read);
        let stands = expression.is_absent(ENDED);
        expression.and(&stands);
        let mut owned = Expression::default();
        fenced(&mut owned, fence);
        let writes = || {
            Ok(vec![
                expression.update(&self.table, self.lane_key(partition, lane))?,
                owned.check(&self.table, self.checkpoint_key(partition))?,
            ])
        };
        self.write_on_lane(partition, lane, &item, writes).await?;
        Ok(item)
    }

    pub(super) async fn lease_lane(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
        rev: u64,
        lease: &Lease,
        now: i64,
    ) -> Result<LaneItem, DecideError> {
        let found = self.standing(partition, lane).await?;
        let item = rules::leased(partition, found, rev, lease, now)?;
        let mut expression = Expression::default();
        expression.set_or_remove("decision", item.decision.as_ref().map(json));
        expression.set("rev", number(item.rev));
        let as_read = expression.compare("rev", "=", number(rev));
        expression.and(&as_read);
        let stands = expression.is_absent(ENDED);
        expression.and(&stands);
        let writes = || {
            let key = self.lane_key(partition, lane);
            Ok(vec![expression.update(&self.table, key)?])
        };
        self.write_on_lane(partition, lane, &item, writes).await?;
        Ok(item)
    }

    /// Writes an item as its decision makes it. When the condition fails, a request whose answer was
    /// lost may have done it: the item is then as it was to be.
    async fn write_on_lane(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
        item: &LaneItem,
        writes: impl Fn() -> Result<Vec<aws_sdk_dynamodb::types::TransactWriteItem>, Trouble>,
    ) -> Result<(), DecideError> {
        let result = self
            .retrying(|| {
                let items = writes();
                async { self.transact(items?).await }
            })
            .await;
        let error = match result {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let Trouble::Canceled(reasons) = &error else {
            return Err(self.failed(&error).into());
        };
        if !reasons.iter().any(|reason| reason.code == Code::Condition) {
            return Err(self.failed(&error).into());
        }
        let found = self.standing(partition, lane).await?;
        if found.rev == item.rev && found.decision == item.decision {
            return Ok(());
        }
        let owned = { item.decision.as_ref() }.is_none_or(|decision| decision.lease.is_none());
        if owned && found.rev.saturating_add(1) == item.rev {
            // The lane is as it was: it is the owner that changed.
            let owner = self.read_ownership(partition).await?;
            return Err(StoreError::Fenced {
                partition: partition.clone(),
                worker: owner.as_ref().and_then(|owner| owner.worker),
                epoch: owner.map_or(0, |owner| owner.epoch),
            }
            .into());
        }
        Err(DecideError::State {
            partition: partition.clone(),
            item: Box::new(found),
        })
    }
}
