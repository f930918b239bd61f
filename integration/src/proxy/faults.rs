//! What goes wrong, by rule or by chance.

use super::request::Request;
use fastrand::Rng;
use std::{collections::BTreeSet, env, io, time::Duration};

/// Replays the draws of a test that failed.
pub(super) const SEED: &str = "LANEKEEPER_TEST_SEED";

/// A fault that a [`Rule`] brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection is closed and nothing is forwarded.
    DropRequest,
    /// The request is done, and the connection is closed without an answer.
    DropResponse,
    /// The request waits before it is forwarded, for a time drawn up to this.
    DelayRequest(Duration),
    /// The answer waits, for a time drawn up to this.
    DelayResponse(Duration),
    /// 500 `InternalServerError`; nothing is forwarded.
    InternalError,
    /// 500 `InternalServerError` after the request was done.
    InternalErrorAfterwards,
    /// 503 `ServiceUnavailable`; nothing is forwarded.
    Unavailable,
    /// `ThrottlingException`; in a transaction, `ThrottlingError` for one item.
    Throttle,
    /// `ProvisionedThroughputExceededException`; in a transaction, `ProvisionedThroughputExceeded` for
    /// one item.
    ThrottleProvisioned,
}

/// When a fault happens. The first rule that applies decides; delays add to what later rules say.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    /// Of a thousand requests that it is about.
    per_mille: u32,
    operations: Operations,
    spared: u64,
    times: u64,
}

#[derive(Clone, Debug)]
enum Operations {
    All,
    Writes,
    Named(BTreeSet<String>),
}

/// Everything that goes wrong, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Where draws begin. With several requests at once, which of them gets which draw depends on who
    /// comes first.
    pub seed: u64,
    /// In their order.
    pub rules: Vec<Rule>,
    /// Write units that each table bears; `None`: any number.
    pub write_limit: Option<WriteLimit>,
    /// How long each write is in progress before it is forwarded, drawn up to this: emulators are so
    /// fast that requests would hardly ever overlap.
    pub write_time_max: Duration,
    /// IAM actions, such as `PutItem` or `ConditionCheckItem`, that the caller is not allowed.
    pub denied: BTreeSet<String>,
    /// Whether each request is kept with its body, for [`super::Proxy::journal`].
    pub is_journal_kept: bool,
}

/// A bucket of write units for each table, full at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteLimit {
    /// What flows in.
    pub units_per_second: u32,
    /// What it holds. A request that costs more passes when the bucket is full, and leaves a debt.
    pub units_max: u32,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) delay_request: Duration,
    pub(super) delay_response: Duration,
    pub(super) write_time: Duration,
    pub(super) fault: Option<Fault>,
    /// Which of its items a throttle hits, modulo their number.
    pub(super) victim: usize,
}

impl Rule {
    /// Every request.
    pub fn always(fault: Fault) -> Self {
        Self::sometimes(fault, 1_000)
    }

    /// So many of a thousand requests, drawn.
    pub fn sometimes(fault: Fault, per_mille: u32) -> Self {
        Self {
            fault,
            per_mille,
            operations: Operations::All,
            spared: 0,
            times: u64::MAX,
        }
    }

    /// Only requests of these operations, such as `PutItem`.
    #[must_use]
    pub fn on<'a>(mut self, operations: impl IntoIterator<Item = &'a str>) -> Self {
        let named = operations.into_iter().map(str::to_owned).collect();
        self.operations = Operations::Named(named);
        self
    }

    /// Only requests that write items.
    #[must_use]
    pub fn on_writes(mut self) -> Self {
        self.operations = Operations::Writes;
        self
    }

    /// Not the first so many of the requests that it is about.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.spared = requests;
        self
    }

    /// No more than so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn is_about(&self, request: &Request) -> bool {
        match &self.operations {
            Operations::All => true,
            Operations::Writes => request.is_write(),
            Operations::Named(named) => named.contains(&request.operation),
        }
    }
}

impl Faults {
    /// No faults but those of DynamoDB itself: conflicts of transactions, and limits.
    pub fn none() -> Self {
        Self {
            seed: 0,
            rules: Vec::new(),
            write_limit: None,
            write_time_max: Duration::ZERO,
            denied: BTreeSet::new(),
            is_journal_kept: false,
        }
    }

