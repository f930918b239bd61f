//! Requests that say whether an action is allowed, and change nothing: their condition holds for no
//! item, and they are about a key that no app has.

use super::{
    DynamodbStore,
    call::{Trouble, trouble},
    schema::{self, Item, PK},
};
use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::{BoxError, BuildError},
    types::{ConditionCheck, Delete, DeleteRequest, Put, TransactWriteItem, Update, WriteRequest},
};
use aws_smithy_types::date_time::{DateTime, Format};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// An item is there or it is not: no write comes about.
const NEVER: &str = "attribute_exists(#pk) AND attribute_not_exists(#pk)";

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probe {
    Query,
    Put,
    PutInTransaction,
    Update,
    UpdateInTransaction,
    Delete,
    DeleteInTransaction,
    Check,
    Batch,
}

/// All but the read that comes first. A policy can tell actions in transactions from those alone.
pub(super) const PROBES: [Probe; 9] = [
    Probe::Query,
    Probe::Put,
    Probe::PutInTransaction,
    Probe::Update,
    Probe::UpdateInTransaction,
    Probe::Delete,
    Probe::DeleteInTransaction,
    Probe::Check,
    Probe::Batch,
];

impl Probe {
    /// As IAM calls it. `TransactWriteItems` is no action of its own: each item needs its own.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Query => "dynamodb:Query",
            Self::Put | Self::PutInTransaction => "dynamodb:PutItem",
            Self::Update | Self::UpdateInTransaction => "dynamodb:UpdateItem",
            Self::Delete | Self::DeleteInTransaction => "dynamodb:DeleteItem",
            Self::Check => "dynamodb:ConditionCheckItem",
            Self::Batch => "dynamodb:BatchWriteItem",
        }
    }
}

fn names() -> Option<HashMap<String, String>> {
    Some(HashMap::from([("#pk".to_owned(), PK.to_owned())]))
}

impl DynamodbStore {
    /// A key that nobody writes: no app has a `+` in its name.
    pub(super) fn nowhere(&self) -> Item {
        schema::key(schema::app(&format!("{}+check", self.app)), "nothing")
    }

    /// `Ok`: it is allowed.
    pub(super) async fn probe(&self, probe: Probe) -> Result<(), Trouble> {
        let sent = match probe {
            Probe::Query => self.try_query().await,
            Probe::Put | Probe::Update | Probe::Delete => self.try_write(probe).await,
            Probe::Batch => self.try_batch().await,
            Probe::PutInTransaction
            | Probe::UpdateInTransaction
            | Probe::DeleteInTransaction
            | Probe::Check => self.try_transaction(probe).await,
        };
        match sent {
            Err(Trouble::Refused { code, .. })
                if code == "ConditionalCheckFailedException"
                    || code == "TransactionCanceledException" =>
            {
                Ok(())
            }
            sent => sent,
        }
    }

    async fn try_query(&self) -> Result<(), Trouble> {
        let pk = self.nowhere().remove(PK);
        let client = self.client().await;
        let read = || async {
            let query = client
                .query()
                .table_name(&*self.table)
                .key_condition_expression("#pk = :pk")
                .set_expression_attribute_names(names())
                .set_expression_attribute_values(
                    pk.clone().map(|pk| HashMap::from([(":pk".to_owned(), pk)])),
                )
                .consistent_read(true);
            query.send().await.map(drop).map_err(trouble)
        };
        self.retrying(read).await
    }

    async fn try_write(&self, probe: Probe) -> Result<(), Trouble> {
        let client = self.client().await;
        let write = || async {
            match probe {
                Probe::Put => {
                    let put = client.put_item().table_name(&*self.table);
                    let put = put.set_item(Some(self.nowhere()));
                    let put = put.condition_expression(NEVER);
                    let put = put.set_expression_attribute_names(names());
                    put.send().await.map(drop).map_err(trouble)
                }
                Probe::Delete => {
                    let delete = client.delete_item().table_name(&*self.table);
                    let delete = delete.set_key(Some(self.nowhere()));
                    let delete = delete.condition_expression(NEVER);
                    let delete = delete.set_expression_attribute_names(names());
                    delete.send().await.map(drop).map_err(trouble)
                }
                Probe::Query
                | Probe::PutInTransaction
                | Probe::Update
                | Probe::UpdateInTransaction
                | Probe::DeleteInTransaction
                | Probe::Check
                | Probe::Batch => {
                    let update = client.update_item().table_name(&*self.table);
                    let update = update.set_key(Some(self.nowhere()));
                    let update = update.update_expression("REMOVE nothing");
                    let update = update.condition_expression(NEVER);
                    let update = update.set_expression_attribute_names(names());
                    update.send().await.map(drop).map_err(trouble)
                }
            }
        };
        self.retrying(write).await
    }

    /// Deletes an item that does not exist.
    async fn try_batch(&self) -> Result<(), Trouble> {
        let delete = DeleteRequest::builder()
            .set_key(Some(self.nowhere()))
            .build()?;
        let delete = WriteRequest::builder().delete_request(delete).build();
        let client = self.client().await;
        let write = || async {
            let batch = client
                .batch_write_item()
                .request_items(&*self.table, vec![delete.clone()]);
            batch.send().await.map(drop).map_err(trouble)
        };
        self.retrying(write).await
    }

    async fn try_transaction(&self, probe: Probe) -> Result<(), Trouble> {
        let item = self.impossible(probe)?;
        let client = self.client().await;
        let write = || async {
            let write = client.transact_write_items().transact_items(item.clone());
            write.send().await.map(drop).map_err(trouble)
        };
        self.retrying(write).await
    }

    fn impossible(&self, probe: Probe) -> Result<TransactWriteItem, BuildError> {
        let (table, key) = (&*self.table, self.nowhere());
        let item = TransactWriteItem::builder();
        Ok(match probe {
            Probe::PutInTransaction => {
                let put = Put::builder().table_name(table).set_item(Some(key));
                let put = put.condition_expression(NEVER);
                item.put(put.set_expression_attribute_names(names()).build()?)
            }
            Probe::UpdateInTransaction => {
                let update = Update::builder().table_name(table).set_key(Some(key));
                let update = update.update_expression("REMOVE nothing");
                let update = update.condition_expression(NEVER);
                item.update(update.set_expression_attribute_names(names()).build()?)
            }
            Probe::DeleteInTransaction => {
                let delete = Delete::builder().table_name(table).set_key(Some(key));
                let delete = delete.condition_expression(NEVER);
                item.delete(delete.set_expression_attribute_names(names()).build()?)
            }
            Probe::Query
            | Probe::Put
            | Probe::Update
            | Probe::Delete
            | Probe::Check
            | Probe::Batch => {
                let check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key));
                let check = check.condition_expression(NEVER);
                item.condition_check(check.set_expression_attribute_names(names()).build()?)
            }
        }
        .build())
    }
}

/// Notes by how many seconds this machine is ahead of the service, by the `Date` of its answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(Arc<Mutex<Option<i64>>>);

impl Witness {
    /// `None`: no answer said what time it is.
    pub(super) fn skew(&self) -> Option<i64> {
        self.0.lock().map_or(None, |seen| *seen)
    }
}

impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        if let (Some(date), Ok(mut seen)) = (date, self.0.lock()) {
            *seen = Some(super::now_millis() / 1000 - date.secs());
        }
        Ok(())
    }
}
