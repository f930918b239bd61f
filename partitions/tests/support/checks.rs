//! Every action is held against the reference, and at the end of each turn so is what the engine
//! leaves undone. A message begins with the guarantee that it is about.

use super::{
    lane::{Mode, Owed, Stage},
    store::Item,
    world::{Try, World},
};
use partitions::{Action, Change, LaneId, PartitionId, Stops, Ticket};

impl World {
    /// Polls until nothing is left to do.
    pub fn turn(&mut self) {
        let mut actions = 0;
        for part in self.parts.iter_mut().filter(|part| part.id.is_some()) {
            part.owe_publications();
        }
        while let Some(action) = self.engine.poll() {
            actions += 1;
            assert!(
                actions < 10_000,
                "G10 progress: the engine never comes to rest"
            );
            self.actions.push(action);
            match action {
                Action::Start {
                    ticket,
                    partition,
                    attempt,
                } => self.on_start(ticket, partition, attempt),
                Action::Persist {
                    ticket,
                    partition,
                    lane,
                    change,
                } => {
                    self.on_persist(ticket, partition, lane, change);
                }
                Action::Publish {
                    ticket,
                    partition,
                    lane,
                } => self.on_publish(ticket, partition, lane),
                Action::LoadChain { lane, partition } => self.on_load(lane, partition),
                Action::Declined { lane, partition } => self.on_declined(lane, partition),
                Action::Stopped { lane, partition } => self.on_stopped(lane, partition),
                Action::Gone(partition) => {
                    let part = self.part(partition);
                    let gone = self.parts[part]
                        .model
                        .rows
                        .iter()
                        .any(|row| row.stage == Stage::Gone);
                    assert!(gone, "gone: nothing of partition {part} is");
                }
                Action::Pause(partition) | Action::Resume(partition) => {
                    let (part, paused) = (self.part(partition), matches!(action, Action::Pause(_)));
                    self.log(|| format!("  paused {part} {paused}"));
                    assert_ne!(
                        self.parts[part].paused, paused,
                        "G9 memory: paused or resumed twice"
                    );
                    self.parts[part].paused = paused;
                }
                Action::Drained(partition) => self.on_drained(partition),
            }
        }
        self.check_rest();
    }

    fn part(&self, id: PartitionId) -> usize {
        let part = self.parts.iter().position(|part| part.id == Some(id));
        part.unwrap_or_else(|| panic!("G6 fencing: an action for {id:?}, which is not assigned"))
    }

    fn key(&self, lane: LaneId) -> u8 {
        self.engine
            .lane_key(lane)
            .expect("a lane that an action names has a key")[1]
    }

    pub(super) fn lent(&self, ticket: Ticket) -> Vec<u64> {
        self.engine
            .records(ticket)
            .map(|record| record.position)
            .collect()
    }

    fn on_start(&mut self, ticket: Ticket, id: PartitionId, attempt: u32) {
        let part = self.part(id);
        let rows = self.lent(ticket);
        let first = self.engine.records(ticket).next();
        let key = first.expect("a run has records").name();
        self.log(|| format!("  start {part}/{rows:?} {} attempt {attempt}", key as char));
        let name = format!("{part}/{rows:?} of {}", key as char);
        if self.engine.sick_since().is_some() {
            self.count("probes");
        }
        self.check_slot(part, key, &name);
        self.check_run(part, key, &rows, &name);
        let model = &mut self.parts[part].model;
        let expected = model.row(rows[0]).attempts + 1;
        assert_eq!(attempt, expected, "attempt of {name}");
        model.lane(key).wait = (0, 0);
        for position in &rows {
            model.row(*position).stage = Stage::Out;
        }
        self.started.push((part, rows.clone()));
        self.tries.push(Try {
            ticket,
            part,
            key,
            rows,
            ghost: false,
            until: None,
        });
    }

    /// A try may be started at all.
    fn check_slot(&self, part: usize, key: u8, name: &str) {
        let (state, cap) = (&self.parts[part], self.limits.cap);
        let out = self.tries.len();
        assert!(out < cap as usize, "G2 cap: {name} over {cap}");
        let probe = self.engine.sick_since().is_none() || out == 0;
        assert!(
            probe,
            "G4 isolation: {name} is a second probe of a sick target"
        );
        let same = |one: &Try| one.part == part && one.key == key;
        let alone = !self.tries.iter().any(same);
        assert!(
            alone,
            "G1 order: {name} while a try of the lane may still run"
        );
        let open = !state.held && !state.draining && !state.halted;
        assert!(open, "G6 fencing: {name} in a held partition");
    }

