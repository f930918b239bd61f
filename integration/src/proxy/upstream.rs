//! What stands behind the proxy.

use super::{Bytes, request::Touch};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Uri,
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue},
    http::response,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// Longer than any client waits.
const LIMIT: Duration = Duration::from_secs(60);

/// Shorter than servers keep an idle connection, so that none is closed under a request.
const IDLE: Duration = Duration::from_secs(20);

pub(super) const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

pub(super) struct Upstream {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Key attributes of each table, asked for once.
    keys: Mutex<HashMap<String, Vec<String>>>,
}

/// An answer, read whole.
pub(super) struct Answered {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
}

impl Upstream {
    pub(super) fn new(endpoint: &str) -> io::Result<Self> {
        let is_plain = endpoint.starts_with("http://");
        let uri = format!("{}/", endpoint.trim_end_matches('/')).parse().ok();
        let Some(uri) = uri.filter(|_| is_plain) else {
            return Err(io::Error::other(format!(
                "the fault proxy can stand before `http://HOST:PORT` only, not before `{endpoint}`: \
                 requests to AWS are encrypted, and signed with the host's name"
            )));
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(LIMIT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            uri,
            client,
            keys: Mutex::default(),
        })
    }

    /// A POST with these headers and this body.
    pub(super) async fn post(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answered, Box<dyn Error + Send + Sync>> {
        let mut request = Request::post(&self.uri).body(Full::new(body))?;
        *request.headers_mut() = headers.clone();
        // The client sets them as they are for this connection and body.
        for own in [HOST, CONTENT_LENGTH] {
            request.headers_mut().remove(own);
        }
        let answer = timeout(LIMIT, self.client.request(request)).await??;
        let (head, body) = answer.into_parts();
        let body = timeout(LIMIT, body.collect()).await??.to_bytes();
        Ok(Answered { head, body })
    }

    /// Which item a request touches: its table and key. `None` where no such table is known.
    pub(super) async fn item(&self, touch: &Touch<'_>, headers: &HeaderMap) -> Option<String> {
        let keys = self.keys(touch.table, headers).await?;
        let key: Vec<&Value> = keys
            .iter()
            .map(|name| touch.attributes.get(name).unwrap_or(&Value::Null))
            .collect();
        Some(json!([touch.table, key]).to_string())
    }

    /// A table that is deleted may come back with another key.
    pub(super) fn forget(&self, table: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(table);
    }

    async fn keys(&self, table: &str, headers: &HeaderMap) -> Option<Vec<String>> {
        let known = |keys: &HashMap<_, Vec<String>>| keys.get(table).cloned();
        if let Some(keys) = known(&self.keys.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(keys);
        }
        // Credentials and region are the client's: some servers keep a database for each.
        let mut headers = headers.clone();
        let target = HeaderValue::from_static("DynamoDB_20120810.DescribeTable");
        headers.insert(TARGET, target);
        let body = json!({"TableName": table}).to_string();
        let answer = self.post(&headers, body.into()).await.ok()?;
        let described: Value = serde_json::from_slice(&answer.body).ok()?;
        let schema = described["Table"]["KeySchema"].as_array()?;
        let names = schema.iter().map(|key| key["AttributeName"].as_str());
        let names: Option<Vec<String>> = names.map(|name| name.map(str::to_owned)).collect();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(table.to_owned(), names.clone()?);
        names
    }
}
