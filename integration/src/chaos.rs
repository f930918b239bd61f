//! Chaos: members of a consumer group are killed, frozen, stopped and started, brokers restart, and the
//! network to the table fails, while records keep coming. Then all heals, and others than lanekeeper say
//! what became of the records: the target's own table, the workers' ledger, the audit of all histories.

mod deck;
mod fleet;
mod ledger;
mod stage;
mod traffic;
mod verdict;

pub use verdict::Report;

use deck::{Deck, Fault};
use fastrand::Rng;
use fleet::Fleet;
use ledger::Ledger;
use stage::Stage;
use std::{
    io::{self, Write as _},
    thread::sleep,
    time::{Duration, Instant},
};
use traffic::Traffic;

/// Names the app, and the group with it.
const APP: &str = "chaos";

/// Members that work side by side; a further one joins and leaves.
const MEMBERS: usize = 3;

/// Handler calls in flight of each member.
const CAP: u32 = 4;

/// Records of a call: each account's effects go to one item, which a commit writes once.
const RUN: u64 = 1;

const PARTITIONS: u32 = 8;

/// Most records of a partition that are in flight, or passed and not durable.
const UNFLUSHED: u64 = 50;

/// How long a member goes on without having proved that it owns a partition, in seconds.
const DRAIN: u64 = 4;

/// Records that have to be done after a fault until the next one comes: work is always under way.
const PROGRESS: usize = 25;

/// How long that, and the end of everything, may take: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the members keep what they know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// One SQLite file, which all of them share.
    Local,
    /// A table behind the fault proxy.
    Dynamodb,
}

/// What happens.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where draws begin. Faults come in the same order again; what they meet depends on the machine.
    pub seed: u64,
    /// Where checkpoints and effects go.
    pub store: Store,
    /// Brokers of the cluster that is started for it, at least one.
    pub brokers: usize,
    /// Faults are drawn for so long; `None`: one deck of them: 20 kills, 5 freezes, 2 restarts of
    /// brokers, and members that come and go.
    pub time: Option<Duration>,
}

/// Lets it happen. What is going on is written to standard output.
///
/// # Errors
/// When a guarantee is broken or nothing goes on; the message names what and where, the seed, and the
/// folder that stays. Also when a server cannot be started.
pub fn run(options: &Options) -> io::Result<Report> {
    say(&format!("chaos: seed {}", options.seed));
    let began = Instant::now();
    let mut stage = Stage::set(options)?;
    let played = Play::begin(options, &stage).and_then(|mut play| {
        play.faults()?;
        play.heal()?;
        play.judge()
    });
    match played {
        Ok(mut report) => {
            report.seconds = began.elapsed().as_secs();
            Ok(report)
        }
        Err(error) => Err(io::Error::other(format!(
            "{error}\nchaos failed with seed {}; what it left stands in {}",
            options.seed,
            stage.keep().display()
        ))),
    }
}

struct Play<'a> {
    options: &'a Options,
    stage: &'a Stage,
    random: Rng,
    ledger: Ledger,
    fleet: Fleet<'a>,
    traffic: Traffic,
    broker_restarts: u64,
    cut_offs: u64,
}

impl<'a> Play<'a> {
    fn begin(options: &'a Options, stage: &'a Stage) -> io::Result<Self> {
        let mut random = Rng::with_seed(options.seed);
        let traffic = Traffic::start(stage, random.fork())?;
        let mut play = Self {
            options,
            stage,
            ledger: Ledger::new(&stage.scene),
            fleet: Fleet::new(stage),
            traffic,
            random,
            broker_restarts: 0,
            cut_offs: 0,
        };
        for _ in 0..MEMBERS {
            play.fleet.start()?;
        }
        play.progress("the start")?;
        Ok(play)
    }