    /// These records may be started, in one run, now.
    fn check_run(&self, part: usize, key: u8, rows: &[u64], name: &str) {
        let model = &self.parts[part].model;
        let stops = self.limits.failure.stops == Stops::Partition;
        let (run, lane) = (model.next_run(key, stops), &model.lanes[&key]);
        if !run.starts_with(rows) {
            let mut lane_rows = model.rows.iter().filter(|row| row.key == key);
            let effects = lane_rows.any(|row| row.stage == Stage::Answered);
            let shut = lane.mode != Mode::Live || (lane.shut() && !effects);
            let stopped = shut || (stops && model.barrier().is_some());
            let guarantee = if stopped { "G3 stop" } else { "G1 order" };
            let (mode, owes) = (lane.mode, &lane.owes);
            panic!("{guarantee}: {name}, but {run:?} may start ({mode:?}, owes {owes:?})");
        }
        let (most, single) = (self.limits.run_max as usize, lane.single_to);
        assert!(rows.len() <= most, "G2 cap: {name} is too long a run");
        let whole = rows.len() == 1 || rows[0] > single;
        assert!(whole, "unattributed: {name} is not a run of one");
        let early = self.engine.sick_since().is_none() && self.now < lane.wait.0;
        assert!(!early, "backoff: {name} before {}", lane.wait.0);
        let repeats = model.repeats() + rows.len() as u64;
        let bound = self.limits.unflushed_max;
        assert!(repeats <= bound, "G8 repeats: {name} makes {repeats}");
    }

    fn on_persist(&mut self, ticket: Ticket, id: PartitionId, lane: LaneId, change: Change) {
        let (part, key, lent) = (self.part(id), self.key(lane), self.lent(ticket));
        self.log(|| format!("  persist {part} {} {change:?} {lent:?}", key as char));
        let name = format!("{change:?} of {part}/{} {lent:?}", key as char);
        let expected = self.expected_loan(part, key, change, &lent);
        let lane = &self.parts[part].model.lanes[&key];
        assert!(
            lane.persist.is_none(),
            "{name} while {:?} is out",
            lane.persist
        );
        let remaining = self.parts[part].model.chain(key).count() as u64;
        match change {
            Change::Append => {
                assert!(
                    matches!(lane.mode, Mode::Parked | Mode::Releasing),
                    "park: {name} in {:?}",
                    lane.mode
                );
                assert!(
                    lent.len() <= self.limits.append_records_max as usize,
                    "park: {name} is too long"
                );
            }
            Change::Cut => {
                assert!(
                    lane.mode == Mode::Releasing && remaining <= self.limits.cut_at,
                    "release: {name}"
                );
            }
            Change::Live => assert!(
                lane.mode == Mode::Draining && remaining == 0,
                "release: {name}"
            ),
            Change::Announce => panic!("no worker died here: {name}"),
            Change::Effects
            | Change::Stop
            | Change::Park
            | Change::Reopen
            | Change::Skip
            | Change::Verdict
            | Change::DeadLettered => {
                assert_eq!(
                    lane.owes.front(),
                    Some(&Owed::Change(change)),
                    "G7 loss: nobody asked for {name}"
                );
            }
        }
        assert_eq!(lent, expected, "records lent by {name}");
        let lane = self.parts[part].model.lane(key);
        if !matches!(change, Change::Append | Change::Cut | Change::Live) {
            lane.owes.pop_front();
        }
        lane.persist = Some((ticket, change, lent));
    }

