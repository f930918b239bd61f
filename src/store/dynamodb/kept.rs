//! What is kept for people: registry, workers, values; and forgetting all of an app.

use super::{
    DynamodbStore, Query,
    attributes::{Reader, Wrong, json, number, text},
    call::{TOTAL, Trouble, trouble},
    expression::Expression,
    lanes,
    schema::{self, EXPIRES_AT, Item, LANE, PARTITION, TABLE, WORKER},
    values,
};
use crate::{
    record::PartitionName,
    store::{StoreError, WorkerId, WorkerItem},
};
use serde_json::Value;

/// A worker that said nothing for so long is not coming back: its item goes by itself, in seconds.
const WORKER_SECONDS: i64 = 7 * 24 * 60 * 60;

impl DynamodbStore {
    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let client = self.client().await;
        let write = || async {
            let output = client
                .put_item()
                .table_name(&*self.table)
                .set_item(Some(item.clone()))
                .return_consumed_capacity(TOTAL)
                .send()
                .await
                .map_err(trouble)?;
            self.meter.wrote(output.consumed_capacity());
            Ok(())
        };
        self.retrying(write)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Deletes an item if it is as the condition says; one that is not, or is gone, is no error.
    pub(super) async fn delete_if(
        &self,
        key: Item,
        expression: &Expression,
    ) -> Result<(), StoreError> {
        let client = self.client().await;
        let write = || async {
            let output = client
                .delete_item()
                .table_name(&*self.table)
                .set_key(Some(key.clone()))
                .set_condition_expression(expression.condition())
                .set_expression_attribute_names(expression.names())
                .set_expression_attribute_values(expression.values())
                .return_consumed_capacity(TOTAL)
                .send()
                .await
                .map_err(trouble)?;
            self.meter.wrote(output.consumed_capacity());
            Ok(())
        };
        match self.retrying(write).await {
            Ok(()) => Ok(()),
            Err(Trouble::Refused { code, .. }) if code == "ConditionalCheckFailedException" => {
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Registers a partition, once a process.
    pub(super) async fn register(&self, partition: &PartitionName) -> Result<(), StoreError> {
        let sk = format!("{PARTITION}{partition}");
        let mut item = schema::key(schema::app(&self.app), &sk);
        item.insert("source".to_owned(), text(&*partition.source));
        item.insert("partition".to_owned(), text(&*partition.partition));
        self.register_item(sk, item).await
    }

    /// Registers the name of a value table, so that forgetting the app finds it.
    pub(super) async fn register_table(&self, table: &str) -> Result<(), StoreError> {
        let sk = format!("{TABLE}{table}");
        let mut item = schema::key(schema::app(&self.values), &sk);
        item.insert("name".to_owned(), text(table));
        self.register_item(sk, item).await
    }

    async fn register_item(&self, sk: String, item: Item) -> Result<(), StoreError> {
        let known = |of: &DynamodbStore| {
            let known = of.registered.lock();
            known.is_ok_and(|known| known.contains(&sk))
        };
        if known(self) {
            return Ok(());
        }
        self.put(item).await?;
        if let Ok(mut known) = self.registered.lock() {
            known.insert(sk);
        }
        Ok(())
    }

    pub(super) async fn read_partitions(&self) -> Result<Vec<PartitionName>, StoreError> {
        let query = Query::begins(schema::app(&self.app), PARTITION);
        let mut all = Vec::new();
        for item in self.query_all(query).await? {
            let of = Reader(&item);
            let name = of
                .text("source")
                .and_then(|source| Ok(PartitionName::new(source, of.text("partition")?)));
            all.push(name.map_err(|wrong| {
                let sk = schema::sk_of(&item);
                self.damaged(format_args!("registry item `{sk}`"), &wrong)
            })?);
        }
        all.sort();
        Ok(all)
    }

    pub(super) async fn write_worker(&self, item: &WorkerItem) -> Result<(), StoreError> {
        let mut row = schema::key(schema::app(&self.app), format!("{WORKER}{}", item.worker));
        let expires_at = (item.beat / 1000).saturating_add(WORKER_SECONDS);
        row.insert("item".to_owned(), json(item));
        row.insert(EXPIRES_AT.to_owned(), number(expires_at));
        self.put(row).await
    }

    pub(super) async fn delete_worker(&self, worker: WorkerId) -> Result<(), StoreError> {
        let key = schema::key(schema::app(&self.app), format!("{WORKER}{worker}"));
        self.delete_if(key, &Expression::default()).await
    }

    pub(super) async fn read_workers(&self) -> Result<Vec<WorkerItem>, StoreError> {
        let query = Query::begins(schema::app(&self.app), WORKER);
        let items = self.query_all(query).await?;
        items
            .iter()
            .map(|item| {
                Reader(item).json("item").map_err(|wrong| {
                    let sk = schema::sk_of(item);
                    self.damaged(format_args!("worker item `{sk}`"), &wrong)
                })
            })
            .collect()
    }

    pub(super) async fn read_value(
        &self,
        table: &str,
        key: &str,
    ) -> Result<Option<Value>, StoreError> {
        if table.is_empty() || key.is_empty() {
            return Ok(None);
        }
        let item = self.item(&values::key(&self.values, table, key)).await?;
        item.map(|item| self.value_of(&item)).transpose()
    }

    /// The value that an item holds.
    pub(super) fn value_of(&self, item: &Item) -> Result<Value, StoreError> {
        values::decode(item).map_err(|wrong| {
            let pk = match item.get(schema::PK) {
                Some(aws_sdk_dynamodb::types::AttributeValue::S(pk)) => pk.as_str(),
                Some(_) | None => "",
            };
            self.damaged(
                format_args!("value `{}` of `{pk}`", schema::sk_of(item)),
                &wrong,
            )
        })
    }

    pub(super) async fn read_values(
        &self,
        table: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let pk = schema::values(&self.values, table);
        let mut start = after.map(|after| schema::key(pk.as_str(), after));
        let query = Query::all(pk).limit(max);
        let mut values = Vec::new();
        while values.len() < max {
            let page = self.query_page(&query, start).await?;
            for item in page.items.iter().take(max - values.len()) {
                values.push((schema::sk_of(item), self.value_of(item)?));
            }
            match page.next {
                Some(next) => start = Some(next),
                None => break,
            }
        }
        Ok(values)
    }

    /// Deletes all of the app: the registry last, which says where the rest is.
    pub(super) async fn forget_all(&self) -> Result<(), StoreError> {
        for partition in self.read_partitions().await? {
            let pk = schema::partition(&self.app, &partition);
            for item in self
                .query_all(Query::begins(pk.clone(), LANE).keys_only())
                .await?
            {
                let sk = schema::sk_of(&item);
                let lane = sk.strip_prefix(LANE).unwrap_or_default();
                self.delete_under(format!("{pk}#{lane}")).await?;
            }
            self.delete_under(pk).await?;
        }
        let app = schema::app(&self.app);
        for item in self.query_all(Query::begins(app.clone(), TABLE)).await? {
            let sk = schema::sk_of(&item);
            let table = sk.strip_prefix(TABLE).unwrap_or_default();
            self.delete_under(schema::values(&self.app, table)).await?;
        }
        self.delete_under(app).await?;
        if let Ok(mut known) = self.registered.lock() {
            known.clear();
        }
        if let Ok(mut known) = self.segments.lock() {
            known.clear();
        }
        Ok(())
    }

    async fn delete_under(&self, pk: String) -> Result<(), StoreError> {
        let keys = self.query_all(Query::all(pk).keys_only()).await?;
        self.delete_all(keys).await
    }
}

/// What a lane item that cannot be read says.
pub(super) fn damage_of(item: Option<&Item>) -> Option<Wrong> {
    lanes::check(item).err()
}
