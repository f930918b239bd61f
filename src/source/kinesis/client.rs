//! The service, asked.

use super::{Begin, Page, Row, Shard, Shards, StreamError};
use crate::{aws, position::Position};
use aws_config::Region;
use aws_sdk_kinesis::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{self, ShardIteratorType},
};
use futures_util::future::BoxFuture;
use std::{error::Error, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// The ARN of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamArn(String);

impl StreamArn {
    /// Of a stream's ARN, or of that of a consumer that is registered with it
    /// (`…:stream/NAME/consumer/NAME:TIME`); `None`: it is neither.
    pub fn new(arn: &str) -> Option<Self> {
        let stream = arn
            .split_once("/consumer/")
            .map_or(arn, |(stream, _)| stream);
        let parts: Vec<&str> = stream.splitn(6, ':').collect();
        let ["arn", _, "kinesis", region, _, resource] = parts[..] else {
            return None;
        };
        let name = resource.strip_prefix("stream/")?;
        let is_sound = !region.is_empty() && !name.is_empty() && !name.contains('/');
        is_sound.then(|| Self(stream.to_owned()))
    }

    /// As AWS writes it.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn region(&self) -> Option<&str> {
        self.0.split(':').nth(3)
    }
}

/// A stream of the service. Credentials and endpoint (`AWS_ENDPOINT_URL_KINESIS`) are found as by every AWS
/// tool; the region is that of its ARN.
pub struct KinesisStream {
    arn: StreamArn,
    client: OnceCell<Client>,
}

/// What is asked, its permission, and what an unknown resource means.
struct Question {
    operation: &'static str,
    /// Whether what was not found is a place in the stream, and not the stream.
    is_of_a_place: bool,
}

const LIST: Question = Question {
    operation: "ListShards",
    is_of_a_place: false,
};
const SUMMARY: Question = Question {
    operation: "DescribeStreamSummary",
    is_of_a_place: false,
};
const ITERATOR: Question = Question {
    operation: "GetShardIterator",
    is_of_a_place: true,
};
const RECORDS: Question = Question {
    operation: "GetRecords",
    is_of_a_place: false,
};

impl KinesisStream {
    /// Nothing is asked yet.
    pub fn new(arn: StreamArn) -> Self {
        Self {
            arn,
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> &Client {
        let connect = || async {
            let mut loader = aws::loader();
            if let Some(region) = self.arn.region() {
                loader = loader.region(Region::new(region.to_owned()));
            }
            Client::new(&loader.load().await)
        };
        self.client.get_or_init(connect).await
    }

    fn failed<E>(&self, question: &Question, error: &SdkError<E, HttpResponse>) -> StreamError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let name = self.arn.text();
        let operation = question.operation;
        let Some(service) = error.as_service_error() else {
            let told = aws::causes(error);
            return StreamError::OutOfReach(format!("stream `{name}`, {operation}: {told}"));
        };
        let code = service.code().unwrap_or_default();
        let message = service.message().unwrap_or_default();
        let said = [code, message].into_iter().filter(|text| !text.is_empty());
        let said = said.collect::<Vec<_>>().join(": ");
        judged(
            question,
            code,
            &format!("stream `{name}`, {operation}: {said}"),
        )
    }

    fn unreadable(&self, what: &str) -> StreamError {
        StreamError::Refused(format!("stream `{}`: {what}", self.arn.text()))
    }

    async fn list(&self) -> Result<Vec<Shard>, StreamError> {
        let client = self.client().await;
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut request = client.list_shards();
            request = match token.take() {
                Some(token) => request.next_token(token),
                None => request.stream_arn(self.arn.text()),
            };
            let answer = request.send().await;
            let answer = answer.map_err(|error| self.failed(&LIST, &error))?;
            for shard in answer.shards() {
                shards.push(self.shard(shard)?);
            }
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    fn shard(&self, shard: &types::Shard) -> Result<Shard, StreamError> {
        let id = shard.shard_id();
        let number = |text: &str| {
            Position::sequence(text, None)
                .map_err(|error| self.unreadable(&format!("shard `{id}`: {error}")))
        };
        let range = shard.sequence_number_range();
        let first = range.map_or("0", |range| range.starting_sequence_number());
        let last = range.and_then(|range| range.ending_sequence_number());
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        Ok(Shard {
            id: id.into(),
            parents: parents.into_iter().flatten().map(Arc::from).collect(),
            first: number(first)?,
            last: last.map(number).transpose()?,
        })
    }

    async fn iterate(&self, shard: &str, begin: &Begin) -> Result<String, StreamError> {
        let client = self.client().await;
        let request = { client.get_shard_iterator() }
            .stream_arn(self.arn.text())
            .shard_id(shard);
        let numbered = |position: &Position| position.number().unwrap_or("0").to_owned();
        let request = match begin {
            Begin::Horizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Begin::At(position) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(numbered(position)),
            Begin::After(position) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(numbered(position)),
            Begin::Time(millis) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*millis)),
        };
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.failed(&ITERATOR, &error))?;
        let iterator = answer.shard_iterator().map(str::to_owned);
        iterator.ok_or_else(|| self.unreadable(&format!("no iterator for shard `{shard}`")))
    }

    async fn read(&self, iterator: &str, max: u32) -> Result<Page, StreamError> {
        let client = self.client().await;
        let limit = i32::try_from(max).unwrap_or(i32::MAX);
        let request = { client.get_records() }
            .stream_arn(self.arn.text())
            .shard_iterator(iterator)
            .limit(limit);
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.failed(&RECORDS, &error))?;
        let (next, behind) = (
            answer.next_shard_iterator().map(str::to_owned),
            answer.millis_behind_latest(),
        );
        let rows = answer.records.into_iter().map(|record| self.row(record));
        Ok(Page {
            rows: rows.collect::<Result<_, _>>()?,
            next,
            behind,
        })
    }

    fn row(&self, record: types::Record) -> Result<Row, StreamError> {
        let position = Position::sequence(record.sequence_number(), None);
        let position = position.map_err(|error| self.unreadable(&error.to_string()))?;
        let arrival = record.approximate_arrival_timestamp();
        Ok(Row {
            position,
            arrival: arrival.and_then(|time| time.to_millis().ok()),
            key: record.partition_key.filter(|key| !key.is_empty()),
            data: record.data.into_inner(),
        })
    }
}

