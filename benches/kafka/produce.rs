//! Fills a topic, at once or at a rate.

use super::{
    job::{number, text},
    ledger::{VALUE_MIN, since_epoch},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::{
    io::{self, Write as _},
    thread::sleep,
    time::{Duration, Instant},
};

/// So that every run reads the same keys in the same order.
const SEED: u64 = 1;

struct Filling {
    producer: BaseProducer,
    topic: String,
    draw: Box<dyn Fn(f64) -> usize>,
    random: fastrand::Rng,
    /// Per key, how many records it has.
    next: Vec<u32>,
    value: Vec<u8>,
    /// How many records until a mistake.
    mistake_in: Option<u64>,
}

/// Of `--servers HOST:PORT --topic T --partitions N --records N --warm-up N --keys N --skew uniform|zipf
/// --bytes N --rate N --mistake yes|no`: the first `--warm-up` records at once; then, where the rate is not 0, the others
/// once a line comes on standard input, so many a second. With a mistake, one record has the number of the
/// one of its key before it.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let number = |name: &str| number(args, name);
    let rate = number("--rate")?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", text(args, "--servers")?)
        .set("enable.idempotence", "true")
        .set("linger.ms", if rate == 0 { "20" } else { "1" })
        .set("queue.buffering.max.messages", "2000000");
    let topic = text(args, "--topic")?;
    create(&config, &topic, number("--partitions")?)?;
    let keys = usize::try_from(number("--keys")?).map_err(|e| e.to_string())?;
    let bytes = usize::try_from(number("--bytes")?).map_err(|e| e.to_string())?;
    let mut filling = Filling {
        producer: config.create().map_err(|e| e.to_string())?,
        topic,
        draw: match text(args, "--skew")?.as_str() {
            "zipf" => zipf(keys),
            "uniform" => uniform(keys),
            other => return Err(format!("`--skew {other}`: `uniform` or `zipf`")),
        },
        random: fastrand::Rng::with_seed(SEED),
        next: vec![0; keys],
        value: vec![b'x'; bytes.max(VALUE_MIN)],
        mistake_in: (text(args, "--mistake")? == "yes").then_some(number("--records")? / 2),
    };
    for n in 0..number("--warm-up")? {
        filling.send(since_epoch(), n % 1_000 == 0)?;
    }
    if rate == 0 {
        for n in 0..number("--records")? {
            filling.send(since_epoch(), n % 1_000 == 0)?;
        }
    } else {
        filling.flush()?;
        // The topic is there: a reader may come.
        let said = writeln!(io::stdout(), "filled").and_then(|()| io::stdout().flush());
        said.map_err(|e| e.to_string())?;
        let mut line = String::new();
        io::stdin()
            .read_line(&mut line)
            .map_err(|e| e.to_string())?;
        filling.send_at(rate, number("--records")?)?;
    }
    filling.flush()
}

impl Filling {
    /// Sends the next record, which was to be sent then.
    fn send(&mut self, intended: u64, polls: bool) -> Result<(), String> {
        let key = (self.draw)(self.random.f64());
        let number = u32::try_from(key).map_err(|e| e.to_string())?;
        self.value[..4].copy_from_slice(&number.to_le_bytes());
        let mut nth = self.next[key];
        self.mistake_in = self.mistake_in.and_then(|left| {
            let next = left.checked_sub(1);
            // A key's first record has none before it.
            if next.is_some() || nth == 0 {
                return Some(next.unwrap_or(0));
            }
            nth -= 1;
            None
        });
        self.value[4..8].copy_from_slice(&nth.to_le_bytes());
        self.value[8..16].copy_from_slice(&intended.to_le_bytes());
        self.next[key] += 1;
        let name = format!("key-{key}");
        let mut record = BaseRecord::to(&self.topic).key(&name).payload(&self.value);
        while let Err((error, again)) = self.producer.send(record) {
            let is_full =
                error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
            if !is_full {
                return Err(error.to_string());
            }
            record = again;
            self.producer.poll(Duration::from_millis(10));
        }
        if polls {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// A record that could not be sent in time carries the time at which it should have been.
    fn send_at(&mut self, rate: u64, records: u64) -> Result<(), String> {
        let (began, began_at) = (Instant::now(), since_epoch());
        for n in 0..records {
            let due = Duration::from_nanos(n * 1_000_000_000 / rate);
            if let Some(early) = due.checked_sub(began.elapsed()) {
                self.producer.poll(Duration::ZERO);
                sleep(early.max(Duration::from_millis(1)));
            }
            let offset = u64::try_from(due.as_micros()).map_err(|e| e.to_string())?;
            self.send(began_at + offset, n % 1_000 == 0)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), String> {
        let flushed = self.producer.flush(Duration::from_secs(60));
        flushed.map_err(|e| e.to_string())
    }
}

fn create(config: &ClientConfig, topic: &str, partitions: u64) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(|e| e.to_string())?;
    let partitions = i32::try_from(partitions).map_err(|e| e.to_string())?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let created = runtime.block_on(admin.create_topics(&[new], &AdminOptions::new()));
    for topic in created.map_err(|e| e.to_string())? {
        topic.map_err(|(topic, code)| format!("cannot make topic `{topic}`: {code}"))?;
    }
    Ok(())
}

fn uniform(keys: usize) -> Box<dyn Fn(f64) -> usize> {
    Box::new(move |u| ((u * keys as f64) as usize).min(keys - 1))
}

/// Zipf(1.0), by inversion of the cumulated weights.
fn zipf(keys: usize) -> Box<dyn Fn(f64) -> usize> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    Box::new(move |u| {
        let key = cumulated.partition_point(|c| *c < u * sum);
        key.min(keys - 1)
    })
}
