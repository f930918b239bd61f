//! The demo as it plays: a worker in a process of its own, the operator, the kills, the view.

use super::{
    DemoArguments, Files,
    crash::Crashes,
    operator,
    plan::Plan,
    process::Process,
    setup::{self, PARTITIONS, Places},
    verdict::{self, Verdict},
    watch::{Standing, Tail},
};
use crate::{
    cli::{exit::CommandError, output},
    run::open_store,
    sqlite::Access,
    store::Store,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often the stage looks around.
const TICK: Duration = Duration::from_millis(5);

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CommandError::OutOfReach(format!("no runtime: {error}")))
}

/// Plays the whole experiment and judges it.
pub(super) fn play(
    arguments: &DemoArguments,
    plan: &Plan,
    files: &Files,
) -> Result<Verdict, CommandError> {
    let places = setup::lay_out(arguments, plan, files)?;
    let store = open_store(&setup::config(files)?, Access::Existing)?;
    let mut stage = Stage {
        plan,
        places: &places,
        files,
        store: Arc::clone(&store),
        tail: Tail::new(&files.history),
        process: Process::new(plan, files),
        shown_at: Instant::now(),
        rounds: 0,
    };
    let runtime = runtime()?;
    let played = runtime.block_on(stage.run(arguments));
    stage.process.kill();
    played?;
    runtime.block_on(verdict::judge(
        arguments.cap,
        arguments.svg.as_deref(),
        plan,
        files,
        &places,
        store.as_ref(),
    ))
}

struct Stage<'a> {
    plan: &'a Plan,
    places: &'a Places,
    files: &'a Files,
    store: Arc<dyn Store>,
    tail: Tail,
    process: Process<'a>,
    shown_at: Instant,
    rounds: u32,
}

impl Stage<'_> {
    async fn run(&mut self, arguments: &DemoArguments) -> Result<(), CommandError> {
        let expected = self
            .plan
            .timing
            .scaled(650.0 * f64::from(arguments.requests) / 100.0);
        let patience = expected * 10 + Duration::from_secs(60);
        let mut crashes = Crashes::new(self.plan.timing.seed, expected / 2, arguments.crash);
        let began = Instant::now();
        self.process.start()?;
        let partitions = super::partitions(PARTITIONS);
        loop {
            tokio::time::sleep(TICK).await;
            self.look()?;
            let view = &self.tail.view;
            let moving = [
                Standing::InFlight,
                Standing::Answered,
                Standing::Failed,
                Standing::Waiting,
            ]
            .iter()
            .any(|standing| view.count(*standing) > 0);
            let over = [Standing::Done, Standing::Skipped, Standing::Settled];
            let over: usize = over.iter().map(|standing| view.count(*standing)).sum();
            let all_known = view.records.len() == self.plan.requests.len();
            let idle = all_known && !moving;
            let valid = |partition: &_, item: &_| {
                operator::head(self.plan, self.places, partition, item)
                    .is_some_and(|request| self.plan.is_valid(request))
            };
            let round =
                operator::round(self.store.as_ref(), &partitions, idle, valid, output::now())
                    .await?;
            let decided = round.skipped + round.released > 0;
            if decided {
                self.rounds += 1;
                self.say(&format!(
                    "operator, round {}: {} skipped, {} chains released",
                    self.rounds, round.skipped, round.released
                ));
            }
            self.show();
            // What was parked is in no lane any more: it was passed, and the line that says so may have
            // died with a worker.
            let parked = self.tail.view.count(Standing::Parked);
            if idle && over + parked == self.plan.requests.len() && round.lanes.is_empty() {
                self.process.stop()?;
                return self.look();
            }
            if crashes.strike(began.elapsed(), &self.tail.view, decided) {
                self.process.kill();
                self.say(&format!(
                    "kill {}: the worker is killed and started again",
                    crashes.kills
                ));
                self.process.start()?;
            }
            self.process.check()?;
            if began.elapsed() > patience {
                let what = format!(
                    "after {} s {over} of {} requests are finished: it does not end",
                    patience.as_secs(),
                    self.plan.requests.len()
                );
                return Err(CommandError::Internal(what));
            }
        }
    }

    fn look(&mut self) -> Result<(), CommandError> {
        self.tail.look().map(|_| ()).map_err(|error| {
            let path = self.files.history.display();
            CommandError::OutOfReach(format!("cannot read {path}: {error}"))
        })
    }

    fn line(&self) -> String {
        let view = &self.tail.view;
        let count = |standing| view.count(standing);
        format!(
            "in flight {:>2}  answered {:>2}  to be retried {:>2}  waiting {:>3}  parked {:>3}  skipped {:>2}  done {:>3} of {}{}",
            count(Standing::InFlight),
            count(Standing::Answered),
            count(Standing::Failed),
            count(Standing::Waiting),
            count(Standing::Parked),
            count(Standing::Skipped),
            count(Standing::Done),
            self.plan.requests.len(),
            match count(Standing::Settled) {
                0 => String::new(),
                settled => format!("  settled without a line {settled}"),
            },
        )
    }

    fn show(&mut self) {
        let pace = if output::is_watched() {
            Duration::from_millis(50)
        } else {
            Duration::from_secs(2)
        };
        if self.shown_at.elapsed() >= pace {
            self.shown_at = Instant::now();
            output::progress(&self.line());
        }
    }

    fn say(&self, text: &str) {
        output::end_progress();
        output::note(text);
    }
}
