//! The members of the group.

use super::{ledger::Ledger, say, stage::Stage};
use crate::scene::Running;
use fastrand::Rng;
use serde_json::Value;
use std::{collections::BTreeSet, fs, io, thread::sleep, time::Duration};

/// A clean stop.
const FINE: i32 = 0;
/// Kafka or the store was out of reach at the start, or the member's source ended with an error.
const OUT_OF_REACH: i32 = 4;
/// What was in flight did not end, or was not durable, in time.
const DRAIN_PASSED: i32 = 130;

/// Moments at which a freeze is tried.
const FREEZES_MAX: u32 = 50;

pub(super) struct Fleet<'a> {
    stage: &'a Stage,
    members: Vec<Member>,
    started: usize,
    /// Of all members there ever were.
    pub(super) histories: Vec<String>,
    pub(super) crashes: Vec<Crash>,
    pub(super) freezes: u64,
    /// Clean stops.
    pub(super) stops: u64,
    /// Stops that waited in vain for what was in flight.
    pub(super) cut_short: u64,
    /// Members that ended since something was out of reach.
    pub(super) out_of_reach: u64,
}

struct Member {
    running: Running,
    history: String,
    is_frozen: bool,
}

/// A member that was killed.
pub(super) struct Crash {
    pub(super) process: u32,
    /// Partitions that it had, or had lost with work in flight.
    pub(super) partitions: u64,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            members: Vec::new(),
            started: 0,
            histories: Vec::new(),
            crashes: Vec::new(),
            freezes: 0,
            stops: 0,
            cut_short: 0,
            out_of_reach: 0,
        }
    }

    /// Those that are there now.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn start(&mut self) -> io::Result<()> {
        self.started += 1;
        let history = format!("history-{}.jsonl", self.started);
        let running = self.stage.member(&history)?;
        self.histories.push(history.clone());
        self.members.push(Member {
            running,
            history,
            is_frozen: false,
        });
        Ok(())
    }

    /// Starts some until there are so many.
    pub(super) fn fill_up(&mut self, members: usize) -> io::Result<()> {
        while self.members.len() < members {
            self.start()?;
        }
        Ok(())
    }

    /// Kills so many at once.
    pub(super) fn kill(&mut self, random: &mut Rng, count: usize) -> io::Result<()> {
        self.revive()?;
        random.shuffle(&mut self.members);
        let rest = self.members.len().saturating_sub(count);
        for mut member in self.members.split_off(rest) {
            let process = member.running.id();
            member.running.signal("KILL")?;
            let _killed = member.running.wait()?;
            let partitions = owned(&self.history(&member.history)?);
            self.crashes.push(Crash {
                process,
                partitions,
            });
        }
        Ok(())
    }

    /// Freezes one, and gives its place. Not in the moment between its last look at what it owns and the
    /// handler's first at the record: a record that comes to the handler after the thaw would be the limit
    /// that is stated beside G1, and this is no test of it.
    pub(super) fn freeze(&mut self, random: &mut Rng, ledger: &mut Ledger) -> io::Result<usize> {
        self.revive()?;
        let index = random.usize(0..self.members.len());
        for again in 1.. {
            self.members[index].running.signal("STOP")?;
            sleep(Duration::from_millis(30));
            ledger.read()?;
            let history = self.history(&self.members[index].history)?;
            let told = history.iter().filter(|line| line["event"] == "started");
            let process = self.members[index].running.id();
            if told.count() as u64 <= ledger.started_by(process) || again == FREEZES_MAX {
                break;
            }
            self.members[index].running.signal("CONT")?;
            sleep(Duration::from_millis(random.u64(1..20)));
        }
        self.members[index].is_frozen = true;
        self.freezes += 1;
        Ok(index)
    }

    pub(super) fn thaw(&mut self, index: usize) -> io::Result<()> {
        self.members[index].is_frozen = false;
        self.members[index].running.signal("CONT")
    }

    /// Stops one in order, but not this one, and puts another in its place.
    pub(super) fn turn_over(&mut self, random: &mut Rng, but: Option<usize>) -> io::Result<()> {
        self.revive()?;
        let places = (0..self.members.len()).filter(|place| Some(*place) != but);
        let Some(index) = random.choice(places.collect::<Vec<_>>()) else {
            return Ok(());
        };
        self.start()?;
        // The new one takes the old one's place, so that all others keep theirs.
        let gone = self.members.swap_remove(index);
        self.stop(gone, false)
    }

    /// Stops one in order, unless no other is there.
    pub(super) fn leave(&mut self, random: &mut Rng) -> io::Result<()> {
        self.revive()?;
        if self.members.len() < 2 {
            return Ok(());
        }
        let index = random.usize(0..self.members.len());
        let gone = self.members.swap_remove(index);
        self.stop(gone, false)
    }

    /// Stops all, each of which has to end well.
    pub(super) fn stop_all(&mut self) -> io::Result<()> {
        for member in std::mem::take(&mut self.members) {
            self.stop(member, true)?;
        }
        Ok(())
    }

    fn stop(&mut self, mut member: Member, must_be_clean: bool) -> io::Result<()> {
        if !member.running.is_running()? {
            return self.ended(member);
        }
        member.running.signal("TERM")?;
        let ended = member.running.wait()?;
        match ended.code {
            Some(FINE) => self.stops += 1,
            Some(DRAIN_PASSED) if !must_be_clean => self.cut_short += 1,
            Some(OUT_OF_REACH) if !must_be_clean => self.out_of_reach += 1,
            Some(_) | None => {
                return Err(io::Error::other(format!(
                    "{} ended with {:?}: {}",
                    member.history, ended.code, ended.errors
                )));
            }
        }
        Ok(())
    }

    /// Starts others for those that ended by themselves, as a supervisor does. They may where Kafka or
    /// the store was out of reach.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        for index in (0..self.members.len()).rev() {
            let member = &mut self.members[index];
            if member.is_frozen || member.running.is_running()? {
                continue;
            }
            self.start()?;
            let gone = self.members.swap_remove(index);
            self.ended(gone)?;
        }
        Ok(())
    }

    fn ended(&mut self, member: Member) -> io::Result<()> {
        let ended = member.running.wait()?;
        if ended.code != Some(OUT_OF_REACH) {
            return Err(io::Error::other(format!(
                "{} ended by itself with {:?}: {}",
                member.history, ended.code, ended.errors
            )));
        }
        say(&format!(
            "      a member ended by itself: {}",
            ended.errors.lines().last().unwrap_or_default()
        ));
        self.out_of_reach += 1;
        Ok(())
    }

    /// The lines of a history; a torn last one is none.
    pub(super) fn history(&self, name: &str) -> io::Result<Vec<Value>> {
        let path = self.stage.scene.path(name);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let lines = text.lines().map(serde_json::from_str);
        Ok(lines.map_while(Result::ok).collect())
    }
}

/// Partitions that a member had at the end of this history, or had lost with work in flight.
fn owned(history: &[Value]) -> u64 {
    let mut owned = BTreeSet::new();
    for line in history {
        let partition = line["partition"].as_str().unwrap_or_default();
        match line["event"].as_str() {
            Some("claimed") => {
                owned.insert(partition);
            }
            Some("revoked") if line["clean"] == true => {
                owned.remove(partition);
            }
            Some(_) | None => {}
        }
    }
    owned.len() as u64
}
