//! One run of one reader: a process that reads a topic to its end and says how it went.

use super::{
    Options,
    cases::{Aim, CAP, Case, PARTITIONS, REHEARSAL_MAX, Skew},
    programs::{Programs, Reader},
};
use crate::kafka::Kafka;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;

/// A reader that has lost a record waits for it for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// What every harness prints: `benches/kafka/ledger.rs` says what each field is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) wrong: u64,
    pub(super) seconds: f64,
    pub(super) processor_seconds: f64,
    pub(super) peak_memory: u64,
    pub(super) bound_seconds: f64,
    pub(super) single_bound_seconds: f64,
    pub(super) p50: u64,
    pub(super) p99: u64,
}

impl Figures {
    pub(super) fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// Microseconds of processor time for one record.
    pub(super) fn processor(&self) -> f64 {
        self.processor_seconds * 1e6 / self.records as f64
    }

    /// 1: no schedule is faster. In runs of several, the bound is that of one record at a time.
    pub(super) fn of_bound(&self, case: &Case) -> f64 {
        let bound = if case.records_per_call > 1 {
            self.single_bound_seconds
        } else {
            self.bound_seconds
        };
        bound / self.seconds
    }

    /// One line of a round.
    pub(super) fn brief(&self, case: &Case) -> String {
        let rate = self.rate();
        match case.aim {
            Aim::Throughput => format!("{rate:10.0}/s"),
            Aim::Handlers => format!("{rate:10.0}/s  {:.3} of the bound", self.of_bound(case)),
            Aim::Latency => format!("{rate:10.0}/s  p50 {} us, p99 {} us", self.p50, self.p99),
        }
    }
}

/// Topics of a case by how many records they have, and the one of the rehearsal.
pub(super) type Topics = BTreeMap<u64, String>;

pub(super) struct Bench<'a> {
    programs: &'a Programs,
    kafka: &'a Kafka,
    environment: Vec<(&'static str, String)>,
    rehearsal: String,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        programs: &'a Programs,
        kafka: &'a Kafka,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            programs,
            kafka,
            environment,
            rehearsal: Kafka::topic_name(),
        }
    }

    /// Fills the topic that a JVM rehearses with.
    ///
    /// # Errors
    /// When it cannot be filled.
    pub(super) fn rehearse_with(&self) -> io::Result<()> {
        let fill = Filling {
            topic: &self.rehearsal,
            records: REHEARSAL_MAX,
            warm_up: 0,
            bytes: 100,
            skew: Skew::Uniform,
            rate: 0,
            has_mistake: false,
        };
        self.succeed(&mut self.producer(&fill))
    }

    /// Shows each reader a topic in which one record comes twice and another never.
    ///
    /// # Errors
    /// When one of them does not see it: it would not see a mistake of its own either.
    pub(super) fn show_mistake(&self, readers: &[Reader]) -> io::Result<()> {
        let case = Case::with_mistake();
        let topic = Kafka::topic_name();
        let filling = Filling {
            has_mistake: true,
            ..Filling::of(&case, &topic, case.records)
        };
        self.succeed(&mut self.producer(&filling))?;
        for reader in readers {
            let mut command = self.reader(&case, *reader, &topic, case.records);
            let figures = Running::start(&mut command, None)?.figures(*reader)?;
            if figures.wrong == 0 {
                return Err(io::Error::other(format!(
                    "{} does not see that a record came twice: its figures are worth nothing",
                    reader.name()
                )));
            }
        }
        self.kafka.delete_topic(&topic)
    }

    /// Fills the topics of a case, unless they are filled while they are read.
    ///
    /// # Errors
    /// When one cannot be filled.
    pub(super) fn fill(&self, case: &Case, options: &Options) -> io::Result<Topics> {
        let mut topics = Topics::new();
        if case.rate.is_some() {
            return Ok(topics);
        }
        for reader in case.readers(options) {
            let records = case.records(reader, options);
            if topics.contains_key(&records) {
                continue;
            }
            let topic = Kafka::topic_name();
            self.succeed(&mut self.producer(&Filling::of(case, &topic, records)))?;
            topics.insert(records, topic);
        }
        Ok(topics)
    }

    /// Deletes the topics of a case.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(super) fn forget(&self, topics: &Topics) -> io::Result<()> {
        let mut topics = topics.values();
        topics.try_for_each(|topic| self.kafka.delete_topic(topic))
    }

    /// Lets a reader read all of its topic.
    ///
    /// # Errors
    /// When it fails, takes too long, or has not seen each record once and in the order of its key.
    pub(super) fn read(
        &self,
        case: &Case,
        reader: Reader,
        topics: &Topics,
        options: &Options,
    ) -> io::Result<Figures> {
        let records = case.records(reader, options);
        let own = Kafka::topic_name();
        let topic = topics.get(&records).unwrap_or(&own);
        let producer = match case.rate {
            Some(_) => Some(self.start_producer(case, topic, records)?),
            None => None,
        };
        let mut command = self.reader(case, reader, topic, records);
        let figures = Running::start(&mut command, producer)?.figures(reader)?;
        if case.rate.is_some() {
            self.kafka.delete_topic(topic)?;
        }
        if figures.wrong > 0 || figures.records != records {
            return Err(io::Error::other(format!(
                "{} read {} of {records} records, {} of them out of the order of their keys, twice \
                 or two of one key at once: its figures are worth nothing",
                reader.name(),
                figures.records,
                figures.wrong
            )));
        }
        Ok(figures)
    }

    fn reader(&self, case: &Case, reader: Reader, topic: &str, records: u64) -> Command {
        let mut command = self.programs.reader(reader);
        arguments(
            &mut command,
            &[
                ("--servers", self.kafka.bootstrap().to_owned()),
                ("--topic", topic.to_owned()),
                ("--group", Kafka::topic_name()),
                ("--records", records.to_string()),
                ("--warm-up", case.warm_up().to_string()),
                ("--keys", case.skew.keys().to_string()),
                ("--cap", CAP.to_string()),
                ("--records-per-call", case.records_per_call.to_string()),
                ("--delay", case.delay.to_string()),
                ("--latencies", yes_or_no(case.rate.is_some())),
            ],
        );
        if reader == Reader::ParallelConsumer {
            let rehearsal = [
                ("--rehearsal", self.rehearsal.clone()),
                ("--rehearsal-records", case.rehearsal().to_string()),
            ];
            arguments(&mut command, &rehearsal);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    fn start_producer(&self, case: &Case, topic: &str, records: u64) -> io::Result<Child> {
        // It has made the topic when the reader asks for it: a reader that comes first finds none.
        let mut child = self
            .producer(&Filling::of(case, topic, records))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("the producer has no output"))?;
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "filled" {
            return Ok(child);
        }
        child.kill()?;
        let status = child.wait()?;
        Err(io::Error::other(format!(
            "the producer said `{line}` and ended with {status}"
        )))
    }

    fn producer(&self, fill: &Filling<'_>) -> Command {
        let mut command = self.programs.producer();
        arguments(
            &mut command,
            &[
                ("--servers", self.kafka.bootstrap().to_owned()),
                ("--topic", fill.topic.to_owned()),
                ("--partitions", PARTITIONS.to_string()),
                ("--records", fill.records.to_string()),
                ("--warm-up", fill.warm_up.to_string()),
                ("--keys", fill.skew.keys().to_string()),
                ("--skew", fill.skew.name().to_owned()),
                ("--bytes", fill.bytes.to_string()),
                ("--rate", fill.rate.to_string()),
                ("--mistake", yes_or_no(fill.has_mistake)),
            ],
        );
        command
    }

    fn succeed(&self, command: &mut Command) -> io::Result<()> {
        let status = command.stdout(Stdio::null()).status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{command:?} at {} ended with {status}",
            self.kafka.bootstrap()
        )))
    }
}

