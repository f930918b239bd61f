//! `lanekeeper check`: looks at all that a run needs, without changing anything, and says how to mend
//! what is missing.

use super::{
    Common, block_on,
    ends::log_ends,
    exit::{self, CommandError, Exit},
    output,
    view::counted,
};
use crate::{
    config::{Config, HandlerKind, SourceConfig, SourceKind, StoreKind, duration_text, size_text},
    program::Program,
    run::{RunError, open_store, target},
    source::local::lock::Lock,
    sqlite::Access,
    store::sqlite::SqliteStore,
};
use clap::Args;
use serde::Serialize;
use std::{collections::BTreeSet, path::Path};

#[cfg(feature = "kafka")]
mod kafka;
mod places;
#[cfg(feature = "dynamodb")]
mod table;

#[derive(Args)]
#[command(after_help = "Example:\n  lanekeeper check -c lanekeeper.toml

It exits 0 when a run could start, 2 when the configuration must be changed, 4 when something is out \
of reach. It creates nothing, so that a full disk is not seen.")]
pub(crate) struct CheckArguments {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Finding {
    what: String,
    state: State,
    message: String,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Worth knowing; a run can start.
    Note,
    Wrong,
}

pub(crate) fn run(common: &Common, arguments: &CheckArguments) -> Result<Exit, CommandError> {
    let layers = common.layers();
    let mut findings = Findings(Vec::new());
    match Config::load(&layers) {
        Ok(config) => {
            let file = layers.file.as_deref().map_or_else(
                || "no file".to_owned(),
                |path| format!("`{}`", path.display()),
            );
            findings.ok("configuration", file);
            findings.look(&config, common.program());
        }
        Err(errors) => {
            for error in errors.0 {
                findings.wrong("configuration", error.to_string(), Exit::Usage);
            }
        }
    }
    findings.tell(arguments.json)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &str, state: State, message: String, exit: Exit) {
        self.0.push(Finding {
            what: what.to_owned(),
            state,
            message,
            exit,
        });
    }

    fn ok(&mut self, what: &str, message: String) {
        self.add(what, State::Ok, message, Exit::Fine);
    }

    fn note(&mut self, what: &str, message: String) {
        self.add(what, State::Note, message, Exit::Fine);
    }

    fn wrong(&mut self, what: &str, message: String, exit: Exit) {
        self.add(what, State::Wrong, message, exit);
    }

    fn look(&mut self, config: &Config, program: Option<&Program>) {
        self.ok(
            "cap",
            format!(
                "at most {} handler calls in flight per process: with n processes n × {}",
                config.cap, config.cap
            ),
        );
        self.ok(
            "limits",
            format!(
                "a try takes at most {}, a drain {}, buffered records {}",
                duration_text(config.failure.timeout),
                duration_text(config.drain),
                size_text(config.memory)
            ),
        );
        self.handler(config, program);
        let readable = self.store(config);
        for source in &config.sources {
            self.source(config, source, readable);
        }
        #[cfg(feature = "kafka")]
        self.kafka_dead_letter(config);
        self.locks(config);
    }

    fn handler(&mut self, config: &Config, program: Option<&Program>) {
        let target = block_on(async {
            // Within the runtime it is dropped, too.
            Ok(match program {
                Some(program) => program.target(config).await.map(drop),
                None => target(config).await.map(drop),
            })
        });
        match (target, &config.handler.kind) {
            (Err(error), _) => self.wrong("handler", error.to_string(), error.exit()),
            (Ok(Err(error)), _) => {
                self.wrong("handler", error.to_string(), exit::of_target(&error));
            }
            (Ok(Ok(())), Some(HandlerKind::Exec { command, .. })) => self.ok(
                "handler",
                format!("the program of `{}` is there", command.join(" ")),
            ),
            (Ok(Ok(())), Some(HandlerKind::Http { .. })) => {
                self.ok(
                    "handler",
                    "the host of `handler.url` accepts connections".to_owned(),
                );
            }
            (Ok(Ok(())), None) => self.ok("handler", "this program's own, in Rust".to_owned()),
        }
    }

    /// Gives whether its checkpoints can be asked for.
    fn store(&mut self, config: &Config) -> bool {
        match &config.store.kind {
            StoreKind::Local { path } => {
                self.file(config, path);
                true
            }
            #[cfg(feature = "dynamodb")]
            StoreKind::Dynamodb { table } => self.table(config, table),
            // A configuration that names it is refused before.
            #[cfg(not(feature = "dynamodb"))]
            StoreKind::Dynamodb { .. } => false,
        }
    }

    fn file(&mut self, config: &Config, path: &Path) {
        if is_new(path) {
            self.new_file("store", path);
            return;
        }
        self.writable("store", path);
        // A file without the store's tables is well: a run adds them, this does not.
        let found = match SqliteStore::is_missing(path) {
            Ok(true) => Ok(SqliteStore::description(path, &config.app)),
            Ok(false) => open_store(config, Access::Read).map(|store| store.describe()),
            Err(error) => Err(RunError::from(error)),
        };
        match found {
            Ok(described) => self.ok("store", described),
            Err(error) => {
                let exit = CommandError::from(error);
                self.wrong("store", exit.to_string(), exit.exit());
            }
        }
    }

