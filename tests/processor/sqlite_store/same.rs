//! Random calls to the SQLite store and to the store in memory: each answer and what stands
//! afterwards must be the same.

use super::{Home, run};
use crate::conformance::{effects_of, item, lane, note, partition, record};
use lanekeeper::{
    Condition, Effect, Position,
    record::{Assignment, LaneKey, PartitionName},
    store::{
        Commit, Fence, LaneChange, LaneItem, LaneState, Ownership, Store, Verb, WorkerId,
        memory::Memory,
    },
};
use std::sync::Arc;
use uuid::Uuid;

/// A small generator with a seed (xorshift*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let index = self.below(all.len() as u64);
        all[usize::try_from(index).expect("small")].clone()
    }
}

const KEYS: [&str; 3] = ["a", "b", ""];
const VERBS: [Verb; 5] = [
    Verb::Retry,
    Verb::Skip,
    Verb::Park,
    Verb::DeadLetter,
    Verb::Release,
];
const STATES: [LaneState; 4] = [
    LaneState::Stopped,
    LaneState::Parked,
    LaneState::Draining,
    LaneState::Live,
];

/// Mostly what an owner would send; now and then what a stale or a broken one would.
struct Caller {
    random: Random,
    fences: Vec<(PartitionName, Fence)>,
    sent: Vec<Commit>,
    next: u64,
}

impl Caller {
    fn fence(&mut self, p: &PartitionName) -> Fence {
        let known: Vec<Fence> = self
            .fences
            .iter()
            .filter(|(of, _)| of == p)
            .map(|(_, f)| *f)
            .collect();
        let nobody = Fence {
            worker: WorkerId(Uuid::nil()),
            epoch: 1,
        };
        match known.last() {
            None => nobody,
            Some(_) if self.random.one_in(8) => self.random.of(&known),
            Some(last) => *last,
        }
    }

    fn position(&mut self) -> u64 {
        self.next += 1 + self.random.below(2);
        self.next
    }

    fn change(&mut self, p: &PartitionName, standing: &[LaneItem], key: &str) -> LaneChange {
        let current = standing.iter().find(|item| item.lane == lane(key));
        let mut expected = current.map(|item| (item.rev, item.tail.clone()));
        if self.random.one_in(10) {
            expected =
                self.random
                    .of(&[None, Some((1, None)), Some((2, Some(Position::Offset(3))))]);
        }
        let count = self.random.of(&[0, 0, 1, 3]);
        let append: Vec<_> = (0..count)
            .map(|_| self.position())
            .map(|n| record(p, key, n))
            .collect();
        let tail = append
            .last()
            .map(|r| r.position().clone())
            .or_else(|| current.and_then(|item| item.tail.clone()));
        let head = self.position();
        let next = LaneItem {
            tail,
            rev: current.map_or(1, |item| item.rev + self.random.below(2)),
            decision: self.random.one_in(4).then(|| note(Verb::DeadLetter)),
            record: self.random.one_in(3).then(|| vec![1, 2, 3]),
            ..item(key, self.random.of(&STATES), head, None)
        };
        let passed = self.random.below(self.next + 1);
        LaneChange {
            lane: lane(key),
            expected,
            item: (!self.random.one_in(4)).then_some(next),
            append,
            passed: self.random.one_in(3).then_some(Position::Offset(passed)),
        }
    }

    fn effect(&mut self) -> Effect {
        let by = self.random.of(&[1, -2, 0, i64::MAX]);
        let key = self.random.of(&["x", "y"]);
        let effect = match self.random.below(4) {
            0 => Effect::put("t", key, by),
            1 => Effect::put("t", key, "text"),
            2 => Effect::add("t", key, by),
            _ => Effect::delete("t", key),
        };
        match self.random.below(8) {
            0 => effect.only_if(Condition::Exists(self.random.one_in(2))),
            1 => effect.only_if(Condition::AtLeast(1)),
            2 => effect.only_if(Condition::Equals("text".into())),
            _ => effect,
        }
    }

    fn commit(
        &mut self,
        p: &PartitionName,
        found: Option<&Ownership>,
        standing: &[LaneItem],
    ) -> Commit {
        let again: Vec<Commit> = self
            .sent
            .iter()
            .filter(|c| c.partition == *p)
            .cloned()
            .collect();
        if !again.is_empty() && self.random.one_in(5) {
            // Mostly the last one, whose answer may have been lost.
            let recent = again.len().saturating_sub(2);
            let mut again = self.random.of(&again[recent..]);
            if self.random.one_in(3) {
                again.content = [7; 16];
            }
            return again;
        }
        let mut lanes = Vec::new();
        for key in KEYS {
            if self.random.one_in(3) {
                lanes.push(self.change(p, standing, key));
            }
        }
        let mut effects = Vec::new();
        for _ in 0..self.random.of(&[0, 0, 1, 4]) {
            let key = self.random.of(&KEYS);
            let own = (0..=self.random.below(2)).map(|_| self.effect()).collect();
            effects.push(effects_of(key, self.position(), own));
        }
        let commit = Commit {
            partition: p.clone(),
            fence: self.fence(p),
            number: found.map_or(0, |found| found.commit) + self.random.of(&[0, 1, 1, 1, 1, 2]),
            content: Uuid::from_u64_pair(1, self.random.below(u64::MAX)).into_bytes(),
            checkpoint: crate::conformance::settled(self.next),
            lanes,
            effects,
            keep: self.random.one_in(4),
            settled_in: self.random.one_in(4),
            mark: None,
            failed: Vec::new(),
            lanes_at: None,
        };
        self.sent.push(commit.clone());
        commit
    }
}

