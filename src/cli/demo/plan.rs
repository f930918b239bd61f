//! What the demo asks for: the draws of the reference experiment, from one seed.
//!
//! A worker sleeps 1, 2, 3, 1, 2, 3, 4, 8, 9 or 10 s, evenly drawn, under a timeout of 6 s, so that
//! 30 % of the tries overrun; then 20 % raise. A tenth of the requests can never succeed: half of
//! these name an account that does not exist, half sit inside good lanes and raise at every try.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Seconds of one try, before `--speed`.
const DELAYS: [u64; 10] = [1, 2, 3, 1, 2, 3, 4, 8, 9, 10];
/// Seconds that a try may take, before `--speed`.
const TRY_MAX: u64 = 6;

/// One request, as it stands in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// From 1, in the order of the burst.
    pub(super) id: u32,
    /// Its lane.
    pub(super) account: String,
    /// What to add. Poison has a text here that no try can read.
    pub(super) amount: Amount,
}

/// A number, or what a careless producer wrote instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Number(i64),
    Text(String),
}

/// What is asked for and what must come of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    pub(super) accounts: Vec<String>,
    pub(super) timing: Timing,
}

/// The draws of the tries and their compression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) seed: u64,
    /// All times are divided by this.
    pub(super) speed: f64,
}

/// What one try does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Try {
    /// Before the answer.
    pub(super) delay: Duration,
    /// It answers with an error.
    pub(super) raises: bool,
}

impl Timing {
    pub(super) fn scaled(self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.speed).max(0.001))
    }

    pub(super) fn try_max(self) -> Duration {
        self.scaled(TRY_MAX as f64)
    }

    /// What the attempt of a request does: the same whenever it is asked.
    pub(super) fn of(self, request: u32, attempt: u32) -> Try {
        let mut random = Random(self.seed ^ (u64::from(request) << 32) ^ u64::from(attempt));
        let delay = DELAYS[random.below(DELAYS.len() as u64) as usize];
        Try {
            delay: self.scaled(delay as f64),
            raises: random.below(10) < 2,
        }
    }
}

impl Plan {
    /// `requests` in a burst over `keys` accounts; a tenth of them, rounded, is invalid.
    pub(super) fn new(seed: u64, requests: u32, keys: u32, speed: f64) -> Self {
        let mut random = Random(seed);
        let accounts: Vec<String> = (1..=keys).map(|n| format!("account-{n:02}")).collect();
        let mut kinds = vec![Kind::Valid; requests as usize];
        let invalid = (f64::from(requests) / 10.0).round() as usize;
        for (n, kind) in kinds.iter_mut().take(invalid).enumerate() {
            *kind = if n % 2 == 0 {
                Kind::Unknown
            } else {
                Kind::Poison
            };
        }
        for n in (1..kinds.len()).rev() {
            kinds.swap(n, random.below(n as u64 + 1) as usize);
        }
        let requests = (1..).zip(kinds).map(|(id, kind)| {
            let known = accounts[random.below(accounts.len() as u64) as usize].clone();
            match kind {
                Kind::Valid => Request {
                    id,
                    account: known,
                    amount: Amount::Number(1),
                },
                Kind::Poison => Request {
                    id,
                    account: known,
                    amount: Amount::Text("one".to_owned()),
                },
                Kind::Unknown => {
                    let account = format!("nobody-{}", random.below(2) + 1);
                    Request {
                        id,
                        account,
                        amount: Amount::Number(1),
                    }
                }
            }
        });
        Self {
            requests: requests.collect(),
            accounts: accounts.clone(),
            timing: Timing { seed, speed },
        }
    }

    /// Whether the request can ever succeed.
    pub(super) fn is_valid(&self, request: &Request) -> bool {
        matches!(request.amount, Amount::Number(_)) && self.accounts.contains(&request.account)
    }

    /// What each account must hold at the end.
    pub(super) fn balances(&self) -> BTreeMap<&str, i64> {
        let mut balances: BTreeMap<&str, i64> =
            self.accounts.iter().map(|a| (a.as_str(), 0)).collect();
        for request in self.requests.iter().filter(|r| self.is_valid(r)) {
            *balances.entry(&request.account).or_default() += 1;
        }
        balances
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Valid,
    Poison,
    Unknown,
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0, evenly enough for a demo; `n` is at least 1.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_invalid_and_half_of_it_names_no_account() {
        for seed in 0..50 {
            let plan = Plan::new(seed, 100, 8, 40.0);
            let invalid: Vec<_> = plan.requests.iter().filter(|r| !plan.is_valid(r)).collect();
            assert_eq!(invalid.len(), 10, "seed {seed}");
            let unknown = invalid
                .iter()
                .filter(|r| r.account.starts_with("nobody"))
                .count();
            assert_eq!(unknown, 5, "seed {seed}");
            assert_eq!(plan.balances().values().sum::<i64>(), 90, "seed {seed}");
        }
    }

    #[test]
    fn draws_are_those_of_the_experiment() {
        let timing = Timing {
            seed: 7,
            speed: 1.0,
        };
        let tries: Vec<Try> = (0..200)
            .flat_map(|r| (1..=50).map(move |a| timing.of(r, a)))
            .collect();
        let share = |n: usize| n as f64 / tries.len() as f64;
        let overrun = share(tries.iter().filter(|t| t.delay > timing.try_max()).count());
        let raised = share(tries.iter().filter(|t| t.raises).count());
        assert!((0.28..0.32).contains(&overrun), "{overrun}");
        assert!((0.18..0.22).contains(&raised), "{raised}");
        assert_eq!(timing.of(3, 4), timing.of(3, 4));
    }
}