/// What follows from an error of the service.
fn judged(question: &Question, code: &str, said: &str) -> StreamError {
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ThrottlingException"
        | "KMSThrottlingException" => StreamError::Throttled(said.to_owned()),
        "ExpiredIteratorException" => StreamError::Expired(said.to_owned()),
        "AccessDeniedException" | "AccessDenied" => StreamError::Refused(format!(
            "{said}: give the role `kinesis:{}` on the stream (deploy/iam/recovery.json)",
            question.operation
        )),
        "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => StreamError::Refused(format!(
            "{said}: the stream is encrypted; give the role `kms:Decrypt` on its key, and see that the key is enabled"
        )),
        "ResourceNotFoundException" | "InvalidArgumentException" if question.is_of_a_place => {
            StreamError::Gone(said.to_owned())
        }
        "ResourceNotFoundException" => StreamError::Refused(format!(
            "{said}: there is no such stream in this region and account; correct the source's `arn`"
        )),
        "InvalidArgumentException" | "ValidationException" => StreamError::Refused(said.to_owned()),
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "MissingAuthenticationTokenException" => {
            StreamError::Refused(format!("{said}: look at the credentials"))
        }
        _ => StreamError::OutOfReach(said.to_owned()),
    }
}

impl Shards for KinesisStream {
    fn describe(&self) -> String {
        format!("stream `{}`", self.arn.text())
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<Shard>, StreamError>> {
        Box::pin(self.list())
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration, StreamError>> {
        Box::pin(async move {
            let client = self.client().await;
            let request = client.describe_stream_summary().stream_arn(self.arn.text());
            let answer = request.send().await;
            let answer = answer.map_err(|error| self.failed(&SUMMARY, &error))?;
            let hours = { answer.stream_description_summary() }
                .map_or(24, |summary| summary.retention_period_hours());
            let hours = u64::try_from(hours).unwrap_or(24);
            Ok(Duration::from_secs(hours * 60 * 60))
        })
    }

    fn iterator<'a>(
        &'a self,
        shard: &'a str,
        begin: &'a Begin,
    ) -> BoxFuture<'a, Result<String, StreamError>> {
        Box::pin(self.iterate(shard, begin))
    }

    fn page<'a>(&'a self, iterator: &'a str, max: u32) -> BoxFuture<'a, Result<Page, StreamError>> {
        Box::pin(self.read(iterator, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";

    #[test]
    fn a_consumers_arn_names_its_stream() {
        let of = |arn: &str| StreamArn::new(arn).map(|arn| arn.text().to_owned());
        let consumer = format!("{STREAM}/consumer/billing:1700000000");
        assert_eq!(of(STREAM).as_deref(), Some(STREAM));
        assert_eq!(of(&consumer).as_deref(), Some(STREAM));
        let region = StreamArn::new(&consumer).and_then(|arn| arn.region().map(str::to_owned));
        assert_eq!(region.as_deref(), Some("eu-central-1"));
        for arn in [
            "orders",
            "arn:aws:sqs:eu-central-1:123456789012:orders",
            "arn:aws:kinesis:eu-central-1:123456789012:stream/",
            "arn:aws:kinesis::123456789012:stream/orders",
        ] {
            assert_eq!(of(arn), None, "{arn}");
        }
    }

    #[test]
    fn an_error_says_what_is_missing_and_how_to_mend_it() {
        let told = |question: &Question, code: &str| judged(question, code, "said").to_string();
        for question in [&LIST, &SUMMARY, &ITERATOR, &RECORDS] {
            let denied = told(question, "AccessDeniedException");
            let permission = format!("`kinesis:{}`", question.operation);
            assert!(denied.contains(&permission), "{denied}");
        }
        assert!(told(&RECORDS, "KMSAccessDeniedException").contains("`kms:Decrypt`"));
        assert!(told(&LIST, "ResourceNotFoundException").contains("correct the source's `arn`"));
        let gone = |code| matches!(judged(&ITERATOR, code, ""), StreamError::Gone(_));
        assert!(gone("ResourceNotFoundException") && gone("InvalidArgumentException"));
        for code in ["LimitExceededException", "KMSThrottlingException"] {
            let throttled = judged(&RECORDS, code, "");
            assert!(matches!(throttled, StreamError::Throttled(_)), "{code}");
        }
        let unknown = judged(&RECORDS, "InternalFailureException", "");
        assert!(matches!(unknown, StreamError::OutOfReach(_)));
    }
}