    fn expected_loan(&self, part: usize, key: u8, change: Change, lent: &[u64]) -> Vec<u64> {
        let model = &self.parts[part].model;
        let of = |stage: Stage| model.queue(key).filter(move |row| row.stage == stage);
        match change {
            Change::Effects => of(Stage::Answered).map(|row| row.position).collect(),
            Change::Append => {
                let arrivals = of(Stage::Queued).filter(|row| !row.chained);
                arrivals
                    .map(|row| row.position)
                    .take(lent.len().max(1))
                    .collect()
            }
            Change::Reopen | Change::Cut | Change::Live | Change::Announce => Vec::new(),
            Change::DeadLettered => {
                let published = model
                    .rows
                    .iter()
                    .filter(|row| row.key == key && row.published);
                published.map(|row| row.position).collect()
            }
            Change::Park if self.is_before_chain(part, key) => {
                // What lies between comes along.
                let before = of(Stage::Queued).take_while(|row| !row.chained);
                let first = model.chain(key).next().map(|row| row.position);
                before
                    .map(|row| row.position)
                    .filter(|position| Some(*position) < first)
                    .collect()
            }
            Change::Stop | Change::Park | Change::Skip | Change::Verdict => {
                let head = self.head_of(part, key);
                head.filter(|head| self.stage(part, *head) == Stage::Queued)
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Whether a record of the lane stands before its chain.
    fn is_before_chain(&self, part: usize, key: u8) -> bool {
        let model = &self.parts[part].model;
        let chain = model.chain(key).next();
        let queue = model.queue(key).next();
        chain
            .zip(queue)
            .is_some_and(|(chain, next)| !next.chained && next.position < chain.position)
    }

    fn on_publish(&mut self, ticket: Ticket, id: PartitionId, lane: LaneId) {
        let (part, key, lent) = (self.part(id), self.key(lane), self.lent(ticket));
        self.log(|| format!("  publish {part} {} {lent:?}", key as char));
        assert_eq!(
            lent,
            Vec::from_iter(self.head_of(part, key)),
            "records lent by a publication"
        );
        let lane = self.parts[part].model.lane(key);
        assert_eq!(
            lane.owes.pop_front(),
            Some(Owed::Publish),
            "dead letter: published without a verdict"
        );
        lane.publishing = Some(ticket);
    }

    fn on_load(&mut self, lane: LaneId, id: PartitionId) {
        let (part, key) = (self.part(id), self.key(lane));
        self.log(|| format!("  load {part} {}", key as char));
        // The store is read some time before its answer arrives; the earliest is the hardest.
        let chain = match self.parts[part].store.items.get(&key) {
            Some(Item::Chain { chain, .. }) => chain.iter().copied().collect(),
            Some(Item::Stopped { .. }) | None => {
                panic!("release: a load of {} without a chain", key as char)
            }
        };
        let state = self.parts[part].model.lane(key);
        assert!(
            state.loading.is_none(),
            "release: a second load of {} is out",
            key as char
        );
        state.loading = Some((lane, chain));
    }

    fn on_stopped(&mut self, lane: LaneId, id: PartitionId) {
        let (part, key) = (self.part(id), self.key(lane));
        self.log(|| format!("  stopped {part} {}", key as char));
        assert!(
            !self.still_out(part, key),
            "stop: {part}/{} is announced too early",
            key as char
        );
        let state = self.parts[part].model.lane(key);
        assert_eq!(
            state.mode,
            Mode::Stopped,
            "stop: {part}/{} is announced, but",
            key as char
        );
        state.announced = true;
    }

    /// Something that a stop of this lane stops is out: effects, too, may still be refused.
    pub(super) fn still_out(&self, part: usize, key: u8) -> bool {
        let whole = self.limits.failure.stops == Stops::Partition;
        let out = |one: &Try| one.part == part && !one.ghost && (whole || one.key == key);
        let mut rows = self.parts[part].model.rows.iter();
        let answered = rows.any(|row| row.stage == Stage::Answered && (whole || row.key == key));
        answered || self.tries.iter().any(out)
    }

    /// Nothing is left that could be tried or published.
    fn on_declined(&mut self, lane: LaneId, id: PartitionId) {
        let (part, key) = (self.part(id), self.key(lane));
        self.log(|| format!("  declined {part} {}", key as char));
        let head = self.lane(part, key).head.expect("a stopped head");
        let stage = self.stage(part, head);
        assert_eq!(stage, Stage::Void, "gone: {part}/{head} may still come");
        self.parts[part].model.lane(key).verdict = false;
    }

    fn on_drained(&mut self, id: PartitionId) {
        let part = self.part(id);
        self.log(|| format!("  drained {part}"));
        assert!(
            self.parts[part].draining && !self.parts[part].drained,
            "drained: not asked, or twice"
        );
        assert!(
            !self.any_out(part),
            "G8 repeats: partition {part} is not drained"
        );
        self.parts[part].drained = true;
    }

    pub(super) fn any_out(&self, part: usize) -> bool {
        let lane_out = self.parts[part]
            .model
            .lanes
            .values()
            .any(|lane| lane.persist.is_some() || lane.publishing.is_some());
        lane_out || self.tries.iter().any(|one| one.part == part && !one.ghost)
    }
}
