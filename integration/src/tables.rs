//! DynamoDB tables of one test, and scenes whose store is in one of them.

use crate::{emulator::Dynamodb, proxy::Proxy, scene::Scene};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{
    error::Error,
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Any signature will do for an emulator, but there has to be one.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
     Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

/// Where the configuration of a scene says what its store is.
const STORE: &str = "[store]\n";

/// Tables of one test: of the store, and of the target's own. They are deleted with the value, and stay
/// when the test fails.
pub struct Tables {
    dynamodb: Dynamodb,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
    names: Mutex<Vec<String>>,
}

impl Tables {
    /// In [`Dynamodb::start_plain`]: it is read here without a client that signs.
    ///
    /// # Errors
    /// When there is none; the message says what to do.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            dynamodb: Dynamodb::start_plain()?,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
            runtime: runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            names: Mutex::default(),
        })
    }

    /// Where they are.
    pub fn dynamodb(&self) -> &Dynamodb {
        &self.dynamodb
    }

    /// The environment with which a program talks to them through a proxy.
    pub fn through(&self, proxy: &Proxy) -> Vec<(&'static str, String)> {
        self.dynamodb.environment_through(proxy.endpoint())
    }

    /// A scene with this configuration whose store is a new table, made by `lanekeeper store init`; and
    /// the table's name. What runs in it talks to the table itself, unless it is started otherwise.
    ///
    /// # Errors
    /// When the configuration has no section `[store]`, or the table cannot be made.
    pub fn scene(&self, config: &str) -> io::Result<(Scene, String)> {
        let name = self.name();
        let store = format!("{STORE}type = \"dynamodb\"\ntable = \"{name}\"\n");
        let config = config.replacen(STORE, &store, 1);
        if !config.contains(&store) {
            return Err(other("the configuration has no section `[store]`"));
        }
        let scene = Scene::within(&config, self.dynamodb.environment())?;
        let made = scene.run(&["store", "init"])?;
        if made.code != Some(0) {
            return Err(other(format!("`lanekeeper store init`: {made:#?}")));
        }
        Ok((scene, name))
    }

    /// A new table as a user has one, with the keys `pk` and `sk`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn user_table(&self) -> io::Result<String> {
        let name = self.name();
        let keys = [("pk", "HASH"), ("sk", "RANGE")];
        let schema = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": keys.map(|(key, _)| {
                json!({"AttributeName": key, "AttributeType": "S"})
            }),
            "KeySchema": keys.map(|(key, kind)| json!({"AttributeName": key, "KeyType": kind})),
        });
        self.ask("CreateTable", &schema)?;
        Ok(name)
    }

    /// All items under this `pk`, as they are now, in the order of `sk`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn items(&self, table: &str, pk: &str) -> io::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut query = json!({
            "TableName": table,
            "ConsistentRead": true,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
        });
        loop {
            let mut page = self.ask("Query", &query)?;
            if let Value::Array(found) = page["Items"].take() {
                items.extend(found);
            }
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"].take();
            if !query["ExclusiveStartKey"].is_object() {
                return Ok(items);
            }
        }
    }

    /// Sends a request and gives its answer, past all proxies.
    ///
    /// # Errors
    /// When it is refused, or not answered.
    pub fn ask(&self, operation: &str, body: &Value) -> io::Result<Value> {
        let asked = async { timeout(PATIENCE, self.send(operation, body)).await };
        let answer = self.runtime.block_on(asked);
        let (status, answer) = answer
            .map_err(|_| other(format!("no answer to {operation} in {PATIENCE:?}")))?
            .map_err(|error| other(format!("{operation}: {error}")))?;
        if status == 200 {
            Ok(answer)
        } else {
            Err(other(format!(
                "{operation} {body} was answered by {status}: {answer}"
            )))
        }
    }

    async fn send(
        &self,
        operation: &str,
        body: &Value,
    ) -> Result<(u16, Value), Box<dyn Error + Send + Sync>> {
        let request = Request::post(self.dynamodb.endpoint())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = self.client.request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    }

    fn name(&self) -> String {
        let name = Dynamodb::table_name();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.push(name.clone());
        name
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        // A table of the store's is protected.
        let open = json!({"TableName": name, "DeletionProtectionEnabled": false});
        self.ask("UpdateTable", &open)?;
        self.ask("DeleteTable", &json!({"TableName": name}))?;
        Ok(())
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if thread::panicking() {
            let endpoint = self.dynamodb.endpoint();
            let _gone = writeln!(io::stderr(), "tables at {endpoint}: {names:?}");
            return;
        }
        for name in names.iter() {
            if let Err(error) = self.delete(name) {
                let _gone = writeln!(io::stderr(), "table {name} stays behind: {error}");
            }
        }
    }
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}
