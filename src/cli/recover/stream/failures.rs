//! What a mapping has given up, as its on-failure destination names it: which part of which stream that is.

use super::{
    super::super::{
        exit::CommandError,
        output::{self, shown},
        stream::Streamed,
        view::records,
    },
    Part, Parts,
};
use crate::{
    config::{Config, SourceConfig, SourceKind, duration_text},
    lambda::{
        self, Delivered, Delivery, Event, MARKS_AFTER,
        recovery::{
            Start, Until, Work,
            destination::{self, GivenUp},
        },
    },
    position::Position,
    source::kinesis::{Begin, StreamArn},
};
use std::{io, path::Path};

/// Reads all that a file holds; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<GivenUp>, CommandError> {
    let text = match path == Path::new("-") {
        true => io::read_to_string(io::stdin()),
        false => std::fs::read_to_string(path),
    };
    let path = path.display();
    let text =
        text.map_err(|error| CommandError::Usage(format!("`{path}` cannot be read: {error}")))?;
    destination::read(&text).map_err(|error| CommandError::Usage(format!("`{path}`: {error}")))
}

/// What a mapping has given up.
pub(super) async fn lost<'c>(
    config: &'c Config,
    given_up: &[GivenUp],
) -> Result<Vec<Parts<'c>>, CommandError> {
    let mut all: Vec<Parts<'c>> = Vec::new();
    for source in of_sources(config, given_up)? {
        let own = given_up.iter().filter(|one| is_of(source, &one.stream));
        let own: Vec<&GivenUp> = own.collect();
        let mut streamed = Streamed::new(config, source)?;
        // An event that came along needs no stream, which may be gone.
        if own.iter().any(|one| one.payload.is_none()) {
            streamed.list().await?;
            streamed.marks_last().await?;
        }
        let mut ranges = { own.into_iter() }
            .map(|one| range(&streamed, one))
            .collect::<Result<Vec<_>, _>>()?;
        ranges.sort_by(|(a, _), (b, _)| a.cmp(b));
        let works = ranges.into_iter().map(|(_, part)| part).collect();
        all.push(Parts { streamed, works });
    }
    Ok(all)
}

fn is_of(source: &SourceConfig, stream: &str) -> bool {
    let SourceKind::Kinesis { arn } = &source.kind else {
        return false;
    };
    StreamArn::new(arn).is_some_and(|own| Some(own) == StreamArn::new(stream))
}

/// The sources that they are of, each once.
fn of_sources<'c>(
    config: &'c Config,
    given_up: &[GivenUp],
) -> Result<Vec<&'c SourceConfig>, CommandError> {
    for one in given_up {
        if !config
            .sources
            .iter()
            .any(|source| is_of(source, &one.stream))
        {
            return Err(CommandError::Usage(format!(
                "records of stream `{}` are given up, and no source of the configuration has it",
                shown(&one.stream)
            )));
        }
    }
    let is_meant = |source: &&SourceConfig| given_up.iter().any(|one| is_of(source, &one.stream));
    Ok(config.sources.iter().filter(is_meant).collect())
}

/// One range, and what it is sorted by: parents first, then by number.
fn range(
    streamed: &Streamed<'_>,
    one: &GivenUp,
) -> Result<((usize, Position), Part), CommandError> {
    let number = |text: &str| {
        Position::sequence(text, None)
            .map_err(|error| CommandError::Usage(format!("a record that is given up: {error}")))
    };
    let (first, last) = (number(&one.first)?, number(&one.last)?);
    let place = streamed
        .shards
        .iter()
        .position(|shard| *shard.id == *one.shard);
    let order = (place.unwrap_or_default(), first.clone());
    output::note(&format!(
        "given up ({}): {} of `{}`, {first} to {last}",
        shown(&one.condition),
        one.records.map_or_else(|| "records".to_owned(), records),
        shown(&one.shard)
    ));
    if let Some(payload) = &one.payload {
        let event = event(streamed, one, (&first, &last), payload)?;
        return Ok((order, Part::Event(Box::new(event))));
    }
    let Some(shard) = place.and_then(|place| streamed.shards.get(place)) else {
        let shard = one.shard.clone();
        return Ok((
            order,
            Part::Gone {
                shard,
                from: one.first.clone(),
            },
        ));
    };
    let work = Work {
        shard: shard.clone(),
        from: Start {
            begin: Begin::At(first.clone()),
            certain: Some(first),
        },
        until: Until::Through(last),
        key: None,
        on_gap: streamed.source.on_gap,
    };
    Ok((order, Part::Work(Box::new(work))))
}

