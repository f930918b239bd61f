//! Reads of several items under one partition key, page after page.

use super::{
    DynamodbStore,
    attributes::text,
    call::{TOTAL, trouble},
    expression::Expression,
    schema::{Item, LAST, PK, SK},
};
use crate::store::StoreError;
use aws_sdk_dynamodb::types::{DeleteRequest, WriteRequest};
use std::collections::HashMap;

/// Most items of one `BatchWriteItem`.
const BATCH: usize = 25;

/// What is asked for; always consistent.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pk: String,
    keys: Keys,
    backwards: bool,
    limit: Option<usize>,
    keys_only: bool,
}

/// Which sort keys.
#[derive(Clone, Debug)]
enum Keys {
    All,
    Begin(String),
    /// Both included.
    Between(String, String),
}

/// A page, and where the next one begins.
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    pub(super) next: Option<Item>,
}

impl Query {
    fn of(pk: String, keys: Keys) -> Self {
        Self {
            pk,
            keys,
            backwards: false,
            limit: None,
            keys_only: false,
        }
    }

    /// Sort keys from one to another, both included.
    pub(super) fn between(pk: String, from: String, to: String) -> Self {
        Self::of(pk, Keys::Between(from, to))
    }

    /// Sort keys that begin with this, whatever characters follow.
    pub(super) fn begins(pk: String, with: &str) -> Self {
        Self::of(pk, Keys::Begin(with.to_owned()))
    }

    /// All under a partition key.
    pub(super) fn all(pk: String) -> Self {
        Self::of(pk, Keys::All)
    }

    /// The highest sort key first.
    pub(super) fn backwards(self) -> Self {
        Self {
            backwards: true,
            ..self
        }
    }

    /// At most so many a page.
    pub(super) fn limit(self, limit: usize) -> Self {
        Self {
            limit: Some(limit.max(1)),
            ..self
        }
    }

    /// Only the keys of the items.
    pub(super) fn keys_only(self) -> Self {
        Self {
            keys_only: true,
            ..self
        }
    }
}

impl DynamodbStore {
    pub(super) async fn query_page(
        &self,
        query: &Query,
        start: Option<Item>,
    ) -> Result<Page, StoreError> {
        let mut keys = Expression::default();
        let pk = keys.compare(PK, "=", text(&query.pk));
        let condition = match &query.keys {
            Keys::All => pk,
            Keys::Begin(with) => {
                let (sk, with) = (keys.name(SK), keys.value(text(with)));
                format!("{pk} AND begins_with({sk}, {with})")
            }
            Keys::Between(from, to) => {
                let (from, to) = (keys.value(text(from)), keys.value(text(to)));
                format!("{pk} AND {} BETWEEN {from} AND {to}", keys.name(SK))
            }
        };
        let wanted = query
            .keys_only
            .then(|| format!("{}, {}", keys.name(PK), keys.name(SK)));
        let limit = query.limit.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let client = self.client().await;
        let read = || async {
            let output = client
                .query()
                .table_name(&*self.table)
                .key_condition_expression(&condition)
                .set_expression_attribute_names(keys.names())
                .set_expression_attribute_values(keys.values())
                .set_projection_expression(wanted.clone())
                .scan_index_forward(!query.backwards)
                .set_limit(limit)
                .consistent_read(true)
                .set_exclusive_start_key(start.clone())
                .return_consumed_capacity(TOTAL)
                .send()
                .await
                .map_err(trouble)?;
            self.meter.read(output.consumed_capacity());
            Ok(Page {
                items: output.items.unwrap_or_default(),
                next: output.last_evaluated_key.filter(|key| !key.is_empty()),
            })
        };
        self.retrying(read)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// All pages.
    pub(super) async fn query_all(&self, query: Query) -> Result<Vec<Item>, StoreError> {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let mut page = self.query_page(&query, start).await?;
            items.append(&mut page.items);
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Deletes items that nothing hangs on any more.
    pub(super) async fn delete_all(&self, keys: Vec<Item>) -> Result<(), StoreError> {
        let client = self.client().await;
        for batch in keys.chunks(BATCH) {
            let mut left: Vec<WriteRequest> = batch
                .iter()
                .filter_map(key_of)
                .filter_map(|key| DeleteRequest::builder().set_key(Some(key)).build().ok())
                .map(|delete| WriteRequest::builder().delete_request(delete).build())
                .collect();
            let mut rounds = 0_u32;
            while !left.is_empty() {
                let requests = HashMap::from([(self.table.to_string(), left.clone())]);
                let write = || async {
                    let output = client
                        .batch_write_item()
                        .set_request_items(Some(requests.clone()))
                        .return_consumed_capacity(TOTAL)
                        .send()
                        .await
                        .map_err(trouble)?;
                    self.meter.wrote(output.consumed_capacity());
                    Ok(output.unprocessed_items.unwrap_or_default())
                };
                let unprocessed = self
                    .retrying(write)
                    .await
                    .map_err(|error| self.failed(&error))?;
                left = unprocessed.into_values().flatten().collect();
                rounds += 1;
                if !left.is_empty() {
                    if rounds > 10 {
                        return Err(StoreError::OutOfReach(format!(
                            "{}: {} deletions are not taken",
                            self.place(),
                            left.len()
                        )));
                    }
                    let wait = 20_u64 << rounds.min(6);
                    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(1..=wait)))
                        .await;
                }
            }
        }
        Ok(())
    }
}

/// The key of an item that was read.
pub(super) fn key_of(item: &Item) -> Option<Item> {
    let pk = item.get(PK)?.clone();
    let sk = item.get(SK)?.clone();
    Some(Item::from([(PK.to_owned(), pk), (SK.to_owned(), sk)]))
}

/// The end of a page's keys that is after every key that begins so.
pub(super) fn behind(sk: &str) -> String {
    format!("{sk}{LAST}")
}
