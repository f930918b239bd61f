//! The Kinesis that tests talk to: an emulator of this process, and its streams as mappings read them.

mod feed;
mod package;
mod server;

use crate::{
    json_api::JsonApi,
    lambda::{Sequence, Stream},
    scene::eventually,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use feed::KinesisFeed;
use package::Package;
use serde_json::json;
use server::Server;
use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

/// The one emulator of this process.
static OWN: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// An emulator of Kinesis, which all tests of this process share. Dropped last, it ends.
pub struct Kinesis {
    server: Arc<Server>,
    api: Arc<JsonApi>,
}

impl Kinesis {
    /// Fetches the emulator, unless it is in the cache, and starts it, unless it runs.
    ///
    /// # Errors
    /// When it cannot be fetched or started; the message says what to do.
    pub fn start() -> io::Result<Self> {
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match own.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::start(&package_once()?)?),
        };
        *own = Arc::downgrade(&server);
        let api = api(server.endpoint())?;
        Ok(Self {
            server,
            api: Arc::new(api),
        })
    }

    /// Where it listens, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    /// What it is, for figures.
    pub fn name() -> String {
        format!("the emulator kinesis-local {}", package::version())
    }

    /// The environment with which a program that uses AWS's settings talks to it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("AWS_ENDPOINT_URL_KINESIS", self.endpoint().to_owned())]
    }

    /// A new stream with so many shards, as mappings read it: with shards, records, numbers and times of
    /// the emulator.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_stream(&self, shards: usize) -> io::Result<Stream> {
        let name = format!("lanekeeper-test-{:016x}", fastrand::u64(..));
        let stream = json!({"StreamName": name, "ShardCount": shards});
        self.api.ask("CreateStream", &stream)?;
        self.until_active(&name)?;
        let feed = KinesisFeed::new(Arc::clone(&self.api), &name);
        Ok(Stream::fed(&name, Box::new(feed)))
    }

    /// Puts a record.
    ///
    /// # Errors
    /// When it is refused.
    pub fn put(&self, stream: &Stream, key: &str, data: impl AsRef<[u8]>) -> io::Result<Sequence> {
        let record = json!({
            "StreamName": stream.name(),
            "PartitionKey": key,
            "Data": BASE64.encode(data),
        });
        let answer = self.api.ask("PutRecord", &record)?;
        Sequence::new(answer["SequenceNumber"].as_str().unwrap_or_default())
    }

    /// Splits a shard, by its number from 0, in the middle.
    ///
    /// # Errors
    /// When it is refused.
    pub fn split(&self, stream: &Stream, shard: usize) -> io::Result<()> {
        stream.refresh()?;
        let half = stream.look(|shards, _| {
            let shard = shards.get(shard)?;
            let (begin, end) = shard.range;
            Some((shard.id.clone(), begin + (end - begin) / 2 + 1))
        });
        let (id, half) = half.ok_or_else(|| io::Error::other(format!("no shard {shard}")))?;
        let split = json!({
            "StreamName": stream.name(),
            "ShardToSplit": id,
            "NewStartingHashKey": half.to_string(),
        });
        self.api.ask("SplitShard", &split)?;
        self.until_active(stream.name())
    }

    fn until_active(&self, stream: &str) -> io::Result<()> {
        let question = json!({"StreamName": stream});
        eventually(&format!("stream `{stream}`"), || {
            let told = self.api.ask("DescribeStreamSummary", &question)?;
            Ok(told["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")
        })
    }
}

fn api(endpoint: &str) -> io::Result<JsonApi> {
    JsonApi::new(endpoint, "Kinesis_20131202", "1.1")
}

/// Refused once, refused always: without a network, tests would try one after the other.
fn package_once() -> io::Result<Package> {
    static REFUSAL: OnceLock<String> = OnceLock::new();
    if let Some(refusal) = REFUSAL.get() {
        return Err(io::Error::other(refusal.as_str()));
    }
    Package::find_or_fetch().inspect_err(|error| REFUSAL.set(error.to_string()).unwrap_or_default())
}
