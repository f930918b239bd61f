//! Reads all that an emulated stream has, again and again, as its shards tell it.

use crate::{
    json_api::JsonApi,
    lambda::{
        Sequence, StreamRecord,
        feed::{Feed, Shard},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use std::{
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// More than a test puts at once.
const RECORDS_MAX: u32 = 10_000;

pub(super) struct KinesisFeed {
    api: Arc<JsonApi>,
    stream: String,
    /// Of each shard, by its place: where reading goes on; `None`: it has ended.
    iterators: Vec<Option<String>>,
}

impl KinesisFeed {
    pub(super) fn new(api: Arc<JsonApi>, stream: &str) -> Self {
        Self {
            api,
            stream: stream.to_owned(),
            iterators: Vec::new(),
        }
    }

    /// Shards that were made since; they are told in order of their making.
    fn discover(&mut self, shards: &mut Vec<Shard>) -> io::Result<()> {
        let told = self
            .api
            .ask("ListShards", &json!({"StreamName": self.stream}))?;
        for shard in told["Shards"].as_array().into_iter().flatten() {
            let id = text(shard, "ShardId")?;
            if shards.iter().any(|known| known.id == id) {
                continue;
            }
            let from = json!({
                "StreamName": self.stream,
                "ShardId": id,
                "ShardIteratorType": "TRIM_HORIZON",
            });
            let iterator = self.api.ask("GetShardIterator", &from)?;
            self.iterators.push(Some(text(&iterator, "ShardIterator")?));
            let parents = ["ParentShardId", "AdjacentParentShardId"];
            let hash = |name: &str| {
                let digits = text(&shard["HashKeyRange"], name)?;
                digits.parse().map_err(io::Error::other)
            };
            shards.push(Shard {
                id,
                parents: { parents.iter() }
                    .filter_map(|name| Some(shard[*name].as_str()?.to_owned()))
                    .collect(),
                range: (hash("StartingHashKey")?, hash("EndingHashKey")?),
                is_closed: false,
                records: Vec::new(),
            });
        }
        Ok(())
    }

    /// What one shard has more; gives where reading goes on.
    fn read(&self, iterator: &str, shard: &mut Shard) -> io::Result<Option<String>> {
        let question = json!({"ShardIterator": iterator, "Limit": RECORDS_MAX});
        let told = self.api.ask("GetRecords", &question)?;
        for record in told["Records"].as_array().into_iter().flatten() {
            let data = BASE64
                .decode(text(record, "Data")?)
                .map_err(io::Error::other)?;
            let arrival = record["ApproximateArrivalTimestamp"]
                .as_f64()
                .unwrap_or_default();
            shard.records.push(Arc::new(StreamRecord {
                sequence: Sequence::new(&text(record, "SequenceNumber")?)?,
                key: record["PartitionKey"].as_str().map(str::to_owned),
                data,
                arrival: UNIX_EPOCH + Duration::from_secs_f64(arrival.max(0.0)),
            }));
        }
        // A closed shard ends where there is nothing behind.
        Ok(told["NextShardIterator"].as_str().map(str::to_owned))
    }
}

impl Feed for KinesisFeed {
    fn bring(&mut self, shards: &mut Vec<Shard>) -> io::Result<()> {
        self.discover(shards)?;
        for (place, shard) in shards.iter_mut().enumerate() {
            if let Some(iterator) = self.iterators[place].take() {
                self.iterators[place] = self.read(&iterator, shard)?;
                shard.is_closed = self.iterators[place].is_none();
            }
        }
        Ok(())
    }
}

fn text(value: &Value, name: &str) -> io::Result<String> {
    let text = value[name].as_str().map(str::to_owned);
    text.ok_or_else(|| io::Error::other(format!("Kinesis told no `{name}`: {value}")))
}
