//! The stores that the suite runs over.

use super::{Bench, Spoil};
use futures_util::future::BoxFuture;
#[cfg(feature = "dynamodb")]
use lanekeeper::record::LaneKey;
use lanekeeper::{
    Position,
    store::{
        MarkStore,
        memory::{Contents, Memory, Row},
    },
};
use std::sync::Arc;

pub(crate) struct MemoryBench(Memory);

impl MemoryBench {
    pub(crate) fn new() -> Self {
        Self(Memory::new("unused"))
    }
}

impl Bench for MemoryBench {
    fn open_marks(&self, app: &str) -> Arc<dyn MarkStore> {
        Arc::new(self.0.clone().with_app(app))
    }

    fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()> {
        let spoil = move |contents: &mut Contents| {
            let row = match what {
                Spoil::NoCheckpoint(partition) => {
                    contents.ownerships.remove(partition).expect("an item");
                    return;
                }
                Spoil::Checkpoint(partition) => Row::Checkpoint(partition.clone()),
                Spoil::Lane(partition, lane) => Row::Lane(partition.clone(), lane.clone()),
                Spoil::Chain(partition, lane, offset) => {
                    Row::Chain(partition.clone(), lane.clone(), Position::Offset(offset))
                }
                Spoil::Value(table, key) => Row::Value(table.to_owned(), key.to_owned()),
                Spoil::History(partition) => Row::History(partition.clone()),
            };
            contents.damaged.insert(row);
        };
        self.0.clone().with_app(app).tamper(spoil);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(feature = "local")]
pub(crate) use in_a_file::SqliteBench;

#[cfg(feature = "local")]
mod in_a_file {
    use super::*;
    use lanekeeper::{sqlite::Access, store::sqlite::SqliteStore};
    use rusqlite::{ToSql, params};
    use std::path::PathBuf;

    pub(crate) struct SqliteBench {
        directory: tempfile::TempDir,
    }

    impl SqliteBench {
        pub(crate) fn new() -> Self {
            Self {
                directory: tempfile::tempdir().expect("temporary directory"),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("store.db")
        }

        fn run(&self, sql: &str, parameters: &[&dyn ToSql]) {
            let other = rusqlite::Connection::open(self.path()).expect("open");
            other
                .busy_timeout(std::time::Duration::from_secs(5))
                .expect("timeout");
            assert_eq!(other.execute(sql, parameters).expect("run"), 1, "{sql}");
        }
    }

    impl Bench for SqliteBench {
        fn open_marks(&self, app: &str) -> Arc<dyn MarkStore> {
            Arc::new(SqliteStore::open(self.path(), Access::Create, app).expect("open"))
        }

        fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()> {
            match what {
                Spoil::NoCheckpoint(p) => self.run(
                    "DELETE FROM store_checkpoints WHERE app = ?1 AND source = ?2 AND partition = ?3",
                    params![app, &*p.source, &*p.partition],
                ),
                Spoil::Checkpoint(p) => self.run(
                    "UPDATE store_checkpoints SET epoch = epoch + 1 \
                     WHERE app = ?1 AND source = ?2 AND partition = ?3",
                    params![app, &*p.source, &*p.partition],
                ),
                Spoil::Lane(p, lane) => self.run(
                    "UPDATE store_lanes SET state = 'parked' WHERE app = ?1 AND source = ?2 \
                     AND partition = ?3 AND lane = ?4",
                    params![app, &*p.source, &*p.partition, lane.bytes()],
                ),
                Spoil::Chain(p, lane, offset) => self.run(
                    "UPDATE store_chain SET record = x'09' WHERE app = ?1 AND source = ?2 \
                     AND partition = ?3 AND lane = ?4 AND position = ?5",
                    params![
                        app,
                        &*p.source,
                        &*p.partition,
                        lane.bytes(),
                        Position::Offset(offset).padded()
                    ],
                ),
                Spoil::Value(table, key) => self.run(
                    "UPDATE store_values SET value = '99' \
                     WHERE app = ?1 AND name = ?2 AND key = ?3",
                    params![app, table, key],
                ),
                Spoil::History(p) => self.run(
                    "UPDATE store_history SET at = at + 1 WHERE id = (SELECT min(id) FROM \
                     store_history WHERE app = ?1 AND source = ?2 AND partition = ?3)",
                    params![app, &*p.source, &*p.partition],
                ),
            }
            Box::pin(std::future::ready(()))
        }
    }
}

#[cfg(feature = "dynamodb")]
pub(crate) use in_a_table::DynamodbBench;

#[cfg(feature = "dynamodb")]
mod in_a_table {
    use super::*;
    use crate::conformance::fresh;
    use aws_sdk_dynamodb::{
        Client, Config,
        config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
        primitives::Blob,
        types::{
            AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
            ScalarAttributeType,
        },
    };
    use lanekeeper::{record::PartitionName, store::dynamodb::DynamodbStore};
    use serde_json::{Value, json};
    use std::{collections::HashMap, time::Duration};