/// What a topic is filled with.
struct Filling<'a> {
    topic: &'a str,
    records: u64,
    warm_up: u64,
    bytes: u32,
    skew: Skew,
    rate: u64,
    has_mistake: bool,
}

impl<'a> Filling<'a> {
    fn of(case: &Case, topic: &'a str, records: u64) -> Self {
        Self {
            topic,
            records,
            warm_up: case.warm_up(),
            bytes: case.bytes,
            skew: case.skew,
            rate: case.rate.unwrap_or(0),
            has_mistake: false,
        }
    }
}

fn yes_or_no(whether: bool) -> String {
    if whether { "yes" } else { "no" }.to_owned()
}

fn arguments(command: &mut Command, pairs: &[(&str, String)]) {
    for (name, value) in pairs {
        command.arg(name).arg(value);
    }
}

/// A reader, and who sends to it meanwhile. Dropped, both end.
struct Running {
    reader: Child,
    producer: Option<Child>,
    lines: Receiver<String>,
    /// What it says of errors: Parallel Consumer says some at each end, which mean nothing.
    words: NamedTempFile,
}

impl Running {
    fn start(command: &mut Command, producer: Option<Child>) -> io::Result<Self> {
        let words = NamedTempFile::new()?;
        let mut reader = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(words.reopen()?)
            .spawn()?;
        let (sender, lines) = mpsc::channel();
        if let Some(output) = reader.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                // Nobody waits any more: the run has failed already.
                lines.for_each(|line| sender.send(line).unwrap_or_default());
            });
        }
        Ok(Self {
            reader,
            producer,
            lines,
            words,
        })
    }

    /// Lets the producer go on once the reader is warm; gives what the reader says at its end, and as an
    /// error what else it said.
    fn figures(mut self, reader: Reader) -> io::Result<Figures> {
        let line = self.last_line(reader.name()).map_err(|e| {
            let words = fs::read_to_string(self.words.path()).unwrap_or_default();
            io::Error::other(format!("{e}\n{words}"))
        })?;
        serde_json::from_str(&line)
            .map_err(|e| io::Error::other(format!("{} says `{line}`: {e}", reader.name())))
    }

    fn last_line(&mut self, name: &'static str) -> io::Result<String> {
        let began = Instant::now();
        let mut last = String::new();
        loop {
            let left = LIMIT.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == "warm" => {
                    let input = { self.producer.as_mut() }.and_then(|child| child.stdin.take());
                    if let Some(mut input) = input {
                        writeln!(input, "go on")?;
                    }
                }
                Ok(line) => last = line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::other(format!(
                        "{name} has not ended within {LIMIT:?}: a record is lost, or it is that slow"
                    )));
                }
            }
        }
        let mut ends = vec![(name, self.reader.wait()?)];
        if let Some(producer) = &mut self.producer {
            ends.push(("the producer", producer.wait()?));
        }
        match ends.into_iter().find(|(_, status)| !status.success()) {
            Some((who, status)) => Err(io::Error::other(format!("{who} ended with {status}"))),
            None => Ok(last),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let children = [Some(&mut self.reader), self.producer.as_mut()];
        for child in children.into_iter().flatten() {
            // It has ended already, or ends now.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}
