//! Marks and done records: their items, and the verbs on them.

use super::{
    DynamodbStore, Query,
    attributes::{Reader, Wrong, bytes, number, text},
    commit::{Part, unbuilt},
    expression::Expression,
    schema::{self, EXPIRES_AT, Item},
};
use crate::{
    checkpoint::OpenSet,
    position::Position,
    record::{LaneKey, PartitionName},
    store::{
        Commit, CommitError, ContentId, DecideError, LaneItem, Lease, Mark, MarkStore, StoreError,
    },
};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use futures_util::future::{BoxFuture, try_join, try_join_all};

/// The write of a mark: by its number alone, since nobody else writes it.
pub(super) fn write(commit: &Commit, mark: &Mark) -> Expression {
    let mut expression = Expression::default();
    expression.set("commit", number(commit.number));
    expression.set("content", bytes(commit.content));
    expression.set("invocation", text(&mark.invocation));
    expression.set("first", text(mark.first.padded()));
    expression.set("last", text(mark.last.padded()));
    let lanes = (!mark.lanes.is_empty()).then(|| bytes(mark.lanes_bytes()));
    expression.set_or_remove("lanes", lanes);
    expression.set("generation", number(mark.generation));
    expression.set("begun", number(mark.begun));
    expression.set("deadline", number(mark.deadline));
    expression.set("done", bytes(mark.done.encode().to_vec()));
    let tried = (!mark.tried.is_empty()).then(|| text(mark.tried_text()));
    expression.set_or_remove("tried", tried);
    let announced = (!mark.announced.is_empty()).then(|| text(mark.announced_text()));
    expression.set_or_remove("announced", announced);
    let ended = mark.ended.then_some(AttributeValue::Bool(true));
    expression.set_or_remove("ended", ended);
    expression.set("expires", number(mark.expires));
    expression.set(EXPIRES_AT, number(mark.expires / 1000));
    let absent = expression.is_absent(schema::PK);
    let older = expression.compare("commit", "<", number(commit.number));
    expression.and(&format!("{absent} OR {older}"));
    expression
}

fn decode(item: &Item) -> Result<Mark, Wrong> {
    let of = Reader(item);
    let wrong = |name: &str, why: String| Wrong(format!("attribute `{name}`: {why}"));
    let done = OpenSet::decode(of.bytes("done")?);
    let tried = of.optional_text("tried")?.map(Mark::tried_from).transpose();
    let announced = { of.optional_text("announced")?.map(Mark::announced_from) }.transpose();
    let lanes = { of.optional_bytes("lanes")?.map(Mark::lanes_from) }.transpose();
    Ok(Mark {
        invocation: of.text("invocation")?.to_owned(),
        first: of.position("first")?,
        last: of.position("last")?,
        lanes: { lanes.map_err(|why| wrong("lanes", why))? }.unwrap_or_default(),
        generation: of.number("generation")?,
        begun: of.number("begun")?,
        deadline: of.number("deadline")?,
        done: done.map_err(|error| wrong("done", error.to_string()))?,
        tried: tried
            .map_err(|why| wrong("tried", why))?
            .unwrap_or_default(),
        announced: { announced.map_err(|why| wrong("announced", why))? }.unwrap_or_default(),
        ended: of.flag("ended")?,
        expires: of.number("expires")?,
    })
}

impl DynamodbStore {
    pub(super) fn mark_key(&self, partition: &PartitionName, mark: &Mark) -> Item {
        schema::key(
            schema::partition(&self.app, partition),
            schema::mark(&mark.first, &mark.last, &mark.invocation),
        )
    }

    fn done_key(&self, partition: &PartitionName, generation: u64, position: &Position) -> Item {
        schema::key(
            schema::partition(&self.app, partition),
            schema::done(generation, position),
        )
    }

    /// Number and content of the commit that wrote a mark.
    pub(super) fn found_mark(
        &self,
        partition: &PartitionName,
        item: Option<&Item>,
    ) -> Result<Option<(u64, ContentId)>, StoreError> {
        let Some(item) = item else { return Ok(None) };
        let of = Reader(item);
        let read = || {
            let content = of.bytes("content")?.try_into();
            let content = content
                .map_err(|_| Wrong("attribute `content`: it is not of 16 bytes".to_owned()))?;
            Ok((of.number("commit")?, content))
        };
        read()
            .map(Some)
            .map_err(|wrong| self.wrong_mark(partition, item, &wrong))
    }

    fn wrong_mark(&self, partition: &PartitionName, item: &Item, wrong: &Wrong) -> StoreError {
        let sk = schema::sk_of(item);
        self.damaged(format_args!("mark `{sk}` of {partition}"), wrong)
    }

    /// Adds what says of records with effects that they are done.
    pub(super) fn write_done(
        &self,
        commit: &Commit,
        writes: &mut Vec<(Part, TransactWriteItem)>,
    ) -> Result<(), CommitError> {
        let Some(mark) = &commit.mark else {
            return Ok(());
        };
        for (index, record) in commit.effects.iter().enumerate() {
            let mut item = self.done_key(
                commit.partition_of(record),
                mark.generation,
                &record.position,
            );
            item.insert("invocation".to_owned(), text(&mark.invocation));
            item.insert(EXPIRES_AT.to_owned(), number(mark.expires / 1000));
            let mut expression = Expression::default();
            let absent = expression.is_absent(schema::PK);
            expression.and(&absent);
            let write = expression.put(&self.table, item).map_err(unbuilt)?;
            writes.push((Part::Done(index), write));
        }
        Ok(())
    }

    async fn read_marks(
        &self,
        partition: &PartitionName,
        first: &Position,
        last: &Position,
    ) -> Result<Vec<Mark>, StoreError> {
        let pk = schema::partition(&self.app, partition);
        let [narrow, wide] = schema::marks(first, last)
            .map(|(from, to)| self.query_all(Query::between(pk.clone(), from, to)));
        let (narrow, wide) = try_join(narrow, wide).await?;
        let mut marks = Vec::new();
        for item in narrow.into_iter().chain(wide) {
            let mark = decode(&item).map_err(|wrong| self.wrong_mark(partition, &item, &wrong))?;
            if mark.overlaps(first, last) {
                marks.push(mark);
            }
        }
        Ok(marks)
    }
}

impl MarkStore for DynamodbStore {
    fn marks<'a>(
        &'a self,
        partition: &'a PartitionName,
        first: &'a Position,
        last: &'a Position,
    ) -> BoxFuture<'a, Result<Vec<Mark>, StoreError>> {
        Box::pin(self.read_marks(partition, first, last))
    }

    fn unmark<'a>(
        &'a self,
        partition: &'a PartitionName,
        mark: &'a Mark,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key = self.mark_key(partition, mark);
            self.delete_if(key, &Expression::default()).await
        })
    }

    fn done<'a>(
        &'a self,
        partition: &'a PartitionName,
        generation: u64,
        positions: &'a [Position],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>> {
        Box::pin(async move {
            let read = positions.iter().map(|position| async move {
                let key = self.done_key(partition, generation, position);
                let found = self.item(&key).await?;
                Ok::<_, StoreError>(found.map(|_| position.clone()))
            });
            Ok(try_join_all(read).await?.into_iter().flatten().collect())
        })
    }

    fn lane_items<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        Box::pin(self.read_lane_items(partition))
    }

    fn lease<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        lease: &'a Lease,
        now: i64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        Box::pin(self.lease_lane(partition, lane, rev, lease, now))
    }
}