    /// Fault after fault, each once work goes on again after the one before.
    fn faults(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let mut deck = Deck::shuffled(&mut self.random);
        loop {
            let Some(fault) = deck.draw() else {
                let is_over = { self.options.time }.is_none_or(|time| began.elapsed() >= time);
                if is_over {
                    return Ok(());
                }
                deck = Deck::shuffled(&mut self.random);
                continue;
            };
            if self
                .options
                .time
                .is_some_and(|time| began.elapsed() >= time)
            {
                return Ok(());
            }
            self.stage.weather(&mut self.random);
            self.wait_up_to(1_500);
            say(&format!("{:>4} s: {fault}", began.elapsed().as_secs()));
            self.play(fault)?;
            self.progress(&fault.to_string())?;
        }
    }

    fn play(&mut self, fault: Fault) -> io::Result<()> {
        match fault {
            Fault::Kill(count) => {
                if self.fleet.members() < count {
                    self.fleet.fill_up(count)?;
                    self.progress("a start")?;
                }
                self.fleet.kill(&mut self.random, count)?;
                self.wait_up_to(1_000);
                self.fleet.fill_up(MEMBERS)
            }
            Fault::Freeze => {
                let index = self.fleet.freeze(&mut self.random, &mut self.ledger)?;
                self.wait_up_to(4_000);
                if self.random.bool() {
                    // Who takes over goes as well.
                    self.fleet.turn_over(&mut self.random, Some(index))?;
                }
                // Past what it may do unproved, and past its session.
                sleep(Duration::from_secs(DRAIN + 2));
                self.fleet.thaw(index)
            }
            Fault::TurnOver => self.fleet.turn_over(&mut self.random, None),
            Fault::Join => self.fleet.start(),
            Fault::Leave => self.fleet.leave(&mut self.random),
            Fault::RollBrokers => {
                for index in 0..self.options.brokers.max(1) {
                    self.stage.kafka.stop_broker(index)?;
                    self.wait_up_to(1_000);
                    self.stage.kafka.start_broker(index)?;
                    self.broker_restarts += 1;
                }
                Ok(())
            }
            Fault::KillBroker => {
                let index = self.random.usize(0..self.options.brokers.max(1));
                self.stage.kafka.kill_broker(index)?;
                self.wait_up_to(4_000);
                self.stage.kafka.start_broker(index)?;
                self.broker_restarts += 1;
                Ok(())
            }
            Fault::CutOff => {
                let millis = self.random.u64(500..6_000);
                self.cut_offs += u64::from(self.stage.cut_off(Duration::from_millis(millis)));
                Ok(())
            }
        }
    }

    fn wait_up_to(&mut self, millis: u64) {
        sleep(Duration::from_millis(self.random.u64(0..millis)));
    }

    /// Waits until records are done that were not when it was called.
    fn progress(&mut self, what: &str) -> io::Result<()> {
        self.ledger.read()?;
        let wanted = self.ledger.done() + PROGRESS;
        self.until(&format!("records to be done after {what}"), |play| {
            Ok(play.ledger.done() >= wanted)
        })
    }

    fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> io::Result<bool>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.ledger.read()?;
            self.traffic.done(self.ledger.done());
            self.fleet.revive()?;
            if holds(self)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "waited {PATIENCE:?} for {what}: {} of {} are done",
                    self.ledger.done(),
                    self.traffic.produced()
                )));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// No more faults and no more records: everything is done, and everybody stops in order.
    fn heal(&mut self) -> io::Result<()> {
        self.stage.heal();
        self.fleet.fill_up(MEMBERS)?;
        let accounts = self.traffic.stop()?;
        let wanted: u64 = accounts.values().sum();
        self.until("everything to be done", |play| {
            Ok(play.ledger.done() as u64 >= wanted)
        })?;
        if self.options.store == Store::Dynamodb {
            self.until("every effect", |play| {
                Ok(play.stage.applied()? == verdict::in_order(&accounts))
            })?;
        }
        self.fleet.stop_all()
    }

    fn judge(&mut self) -> io::Result<Report> {
        self.ledger.read()?;
        let mut report = verdict::judge(self.stage, &self.fleet, &self.ledger, &self.traffic)?;
        report.broker_restarts = self.broker_restarts;
        report.cut_offs = self.cut_offs;
        Ok(report)
    }
}

fn say(text: &str) {
    // A reader that has gone away ends nothing.
    let _gone = writeln!(io::stdout(), "{text}");
}
