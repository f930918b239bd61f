//! Which topics are read: those that are named, and those that match a pattern, as they come and go.

use super::{Member, group};
use crate::source::{
    Extent,
    kafka::{Settings, looker::Question},
    pattern::Pattern,
};
use rdkafka::consumer::Consumer;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// librdkafka's property that says how often topics are asked for, and lanekeeper's default of it.
const REFRESH: &str = "topic.metadata.refresh.interval.ms";
const REFRESH_DEFAULT: Duration = Duration::from_mins(1);

/// The least time between two questions for topics.
const REFRESH_MIN: Duration = Duration::from_millis(100);

/// Waits before the group is told again what it could not be told, doubled from the first to the last.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What the group was told of the topics that this member reads.
pub(super) struct Subscription {
    /// `None`: it was told nothing yet.
    told: Option<BTreeSet<String>>,
    /// How often topics are asked for; `None`: once.
    every: Option<Duration>,
    /// When they are asked for next.
    at: Option<Instant>,
    /// What it could not be told.
    failed: Option<Failed>,
}

/// Topics that the group could not be told of.
struct Failed {
    wanted: BTreeSet<String>,
    /// When it is told again.
    at: Instant,
    /// How long was waited for that.
    wait: Duration,
}

impl Subscription {
    pub(super) fn new(settings: &Settings) -> Self {
        // Partitions that are named are not subscribed to.
        let is_member = settings.extent == Extent::Everything;
        let has_patterns = is_member && settings.topics.iter().any(|topic| Pattern::is_one(topic));
        Self {
            told: None,
            every: { has_patterns }.then(|| every(settings)).flatten(),
            at: has_patterns.then(Instant::now),
            failed: None,
        }
    }

    /// The group could not be told of these.
    fn failed(&mut self, wanted: BTreeSet<String>, now: Instant) {
        let wait = { self.failed.as_ref() }.map_or(AGAIN_MIN, |failed| failed.wait * 2);
        let wait = wait.min(AGAIN_MAX);
        let at = now + wait;
        self.failed = Some(Failed { wanted, at, wait });
    }

    /// What the group is to be told again.
    fn due(&self, now: Instant) -> Option<BTreeSet<String>> {
        let due = { self.failed.as_ref() }.filter(|failed| failed.at <= now);
        due.map(|failed| failed.wanted.clone())
    }
}

/// -1 means never.
fn every(settings: &Settings) -> Option<Duration> {
    let Some(written) = settings.properties.get(REFRESH) else {
        return Some(REFRESH_DEFAULT);
    };
    let millis = written.parse().ok().map(Duration::from_millis);
    millis.map(|every| every.max(REFRESH_MIN))
}

/// How often it is asked who the topics are that are read.
pub(super) fn refresh(settings: &Settings) -> Duration {
    every(settings).unwrap_or(REFRESH_DEFAULT)
}

impl Member {
    /// Subscribes to topics that are named, unless patterns are to be matched first: joining twice would
    /// disturb the group twice.
    pub(super) fn subscribe(&mut self) {
        if self.subscription.at.is_none() {
            self.subscribe_to(self.settings.topics.iter().cloned().collect());
        }
    }

    /// Asks for the topics that match, and tells the group again what it could not be told, when it is time.
    pub(super) fn look_for_topics(&mut self) {
        if self.subscription.at.is_some_and(|at| at <= Instant::now()) {
            self.subscription.at = None;
            self.looker.ask(Question::Topics);
        }
        if self.subscription.failed.is_some()
            && let Some(wanted) = self.subscription.due(Instant::now())
        {
            self.subscribe_to(wanted);
        }
    }

    /// The cluster has said which topics match.
    pub(super) fn topics_found(&mut self, found: Vec<String>) {
        self.subscription.at = self.subscription.every.map(|every| Instant::now() + every);
        let named = { self.settings.topics.iter() }.filter(|topic| !Pattern::is_one(topic));
        let wanted: BTreeSet<String> = named.cloned().chain(found).collect();
        if self.subscription.told.as_ref() != Some(&wanted) {
            self.subscribe_to(wanted);
        } else {
            // What it could not be told is not so any more.
            self.subscription.failed = None;
        }
    }

    fn subscribe_to(&mut self, wanted: BTreeSet<String>) {
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let is_nothing = names.is_empty();
        let told = if is_nothing {
            self.consumer.unsubscribe();
            Ok(())
        } else {
            self.consumer.subscribe(&names)
        };
        if let Err(error) = told {
            self.complain(&format!(
                "the group is not told of the topics; it is told again: {error}"
            ));
            self.subscription.failed(wanted, Instant::now());
            return;
        }
        self.subscription.failed = None;
        self.say_changes(&wanted);
        self.subscription.told = Some(wanted);
        if is_nothing {
            self.announce_count();
        } else if self.settings.is_of_new_protocol() {
            // The new protocol says nothing to a member that gets nothing.
            self.announce_at = Some(Instant::now() + group::SETTLED_AFTER);
        }
    }

    /// Says which topics came and went, unless they are those that the settings name.
    fn say_changes(&self, wanted: &BTreeSet<String>) {
        let before = self.subscription.told.as_ref();
        if before.is_none() && self.subscription.every.is_none() {
            return;
        }
        let known = before.cloned().unwrap_or_default();
        let gone: Vec<&String> = known.difference(wanted).collect();
        let new: Vec<&String> = wanted.difference(&known).collect();
        let source = &self.settings.name;
        tracing::info!(%source, "topics that match, to be read from now on: {new:?}; not there any more: {gone:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_group_could_not_be_told_it_is_told_again_ever_more_rarely() {
        let mut subscription = Subscription {
            told: None,
            every: None,
            at: None,
            failed: None,
        };
        let mut now = Instant::now();
        let wanted = BTreeSet::from(["orders".to_owned()]);
        assert_eq!(subscription.due(now), None);
        for wait in [1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
            subscription.failed(wanted.clone(), now);
            assert_eq!(subscription.due(now + wait / 2), None);
            now += wait;
            assert_eq!(subscription.due(now).as_ref(), Some(&wanted));
        }
    }
}
