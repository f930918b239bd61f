//! The store of the tests: what is durable of one partition, and nothing else survives a crash.

use super::record::key_of;
use partitions::{Change, Held, Resume};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub enum Item {
    Stopped {
        head: u64,
        verdict: bool,
    },
    Chain {
        chain: VecDeque<u64>,
        tail: u64,
        releasing: bool,
        cut: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Stored {
    pub resume: Resume<u64>,
    pub settled_to: Option<u64>,
    pub open: BTreeSet<u64>,
    pub attempts: BTreeMap<u64, u32>,
    pub items: BTreeMap<u8, Item>,
    /// How often the effects of a record were committed.
    pub effects: BTreeMap<u64, u32>,
}

pub fn before(resume: &Resume<u64>, position: u64) -> bool {
    match resume {
        Resume::Beginning => false,
        Resume::At(at) => position < *at,
        Resume::After(after) => position <= *after,
    }
}

impl Stored {
    pub fn new() -> Self {
        Self {
            resume: Resume::Beginning,
            settled_to: None,
            open: BTreeSet::new(),
            attempts: BTreeMap::new(),
            items: BTreeMap::new(),
            effects: BTreeMap::new(),
        }
    }

    pub fn covers(&self, position: u64) -> bool {
        let within = self.settled_to.is_some_and(|to| position <= to);
        before(&self.resume, position) || (within && !self.open.contains(&position))
    }

    pub fn held(&self, weight: u64) -> Vec<([u8; 2], Held<u64>)> {
        let held = |(key, item): (&u8, &Item)| {
            let held = match item {
                Item::Stopped { head, verdict } => Held::Stopped {
                    head: *head,
                    verdict: *verdict,
                },
                Item::Chain {
                    chain,
                    tail,
                    releasing,
                    cut,
                } => Held::Parked {
                    head: chain.front().copied().unwrap_or(*tail),
                    tail: *tail,
                    count: chain.len() as u64,
                    bytes: chain.len() as u64 * weight,
                    releasing: *releasing,
                    cut: *cut,
                },
            };
            (key_of(*key), held)
        };
        self.items.iter().map(held).collect()
    }

    /// Applies one durable change of a lane.
    pub fn apply(&mut self, key: u8, change: Change, lent: &[u64]) {
        match change {
            Change::Effects => {
                for position in lent {
                    *self.effects.entry(*position).or_default() += 1;
                }
            }
            Change::Stop => {
                self.items.insert(
                    key,
                    Item::Stopped {
                        head: lent[0],
                        verdict: false,
                    },
                );
            }
            Change::Park => self.park(key, lent),
            Change::Append => self.append(key, lent),
            Change::Reopen | Change::Live => {
                self.items.remove(&key);
            }
            Change::Verdict => {
                // A chain's head keeps its item: the decision stands on it until the head moves.
                if !matches!(self.items.get(&key), Some(Item::Chain { .. })) {
                    self.items.insert(
                        key,
                        Item::Stopped {
                            head: lent[0],
                            verdict: true,
                        },
                    );
                }
            }
            Change::Skip | Change::DeadLettered => self.drop_head(key, lent.first().copied()),
            Change::Cut => self.set_cut(key),
            Change::Announce => {}
        }
    }

    fn park(&mut self, key: u8, lent: &[u64]) {
        let head = lent[0];
        if let Some(Item::Chain {
            chain,
            releasing,
            cut,
            ..
        }) = self.items.get_mut(&key)
        {
            if !chain.contains(&head) {
                assert!(
                    lent.last() < chain.front(),
                    "park: neither in its chain nor before it: {lent:?}"
                );
                lent.iter().rev().for_each(|one| chain.push_front(*one));
            }
            (*releasing, *cut) = (false, false);
            return;
        }
        let chain = VecDeque::from([head]);
        self.items.insert(
            key,
            Item::Chain {
                chain,
                tail: head,
                releasing: false,
                cut: false,
            },
        );
    }

    fn append(&mut self, key: u8, lent: &[u64]) {
        let Some(Item::Chain {
            chain, tail, cut, ..
        }) = self.items.get_mut(&key)
        else {
            panic!("park: an append without a chain");
        };
        assert!(
            !*cut && lent[0] > *tail,
            "park: an append behind a cut, or at or before the tail"
        );
        chain.extend(lent);
        *tail = *lent.last().expect("records of an append");
    }

    fn drop_head(&mut self, key: u8, head: Option<u64>) {
        match self.items.get_mut(&key) {
            Some(Item::Chain { chain, .. }) => {
                assert!(
                    chain.is_empty() || chain.front().copied() == head,
                    "park: not the chain's head"
                );
                chain.pop_front();
                if chain.is_empty() {
                    self.items.remove(&key);
                }
            }
            Some(Item::Stopped { .. }) => {
                self.items.remove(&key);
            }
            None => panic!("a head is dropped of a lane without an item"),
        }
    }

    fn set_cut(&mut self, key: u8) {
        match self.items.get_mut(&key) {
            Some(Item::Chain { cut, .. }) => *cut = true,
            Some(Item::Stopped { .. }) | None => panic!("park: a cut without a chain"),
        }
    }

    /// The first record of a chain behind this one.
    pub fn chain_behind(&self, key: u8, through: u64) -> Option<u64> {
        match self.items.get(&key) {
            Some(Item::Chain { chain, .. }) => chain.iter().copied().find(|at| *at > through),
            Some(Item::Stopped { .. }) | None => None,
        }
    }

    /// Chain records up to here have run.
    pub fn drained(&mut self, key: u8, through: u64) {
        if let Some(Item::Chain { chain, .. }) = self.items.get_mut(&key) {
            chain.retain(|position| *position > through);
        }
    }
}