/// The event that came along: what of it is in the range, if what was done of that is still known.
fn event(
    streamed: &Streamed<'_>,
    one: &GivenUp,
    range: (&Position, &Position),
    payload: &str,
) -> Result<Delivery, CommandError> {
    let is_own = |delivery: &Delivery| {
        let arn = delivery.source_arn().unwrap_or_default();
        is_of(streamed.source, arn)
    };
    let mut delivery = match lambda::decode(payload.as_bytes()) {
        Ok(Event::Delivery(delivery)) if is_own(&delivery) => delivery,
        Ok(Event::Delivery(_) | Event::Request(_)) => {
            return Err(CommandError::Usage(
                "its `payload` is no event of the stream that it names".to_owned(),
            ));
        }
        Err(error) => return Err(CommandError::Usage(format!("its `payload`: {error}"))),
    };
    let (first, last) = range;
    if !destination::keep(&mut delivery, &one.shard, range) {
        return Err(CommandError::Usage(format!(
            "its `payload` does not hold the range that it names, {first} to {last} of `{}`",
            shown(&one.shard)
        )));
    }
    let retention = streamed.config.lambda.retention;
    let kept = i64::try_from((retention + MARKS_AFTER).as_millis()).unwrap_or(i64::MAX);
    if let Some((at, arrived)) = older(&delivery, output::now().saturating_sub(kept)) {
        return Err(CommandError::Usage(format!(
            "record {} of `{}` in its `payload` arrived {}, and marks are kept for {} (`lambda.retention`, which has to be the function's) and a day: whether it was done may be forgotten, and it would run again; where you know that none of {first} to {last} was, let `lambda.retention` be longer than that is ago, by `--set`",
            at,
            shown(&one.shard),
            arrived.map_or_else(
                || "nobody knows when".to_owned(),
                |arrived| format!("at {}", output::moment(arrived))
            ),
            duration_text(retention)
        )));
    }
    Ok(delivery)
}

/// A record that arrived before this time, in milliseconds since 1970, and when; one that does not say when may
/// have.
fn older(delivery: &Delivery, since: i64) -> Option<(Position, Option<i64>)> {
    let mut entries = delivery.partitions.iter().flat_map(Delivered::entries);
    let old = entries.find(|entry| entry.timestamp().is_none_or(|at| at < since))?;
    Some((old.position().clone(), old.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpl;
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde_json::json;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:1:stream/s";
    const SHARD: &str = "shardId-000000000001";

    fn number(n: u32) -> String {
        format!(
            "{}",
            49_590_338_271_490_256_608_559_692_538_361_571_095_u128
        ) + &n.to_string()
    }

    /// An event of the records 1 to 4, which arrived then, of which this range is given up; the third one is an
    /// aggregate of two.
    fn given_up(first: u32, last: u32, arrived: i64) -> GivenUp {
        let record = |n: u32| {
            let two = [(0, None, &b"1"[..]), (0, None, &b"2"[..])];
            let data = match n {
                3 => BASE64.encode(kpl::tests::encode(&[b"k"], &[], &two)),
                _ => String::new(),
            };
            json!({
                "kinesis": {
                    "partitionKey": "k",
                    "sequenceNumber": number(n),
                    "data": data,
                    "approximateArrivalTimestamp": arrived as f64 / 1e3,
                },
                "eventSource": "aws:kinesis",
                "eventID": format!("{SHARD}:{}", number(n)),
                "eventSourceARN": ARN,
            })
        };
        let records: Vec<_> = (1..=4).map(record).collect();
        GivenUp {
            stream: ARN.to_owned(),
            shard: SHARD.to_owned(),
            first: number(first),
            last: number(last),
            records: None,
            condition: "RetryAttemptsExhausted".to_owned(),
            payload: Some(json!({ "Records": records }).to_string()),
        }
    }

    /// What is run of it, or why nothing is.
    fn run(more: &str, one: &GivenUp) -> Result<Vec<String>, String> {
        let text = format!(
            "app = \"a\"\ncap = 1\n[sources.s]\ntype = \"kinesis\"\narn = \"{ARN}\"\n[lambda]\n{more}"
        );
        let config = Config::from_toml(&text, Path::new("lanekeeper.toml")).expect("sound");
        let streamed = Streamed::new(&config, &config.sources[0]).expect("a stream");
        match range(&streamed, one) {
            Ok((_, Part::Event(delivery))) => {
                let entries = delivery.partitions.iter().flat_map(Delivered::entries);
                Ok(entries.map(|entry| entry.position().to_string()).collect())
            }
            Ok(_) => unreachable!("it came along"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn of_an_event_that_came_along_the_range_runs_that_was_given_up() {
        let now = output::now();
        let ran = |first, last| run("", &given_up(first, last, now)).expect("recent");
        let [one, other] = ["0", "1"].map(|sub| format!("{}:{sub}", number(3)));
        assert_eq!(ran(2, 3), [number(2), one.clone(), other.clone()]);
        assert_eq!(ran(3, 4), [one, other, number(4)]);
        assert_eq!(ran(1, 1), [number(1)]);
        for (first, last) in [(7, 9), (0, 2), (3, 5)] {
            let why = run("", &given_up(first, last, now)).expect_err("it is not all there");
            assert!(why.contains("does not hold the range"), "{why}");
        }
        let of_another = GivenUp {
            shard: "shardId-000000000002".to_owned(),
            ..given_up(2, 3, now)
        };
        let why = run("", &of_another).expect_err("nor is that shard");
        assert!(why.contains("does not hold the range"), "{why}");
    }

    #[test]
    fn an_event_that_is_older_than_marks_is_refused_unless_somebody_knows_better() {
        let hours = |n: i64| output::now() - n * 3_600_000;
        let day = "retention = \"24h\"";
        run(day, &given_up(1, 4, hours(47))).expect("marks are kept a day longer");
        let why = run(day, &given_up(1, 4, hours(49))).expect_err("they may be gone");
        assert!(
            why.contains("may be forgotten") && why.contains(SHARD),
            "{why}"
        );
        run("retention = \"48h\"", &given_up(1, 4, hours(49))).expect("said to be known");
    }
}