    /// With draws from this seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            ..Self::none()
        }
    }

    /// With draws from the seed in `LANEKEEPER_TEST_SEED`, or from another one each time. The proxy
    /// prints it when the test fails.
    ///
    /// # Errors
    /// When the variable holds no number.
    pub fn drawn() -> io::Result<Self> {
        let seed = match env::var(SEED) {
            Ok(text) => text
                .parse()
                .map_err(|e| io::Error::other(format!("`{SEED}` is `{text}`: {e}")))?,
            Err(_) => fastrand::u64(..),
        };
        Ok(Self::seeded(seed))
    }

    /// With one rule more.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Without the permission for this IAM action, such as `PutItem`.
    #[must_use]
    pub fn deny(mut self, action: &str) -> Self {
        self.denied.insert(action.to_owned());
        self
    }
}

/// Faults with where their draws and rules stand.
pub(super) struct Draws {
    pub(super) faults: Faults,
    random: Rng,
    /// Of each rule, requests that it was about, and how often it applied.
    seen: Vec<(u64, u64)>,
}

impl Draws {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            random: Rng::with_seed(faults.seed),
            seen: vec![(0, 0); faults.rules.len()],
            faults,
        }
    }

    pub(super) fn plan(&mut self, request: &Request) -> Plan {
        let Self {
            faults,
            random,
            seen,
        } = self;
        let mut plan = Plan {
            victim: random.usize(..),
            ..Plan::default()
        };
        if request.is_write() {
            plan.write_time = up_to(random, faults.write_time_max);
        }
        for (rule, (requests, times)) in faults.rules.iter().zip(seen) {
            if !rule.is_about(request) {
                continue;
            }
            *requests += 1;
            let is_drawn = random.u32(..1_000) < rule.per_mille;
            if *requests <= rule.spared || *times >= rule.times || !is_drawn {
                continue;
            }
            *times += 1;
            match rule.fault {
                Fault::DelayRequest(max) => plan.delay_request += up_to(random, max),
                Fault::DelayResponse(max) => plan.delay_response += up_to(random, max),
                Fault::DropRequest
                | Fault::DropResponse
                | Fault::InternalError
                | Fault::InternalErrorAfterwards
                | Fault::Unavailable
                | Fault::Throttle
                | Fault::ThrottleProvisioned => {
                    plan.fault = Some(rule.fault);
                    break;
                }
            }
        }
        plan
    }
}

fn up_to(random: &mut Rng, max: Duration) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.u64(..=nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: &str) -> Request {
        Request::decode(&format!("DynamoDB_20120810.{operation}"), b"{}").unwrap()
    }

    fn faults_of(faults: Faults, operation: &str, requests: usize) -> Vec<bool> {
        let mut draws = Draws::new(faults);
        let request = request(operation);
        (0..requests)
            .map(|_| draws.plan(&request).fault.is_some())
            .collect()
    }

    #[test]
    fn a_rule_spares_and_stops() {
        let rule = Rule::always(Fault::DropRequest).after(1).times(2);
        let faults = Faults::none().rule(rule);
        let wanted = [false, true, true, false];
        assert_eq!(faults_of(faults, "PutItem", 4), wanted);
    }

    #[test]
    fn a_rule_is_about_its_operations() {
        let named = Faults::none().rule(Rule::always(Fault::DropRequest).on(["Query"]));
        assert_eq!(faults_of(named.clone(), "Query", 1), [true]);
        assert_eq!(faults_of(named, "PutItem", 1), [false]);
        let writes = Faults::none().rule(Rule::always(Fault::DropRequest).on_writes());
        assert_eq!(faults_of(writes.clone(), "TransactWriteItems", 1), [true]);
        assert_eq!(faults_of(writes, "Query", 1), [false]);
    }

    #[test]
    fn a_seed_gives_the_same_draws_again() {
        let drawn = |seed| {
            let rule = Rule::sometimes(Fault::DropRequest, 300);
            faults_of(Faults::seeded(seed).rule(rule), "PutItem", 1_000)
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let hits = drawn(7).into_iter().filter(|&hit| hit).count();
        assert!((200..400).contains(&hits), "{hits}");
    }

    #[test]
    fn delays_add_to_what_follows() {
        let second = Duration::from_secs(1);
        let faults = Faults::none()
            .rule(Rule::always(Fault::DelayRequest(second)))
            .rule(Rule::always(Fault::DelayResponse(second)))
            .rule(Rule::always(Fault::DropResponse));
        let plan = Draws::new(faults).plan(&request("PutItem"));
        assert_eq!(plan.fault, Some(Fault::DropResponse));
        assert!(plan.delay_request > Duration::ZERO && plan.delay_request <= second);
        assert!(plan.delay_response > Duration::ZERO && plan.delay_response <= second);
    }
}
