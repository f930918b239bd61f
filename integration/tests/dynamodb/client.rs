//! Requests as they are on the wire, without a client that repeats or repairs anything.

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use lanekeeper_integration::emulator::Dynamodb;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long anything may take here that is not held on purpose.
const PATIENCE: Duration = Duration::from_secs(30);

/// Any signature will do for what tests talk to, but there has to be one.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
     Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

#[derive(Clone)]
pub(crate) struct Client {
    endpoint: String,
    client: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// An answer; `None` from [`Client::ask`]: the connection was closed without one.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Client {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            // A pooled connection could be found closed before a request is sent, which the client would
            // repair by itself.
            client: legacy::Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        }
    }

    pub(crate) async fn ask(&self, operation: &str, body: &Value) -> Option<Answer> {
        let request = Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let asked = async {
            let answer = self.client.request(request).await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.ok()?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            Some(Answer { status, body })
        };
        timeout(PATIENCE, asked).await.expect("an end in time")
    }

    /// What has to succeed.
    pub(crate) async fn done(&self, operation: &str, body: &Value) -> Value {
        let answer = self.ask(operation, body).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {operation} {body}"));
        assert_eq!(answer.status, 200, "{operation} {body}: {answer:?}");
        answer.body
    }

    /// What has to be refused, with this error.
    pub(crate) async fn refused(&self, operation: &str, body: &Value, error: &str) -> Value {
        let answer = self.ask(operation, body).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {operation} {body}"));
        assert_eq!(answer.error(), error, "{operation} {body}: {answer:?}");
        answer.body
    }
}

impl Answer {
    /// The name of the exception, without its name space.
    pub(crate) fn error(&self) -> &str {
        let name = self.body["__type"].as_str().unwrap_or_default();
        name.rsplit('#').next().unwrap_or_default()
    }
}

/// A table with `pk` and `sk`, deleted at the end of a test that succeeds.
pub(crate) struct Table {
    pub(crate) name: String,
    /// Straight to what the tests talk to.
    pub(crate) direct: Client,
    pub(crate) dynamodb: Dynamodb,
}

impl Table {
    pub(crate) async fn new() -> Self {
        let dynamodb = Dynamodb::start_plain().unwrap();
        let table = Self {
            name: Dynamodb::table_name(),
            direct: Client::new(dynamodb.endpoint()),
            dynamodb,
        };
        table.direct.done("CreateTable", &table.schema()).await;
        table
    }

    pub(crate) fn schema(&self) -> Value {
        json!({
            "TableName": self.name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        })
    }

    pub(crate) async fn delete(self) {
        let table = json!({"TableName": self.name});
        self.direct.done("DeleteTable", &table).await;
    }

    /// A put of a new item with a value of so many bytes.
    pub(crate) fn put(&self, sk: &str, bytes: usize) -> Value {
        json!({
            "TableName": self.name,
            "Item": {"pk": {"S": "a"}, "sk": {"S": sk}, "v": {"S": "x".repeat(bytes)}},
        })
    }

    /// A key, as in most requests.
    pub(crate) fn key(&self, sk: &str) -> Value {
        json!({"TableName": self.name, "Key": {"pk": {"S": "a"}, "sk": {"S": sk}}})
    }

    /// One transaction that puts these items.
    pub(crate) fn transaction(&self, items: &[&str]) -> Value {
        let puts: Vec<Value> = items
            .iter()
            .map(|sk| json!({"Put": self.put(sk, 10)}))
            .collect();
        json!({"TransactItems": puts})
    }

    pub(crate) async fn has(&self, sk: &str) -> bool {
        let mut get = self.key(sk);
        get["ConsistentRead"] = true.into();
        self.direct.done("GetItem", &get).await["Item"].is_object()
    }
}
