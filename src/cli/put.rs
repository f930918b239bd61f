//! `lanekeeper put`: lines of a file or a pipe become records of an embedded log.

use super::{
    Common,
    exit::{CommandError, Exit},
    output,
    view::counted,
};
use crate::{
    config::{Config, LOCAL_FILE, SourceKind},
    source::local::put::{self, BadLine, BadLines, KeyFrom, Options, Progress, PutError, Summary},
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Read from the input at a time.
const READ_BYTES: usize = 256 << 10;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper put --topic orders --key account requests.jsonl
  tail -F access.log | lanekeeper put --topic access
  lanekeeper put --topic orders --key /customer/id --from-line 4711 requests.jsonl

A record's value is its line's bytes without the line end. With --key each line is JSON whose key is \
a string (its UTF-8 bytes) or a number (its text as written), and a blank one is refused as any other that has \
none; without --key a blank line is a record with an empty value. Equal keys stay in order, in one \
partition. Interrupted or failed, it says which lines are in and how to go on.")]
pub(crate) struct PutArguments {
    /// The log's file [default: the configured source's of that topic, else lanekeeper.db].
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// The topic; created when it does not exist.
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Where a line's key stands: a top-level field, or a JSON pointer such as /customer/id.
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Lines without a usable key become records without key, instead of being bad.
    #[arg(long, requires = "key")]
    no_key: bool,
    /// Partitions of a new topic [default: 8]; fixed from then on.
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Leave out the lines before this one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// What to do with lines that are no records: end there, or write them to stderr and go on.
    #[arg(long, value_enum, default_value_t = Bad::Fail)]
    bad_lines: Bad,
    /// What to read; `-` is stdin.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Print what was done as a JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bad {
    Fail,
    Skip,
}

pub(crate) fn run(common: &Common, arguments: &PutArguments) -> Result<Exit, CommandError> {
    let options = Options {
        path: path(common, arguments)?,
        topic: arguments.topic.clone(),
        key: key(arguments)?,
        no_key: arguments.no_key,
        partitions: arguments.partitions,
        from_line: arguments.from_line,
        bad_lines: match arguments.bad_lines {
            Bad::Fail => BadLines::Fail,
            Bad::Skip => BadLines::Skip,
        },
    };
    let (input, length) = input(&arguments.file)?;
    let bar = bar(length);
    let input = BufReader::with_capacity(READ_BYTES, bar.wrap_read(input));
    let interrupted = interrupted()?;
    let mut progress = |progress: Progress<'_>| {
        match progress {
            Progress::Appended(summary) => bar.set_message(summary.records.to_string()),
            Progress::Bad(bad) => bar.suspend(|| output::note(&bad_line(&bad))),
            Progress::Waiting => {}
        }
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let done = put::put(&options, input, &mut progress);
    bar.finish_and_clear();
    let summary = done.map_err(put_error)?;
    tell(&options, &summary, arguments.json)?;
    if summary.stopped {
        let next = summary.through_line + 1;
        output::note(&format!("interrupted: go on with `--from-line {next}`"));
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Fine)
}

fn key(arguments: &PutArguments) -> Result<Option<KeyFrom>, CommandError> {
    let Some(key) = &arguments.key else {
        return Ok(None);
    };
    let usage = |error| CommandError::Usage(format!("--key: {error}"));
    key.parse().map(Some).map_err(usage)
}

/// The file of the local source that reads the topic, where there is a configuration.
fn path(common: &Common, arguments: &PutArguments) -> Result<PathBuf, CommandError> {
    if let Some(path) = &arguments.path {
        return Ok(path.clone());
    }
    let layers = common.layers();
    if layers.is_empty() {
        return Ok(LOCAL_FILE.into());
    }
    let config = Config::load(&layers)?;
    let mut topics = Vec::new();
    for source in &config.sources {
        if let SourceKind::Local { path, topic, .. } = &source.kind {
            if *topic == arguments.topic {
                return Ok(path.clone());
            }
            topics.push(format!("`{topic}`"));
        }
    }
    Err(CommandError::Usage(format!(
        "no local source of the configuration reads topic `{}` ({}): correct `--topic`, or name the \
         log's file with `--path`",
        output::shown(&arguments.topic),
        if topics.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there is {}", topics.join(", "))
        }
    )))
}

/// The input, and its length where it is known.
fn input(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CommandError> {
    if file == Path::new("-") {
        if io::stdin().is_terminal() {
            output::note("reading lines from the terminal; Ctrl-D ends");
        }
        return Ok((Box::new(io::stdin()), None));
    }
    let refused = |error: io::Error| {
        CommandError::Usage(format!("`{}` cannot be read: {error}", file.display()))
    };
    let opened = File::open(file).map_err(refused)?;
    let metadata = opened.metadata().map_err(refused)?;
    if metadata.is_dir() {
        return Err(refused(io::ErrorKind::IsADirectory.into()));
    }
    let length = Some(metadata.len()).filter(|_| metadata.is_file());
    Ok((Box::new(opened), length))
}

/// On a terminal, how far it is.
fn bar(length: Option<u64>) -> ProgressBar {
    if !output::is_watched() || length.is_none() && io::stdin().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:30} {percent}% {msg} records, {bytes_per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {msg} records, {bytes}, {bytes_per_sec}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style).with_message("0"),
        Err(_) => bar,
    }
}

/// Set by a signal: what was read until then goes in. A second one ends the process at once.
fn interrupted() -> Result<Arc<AtomicBool>, CommandError> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    super::machine::on_signals(move |count| {
        if count > 1 {
            std::process::exit(Exit::Interrupted as i32);
        }
        set.store(true, Ordering::Relaxed);
    })
    .map_err(|error| CommandError::Internal(format!("cannot wait for signals: {error}")))?;
    Ok(flag)
}

fn bad_line(bad: &BadLine<'_>) -> String {
    format!(
        "line {} left out: {}: {}",
        bad.number,
        bad.why,
        output::shown(&String::from_utf8_lossy(bad.line))
    )
}

fn put_error(error: PutError) -> CommandError {
    match &error {
        PutError::BadLine { .. } | PutError::FromLine { .. } | PutError::Input { .. } => {
            CommandError::Usage(error.to_string())
        }
        PutError::Log(log) | PutError::Append { error: log, .. } => {
            super::exit::log_error(log, error.to_string())
        }
    }
}

fn tell(options: &Options, summary: &Summary, json: bool) -> Result<(), CommandError> {
    if json {
        return output::json(&serde_json::json!({
            "format": 1,
            "path": options.path,
            "topic": options.topic,
            "partitions": summary.partitions,
            "records": summary.records,
            "bytes": summary.bytes,
            "bad_lines": summary.bad,
            "through_line": summary.through_line,
        }));
    }
    let bad = match summary.bad {
        0 => String::new(),
        n => format!(", {} left out", counted(n, "bad line")),
    };
    output::note(&format!(
        "{} appended to topic `{}` of `{}` ({}){bad}",
        counted(summary.records, "record"),
        options.topic,
        options.path.display(),
        counted(summary.partitions.into(), "partition"),
    ));
    Ok(())
}
