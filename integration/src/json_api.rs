//! Questions to a server that speaks as AWS does: JSON over plain HTTP, with any signature.

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::{error::Error, io, time::Duration};
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a connection is used again: a server in Node closes one after five seconds, which is seen here
/// only once it is too late.
const IDLE: Duration = Duration::from_secs(2);

/// One service at one endpoint, for callers that are not asynchronous.
pub(crate) struct JsonApi {
    endpoint: String,
    /// What its operations are called after: `Kinesis_20131202`.
    target: &'static str,
    /// As `Content-Type` says it: `1.1`.
    version: &'static str,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
}

impl JsonApi {
    pub(crate) fn new(
        endpoint: &str,
        target: &'static str,
        version: &'static str,
    ) -> io::Result<Self> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            target,
            version,
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .build_http(),
            runtime: runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// The answer, where it is one with status 200; no body is `Null`.
    pub(crate) fn ask(&self, operation: &str, body: &Value) -> io::Result<Value> {
        let asked = async { timeout(PATIENCE, self.send(operation, body)).await };
        let answer = self.runtime.block_on(asked);
        let (status, answer) = answer
            .map_err(|_| io::Error::other(format!("no answer to {operation} in {PATIENCE:?}")))?
            .map_err(|error| io::Error::other(format!("{operation}: {error}")))?;
        if status == 200 {
            Ok(serde_json::from_slice(&answer).unwrap_or_default())
        } else {
            let answer = String::from_utf8_lossy(&answer);
            Err(io::Error::other(format!(
                "{operation} {body} was answered by {status}: {answer}"
            )))
        }
    }

    async fn send(
        &self,
        operation: &str,
        body: &Value,
    ) -> Result<(u16, Bytes), Box<dyn Error + Send + Sync>> {
        let service = self.target.to_lowercase();
        let service = service.split('_').next().unwrap_or_default();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let request = Request::post(format!("{}/", self.endpoint))
            .header(
                "content-type",
                format!("application/x-amz-json-{}", self.version),
            )
            .header("x-amz-target", format!("{}.{operation}", self.target))
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", authorization)
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = self.client.request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