    /// One table for all tests of all runs; each bench has apps of its own.
    const TABLE: &str = "lanekeeper-conformance";

    type Item = HashMap<String, AttributeValue>;

    pub(crate) struct DynamodbBench {
        /// In front of every app's name.
        prefix: String,
        /// As the store reaches the table, and as this bench does.
        client: Client,
        direct: Client,
    }

    fn client(variable: &str) -> Client {
        let endpoint = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "{variable} names no endpoint: `cargo integration test` starts an emulator and sets it"
            )
        });
        assert!(
            !endpoint.starts_with("https://"),
            "{variable} is `{endpoint}`: these tests speak plain HTTP, with credentials that only an \
             emulator takes, and leave a table behind; name an emulator's endpoint, or unset it and ask \
             for the tests that take a real one (`integration/README.md`)"
        );
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .region(Region::new("us-east-1"))
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(50)))
            .build();
        Client::from_conf(config)
    }

    impl DynamodbBench {
        pub(crate) async fn new() -> Self {
            let client_of_store = client("LANEKEEPER_TEST_DYNAMODB");
            let direct = match std::env::var("LANEKEEPER_TEST_DYNAMODB_DIRECT") {
                Ok(_) => client("LANEKEEPER_TEST_DYNAMODB_DIRECT"),
                Err(_) => client_of_store.clone(),
            };
            create(&direct, TABLE).await;
            Self {
                prefix: format!("{}-{}", std::process::id(), fresh()),
                client: client_of_store,
                direct,
            }
        }

        fn app(&self, app: &str) -> String {
            format!("{}-{app}", self.prefix)
        }

        fn pk(&self, app: &str, partition: &PartitionName) -> String {
            format!("app#{}#{partition}", self.app(app))
        }

        /// The one item whose sort key begins so.
        async fn find(&self, pk: &str, sk: &str) -> Item {
            let found = self
                .direct
                .query()
                .table_name(TABLE)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .expression_attribute_values(":sk", AttributeValue::S(sk.to_owned()))
                .consistent_read(true)
                .send()
                .await
                .expect("query");
            found.items().first().expect("an item").clone()
        }

        async fn put(&self, item: Item) {
            let put = self.direct.put_item().table_name(TABLE);
            put.set_item(Some(item)).send().await.expect("put");
        }

        /// Makes an attribute of an item another.
        async fn set(&self, pk: &str, sk: &str, name: &str, value: AttributeValue) {
            let mut item = self.find(pk, sk).await;
            assert!(item.insert(name.to_owned(), value).is_some(), "{item:?}");
            self.put(item).await;
        }

        async fn delete(&self, pk: &str, sk: &str) {
            self.find(pk, sk).await;
            self.direct
                .delete_item()
                .table_name(TABLE)
                .key("pk", AttributeValue::S(pk.to_owned()))
                .key("sk", AttributeValue::S(sk.to_owned()))
                .send()
                .await
                .expect("delete");
        }

        async fn spoil_chain(&self, app: &str, p: &PartitionName, lane: &LaneKey, offset: u64) {
            let pk = format!("{}#{}", self.pk(app, p), lane.id(&p.partition));
            let mut item = self.find(&pk, "segment#").await;
            let Some(AttributeValue::L(records)) = item.get_mut("records") else {
                panic!("{item:?}");
            };
            let padded = Position::Offset(offset).padded();
            let holds = |value: &AttributeValue| {
                let bytes = value.as_b().expect("binary").as_ref();
                let mut windows = bytes.windows(padded.len());
                windows.any(|window| window == padded.as_bytes())
            };
            let place = records.iter().position(holds).expect("the record");
            let mut bytes = records[place].as_b().expect("binary").as_ref().to_vec();
            *bytes.last_mut().expect("bytes") ^= 1;
            records[place] = AttributeValue::B(Blob::new(bytes));
            self.put(item).await;
        }
    }

    impl DynamodbBench {
        async fn count(&self, pk: String, sk: &str) -> usize {
            let found = self
                .direct
                .query()
                .table_name(TABLE)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":pk", AttributeValue::S(pk))
                .expression_attribute_values(":sk", AttributeValue::S(sk.to_owned()))
                .consistent_read(true)
                .send()
                .await
                .expect("query");
            found.items().len()
        }

        /// Items under a lane's chain: segments and parts.
        pub(crate) async fn under_chain(
            &self,
            app: &str,
            partition: &PartitionName,
            lane: &LaneKey,
        ) -> usize {
            let of = lane.id(&partition.partition);
            let pk = format!("{}#{of}", self.pk(app, partition));
            self.count(pk.clone(), "segment#").await + self.count(pk, "part#").await
        }

        /// Lane items of a partition, also those that say that their lane ended.
        pub(crate) async fn lane_items(&self, app: &str, partition: &PartitionName) -> usize {
            self.count(self.pk(app, partition), "lane#").await
        }

        /// Makes a lane item what a commit leaves that ends the lane, before the sweep.
        pub(crate) async fn leave_ended(
            &self,
            app: &str,
            partition: &PartitionName,
            lane: &LaneKey,
            epoch: u64,
            commit: u64,
        ) {
            let sk = format!("lane#{}", lane.id(&partition.partition));
            let mut item = self.find(&self.pk(app, partition), &sk).await;
            let writer = AttributeValue::S(format!("{epoch:020}.{commit:020}"));
            item.insert("ended".to_owned(), writer);
            self.put(item).await;
        }

        /// A table as a user has it, with `pk` and `sk`, of this bench alone.
        pub(crate) async fn user_table(&self) -> String {
            let name = format!("user-{}", self.prefix);
            create(&self.direct, &name).await;
            name
        }

        /// An item of such a table, as JSON of its attributes.
        pub(crate) async fn user_item(&self, table: &str, pk: &str, sk: &str) -> Value {
            let found = self
                .direct
                .get_item()
                .table_name(table)
                .key("pk", AttributeValue::S(pk.to_owned()))
                .key("sk", AttributeValue::S(sk.to_owned()))
                .consistent_read(true)
                .send()
                .await
                .expect("get");
            let item = found.item.unwrap_or_default();
            let json = |value: &AttributeValue| {
                if let Ok(text) = value.as_s() {
                    json!({"S": text})
                } else {
                    json!({"N": value.as_n().expect("a string or a number")})
                }
            };
            item.iter()
                .map(|(name, v)| (name.clone(), json(v)))
                .collect()
        }
    }

    async fn create(client: &Client, table: &str) {
        let attribute = |name: &str| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(ScalarAttributeType::S);
            attribute.build().expect("attribute")
        };
        let key = |name: &str, kind| {
            let key = KeySchemaElement::builder().attribute_name(name);
            key.key_type(kind).build().expect("key")
        };
        let created = client
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk"))
            .attribute_definitions(attribute("sk"))
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .send()
            .await;
        if let Err(error) = created {
            let error = error.into_service_error();
            assert!(error.is_resource_in_use_exception(), "{error:?}");
        }
    }

    impl Bench for DynamodbBench {
        fn open_marks(&self, app: &str) -> Arc<dyn MarkStore> {
            let client = self.client.clone();
            Arc::new(DynamodbStore::with_client(TABLE, &self.app(app), client))
        }

        fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()> {
            let text = || AttributeValue::S("spoilt".to_owned());
            Box::pin(async move {
                match what {
                    Spoil::NoCheckpoint(p) => self.delete(&self.pk(app, p), "checkpoint").await,
                    Spoil::Checkpoint(p) => {
                        let pk = self.pk(app, p);
                        self.set(&pk, "checkpoint", "epoch", text()).await;
                    }
                    Spoil::Lane(p, lane) => {
                        let sk = format!("lane#{}", lane.id(&p.partition));
                        self.set(&self.pk(app, p), &sk, "rev", text()).await;
                    }
                    Spoil::Chain(p, lane, offset) => self.spoil_chain(app, p, lane, offset).await,
                    Spoil::Value(table, key) => {
                        let pk = format!("app#{}#value#{table}", self.app(app));
                        self.set(&pk, key, "n", text()).await;
                    }
                    Spoil::History(p) => {
                        self.set(&self.pk(app, p), "history#", "at", text()).await;
                    }
                }
            })
        }
    }
}