    /// Whether this user may write a file that is there.
    fn writable(&mut self, what: &str, path: &Path) {
        if !path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() {
            let message = format!("`{}` is not writable for this user", path.display());
            self.wrong(what, message, Exit::OutOfReach);
        }
    }

    /// A file that a run would create, or that is empty still.
    fn new_file(&mut self, what: &str, path: &Path) {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let (file, folder) = (path.display(), directory.display());
        if !directory.is_dir() {
            let message = format!("`{file}` cannot be created: there is no directory `{folder}`");
            self.wrong(what, message, Exit::OutOfReach);
        } else if rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err() {
            let message =
                format!("`{file}` cannot be created: `{folder}` is not writable for this user");
            self.wrong(what, message, Exit::OutOfReach);
        } else {
            self.note(
                what,
                if path.exists() {
                    format!("`{file}` is empty: `run` or `put` makes it a store")
                } else {
                    format!("`{file}` is not there yet: `run` or `put` creates it")
                },
            );
        }
    }

    fn source(&mut self, config: &Config, source: &SourceConfig, store_readable: bool) {
        let what = format!("sources.{}", source.name);
        let SourceKind::Local { path, topic, .. } = &source.kind else {
            #[cfg(feature = "kafka")]
            self.kafka(&what, config, source, store_readable);
            return;
        };
        if is_new(path) {
            self.new_file(&what, path);
            return;
        }
        match log_ends(&source.name, path, topic) {
            Ok(ends) if ends.is_empty() => self.note(
                &what,
                format!(
                    "topic `{topic}` of `{}` is not there yet: `lanekeeper put --topic {topic}` creates \
                     it, and a run waits for it",
                    path.display()
                ),
            ),
            Ok(ends) => {
                let held: u64 = ends.iter().map(|(_, end)| end.held()).sum();
                self.ok(
                    &what,
                    format!(
                        "topic `{topic}` of `{}`: {} in {}",
                        path.display(),
                        counted(held, "record"),
                        counted(ends.len() as u64, "partition")
                    ),
                );
                if store_readable {
                    self.places(&what, config, source);
                }
            }
            Err(error) => {
                let error = exit::log_error(&error, error.to_string());
                self.wrong(&what, error.to_string(), error.exit());
            }
        }
    }

    /// Whether the log is the one that the checkpoints are of, and holds what they need.
    fn places(&mut self, what: &str, config: &Config, source: &SourceConfig) {
        match places::foreseen(config, source) {
            Ok(all) => {
                for place in all {
                    match place {
                        Ok(gap) => self.note(what, gap),
                        Err(error) => self.wrong(what, error, Exit::OutOfReach),
                    }
                }
            }
            // What is wrong with the store is said of the store.
            Err(error) => tracing::debug!("{what}: checkpoints could not be read: {error}"),
        }
    }

    /// Whether somebody runs the app already.
    fn locks(&mut self, config: &Config) {
        let paths: BTreeSet<&Path> = { &config.sources }
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::Local { path, .. } => Some(path.as_path()),
                SourceKind::Kafka { .. }
                | SourceKind::Kinesis { .. }
                | SourceKind::DynamodbStreams { .. }
                | SourceKind::Sqs { .. } => None,
            })
            .collect();
        for path in paths {
            if let Err(error) = Lock::is_writable(path, &config.app) {
                // Without its folder there is no log either, which is said above.
                if path.exists() {
                    self.wrong("lock", error.to_string(), Exit::OutOfReach);
                }
                continue;
            }
            match Lock::named_holder(path, &config.app) {
                Some(holder) if holder.works() => self.note(
                    "lock",
                    format!(
                        "app `{}` is run by {holder}: a second `run` on `{}` would be refused",
                        config.app,
                        path.display()
                    ),
                ),
                Some(_) | None => {
                    self.ok(
                        "lock",
                        format!("nobody runs app `{}` on `{}`", config.app, path.display()),
                    );
                }
            }
        }
    }

    fn tell(self, json: bool) -> Result<Exit, CommandError> {
        let exit = { &self.0 }
            .iter()
            .fold(Exit::Fine, |worst, finding| worst.worse(finding.exit));
        if json {
            output::json(&serde_json::json!({
                "format": 1,
                "ok": exit == Exit::Fine,
                "findings": self.0,
            }))?;
            return Ok(exit);
        }
        for finding in &self.0 {
            let state = match finding.state {
                State::Ok => "ok   ",
                State::Note => "note ",
                State::Wrong => "WRONG",
            };
            output::data(&format!("{state}  {}: {}", finding.what, finding.message))?;
        }
        if exit == Exit::Fine {
            output::note("a run can start");
        }
        Ok(exit)
    }
}

/// A file that is not there, or has nothing in it.
fn is_new(path: &Path) -> bool {
    !path.exists() || (path.is_file() && path.metadata().is_ok_and(|file| file.len() == 0))
}