/// What stands, but for the times, which the two stores take from their own clocks.
async fn standing(store: &dyn Store, partitions: &[PartitionName]) -> String {
    let mut all = format!(
        "{:?}\n{:?}\n",
        store.partitions().await,
        store.values("t", None, 99).await
    );
    for p in partitions {
        let mut ownership = store.ownership(p).await.expect("read");
        if let Some(found) = &mut ownership {
            found.updated_at = 0;
        }
        let history = store.history(p).await.expect("read");
        let mut history: Vec<_> = history
            .iter()
            .map(|line| format!("{:?}", line.what))
            .collect();
        history.sort();
        all += &format!(
            "{p}: {ownership:?}\n{:?}\n{history:?}\n",
            store.lanes(p).await
        );
        let assignment = Arc::new(Assignment {
            name: p.clone(),
            epoch: 1,
            generation: 1,
        });
        for key in KEYS {
            let chain = store
                .chain(&assignment, &lane(key), None, 999, u64::MAX)
                .await
                .expect("chain");
            let stored: Vec<_> = chain.iter().map(|r| (r.id(), r.to_stored())).collect();
            all += &format!("{key}: {stored:?}\n");
        }
    }
    all
}

/// One random call to both; gives both answers as text.
async fn call(
    caller: &mut Caller,
    stores: [&dyn Store; 2],
    partitions: &[PartitionName],
) -> (String, [String; 2]) {
    let p = caller.random.of(partitions);
    let key: LaneKey = lane(caller.random.of(&KEYS));
    let found = stores[0].ownership(&p).await.expect("read");
    let lanes = stores[0].lanes(&p).await.expect("lanes");
    let rev = lanes
        .iter()
        .find(|item| item.lane == key)
        .map_or(1, |item| item.rev);
    let rev = rev + u64::from(caller.random.one_in(8));
    let fence = caller.fence(&p);
    let mut answers = Vec::new();
    let what = match caller.random.below(12) {
        0 | 1 => {
            let worker = WorkerId(Uuid::from_u64_pair(2, caller.random.below(4)));
            for store in stores {
                let mut claimed = store.claim(&p, worker).await.expect("claim");
                claimed.ownership.updated_at = 0;
                answers.push(format!("{claimed:?}"));
                let epoch = claimed.ownership.epoch;
                caller.fences.push((p.clone(), Fence { worker, epoch }));
            }
            format!("claim {p} {worker}")
        }
        2 => {
            for store in stores {
                answers.push(format!("{:?}", store.release(&p, fence).await));
            }
            format!("release {p} {fence:?}")
        }
        3 => {
            let decision = note(caller.random.of(&VERBS));
            for store in stores {
                answers.push(format!(
                    "{:?}",
                    store.decide(&p, &key, rev, &decision).await
                ));
            }
            format!("decide {p} {key:?} {rev} {decision:?}")
        }
        4 => {
            for store in stores {
                answers.push(format!("{:?}", store.take(&p, fence, &key, rev).await));
            }
            format!("take {p} {key:?} {rev} {fence:?}")
        }
        _ => {
            let mut commits = vec![caller.commit(&p, found.as_ref(), &lanes)];
            let other = caller.random.of(partitions);
            if other != p {
                let found = stores[0].ownership(&other).await.expect("read");
                let lanes = stores[0].lanes(&other).await.expect("lanes");
                commits.push(caller.commit(&other, found.as_ref(), &lanes));
            }
            for store in stores {
                answers.push(format!("{:?}", store.commit(&commits).await));
            }
            format!("commit {commits:?}")
        }
    };
    let [first, second] = <[String; 2]>::try_from(answers).expect("two answers");
    (what, [first, second])
}

#[tokio::test]
async fn random_calls_have_the_same_answers_in_memory_and_in_a_file() {
    let partitions = [partition("a/0"), partition("a/1"), partition("b/0")];
    let mut outcomes = std::collections::BTreeMap::<&str, u32>::new();
    for seed in 1..=40u64 {
        let home = Home::new();
        let (file, memory) = (home.open(), Memory::new("billing"));
        // What is compared is logic: nobody pulls the plug here.
        run(file.database(), "PRAGMA synchronous = OFF");
        let mut caller = Caller {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            fences: Vec::new(),
            sent: Vec::new(),
            next: 0,
        };
        for step in 0..80 {
            let (what, [ours, theirs]) = call(&mut caller, [&file, &memory], &partitions).await;
            assert_eq!(ours, theirs, "seed {seed} step {step}: {what}");
            for kind in [
                "repeated: true",
                "repeated: false",
                "Fenced",
                "OtherContent",
                "LaneMoved",
                "EffectsRefused",
                "NoSuchLane",
                "State {",
            ] {
                if ours.contains(kind) {
                    *outcomes.entry(kind).or_default() += 1;
                }
            }
        }
        let (ours, theirs) = (
            standing(&file, &partitions).await,
            standing(&memory, &partitions).await,
        );
        assert_eq!(ours, theirs, "seed {seed}");
    }
    assert_eq!(outcomes.len(), 8, "all kinds of answers came: {outcomes:?}");
    assert!(outcomes.values().all(|n| *n >= 20), "{outcomes:?}");
}
