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

/// What the group was told of the topics that this member reads.
pub(super) struct Subscription {
    /// `None`: it was told nothing yet.
    told: Option<BTreeSet<String>>,
    /// How often topics are asked for; `None`: once.
    every: Option<Duration>,
    /// When they are asked for next.
    at: Option<Instant>,
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
        }
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

    /// Asks for the topics that match when it is time.
    pub(super) fn look_for_topics(&mut self) {
        if self.subscription.at.is_some_and(|at| at <= Instant::now()) {
            self.subscription.at = None;
            self.looker.ask(Question::Topics);
        }
    }

    /// The cluster has said which topics match.
    pub(super) fn topics_found(&mut self, found: Vec<String>) {
        self.subscription.at = self.subscription.every.map(|every| Instant::now() + every);
        let named = { self.settings.topics.iter() }.filter(|topic| !Pattern::is_one(topic));
        let wanted: BTreeSet<String> = named.cloned().chain(found).collect();
        if self.subscription.told.as_ref() != Some(&wanted) {
            self.subscribe_to(wanted);
        }
    }

    fn subscribe_to(&mut self, wanted: BTreeSet<String>) {
        let source = &self.settings.name;
        let before = self.subscription.told.replace(wanted);
        let known = before.clone().unwrap_or_default();
        let wanted = self.subscription.told.iter().flatten();
        let names: Vec<&str> = wanted.map(String::as_str).collect();
        if before.is_some() || self.subscription.every.is_some() {
            let gone = known
                .iter()
                .filter(|topic| !names.contains(&topic.as_str()));
            let gone: Vec<&String> = gone.collect();
            let new: Vec<&&str> = { names.iter() }
                .filter(|topic| !known.contains(**topic))
                .collect();
            tracing::info!(%source, "topics that match, to be read from now on: {new:?}; not there any more: {gone:?}");
        }
        let told = if names.is_empty() {
            self.consumer.unsubscribe();
            Ok(())
        } else {
            self.consumer.subscribe(&names)
        };
        let is_nothing = names.is_empty();
        if let Err(error) = told {
            // It is told again with the next answer.
            self.subscription.told = before;
            self.complain(&format!("the group is not told of the topics: {error}"));
        }
        if is_nothing {
            self.announce_count();
        } else if self.settings.is_of_new_protocol() {
            // The new protocol says nothing to a member that gets nothing.
            self.announce_at = Some(Instant::now() + group::SETTLED_AFTER);
        }
    }
}
