//! Asks the cluster on a thread of its own: an answer may take as long as the network likes, and the
//! thread that polls must not wait for it.

use super::{
    Settings,
    client::Place,
    cluster::{ANSWER_MAX, Bounds, Cluster, ClusterError},
    place::Found,
};
use crate::source::{SourceError, StartAt, pattern::Pattern};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

/// Waits before a question is asked again, doubled from the first to the last.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// How long a partition's leader may take for the first answer. One that has no leader gives none, and
/// others are not to wait for it.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long topics are not asked for their identities after that failed: it takes a while each time, and
/// what else is asked waits for it.
const IDS_AGAIN: Duration = Duration::from_secs(30);

/// How often the client is served while nothing is asked.
const LISTEN_EVERY: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Which topics match the patterns.
    Topics,
    /// The identities of topics.
    TopicIds(Vec<String>),
    /// How long a topic keeps records.
    Retention(String),
    /// Where a partition begins and ends, and what the group knows of it.
    Place(Place),
    /// Where a partition that is read begins and ends now, and which topic it is of.
    Again(Place),
    /// None: these are not ours any more, and nobody waits for what was asked of them.
    Forget(Vec<Place>),
}

/// What was found.
#[derive(Debug)]
pub(super) enum Answer {
    /// Those that match now.
    Topics(Vec<String>),
    /// Of the topics that were asked for, those that have one.
    TopicIds {
        asked: Vec<String>,
        ids: BTreeMap<String, String>,
    },
    /// `None`: for ever, or it is not known.
    Retention(String, Option<Duration>),
    Place(Place, Found),
    Again {
        place: Place,
        bounds: Bounds,
        /// The topic's identity; `None`: it has none, or could not be asked for.
        id: Option<String>,
    },
}

/// The other thread. It ends when this is dropped, once the cluster has answered what it is being asked.
pub(super) struct Looker {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Looker {
    /// Starts the thread.
    pub(super) fn start(settings: &Settings) -> Result<Self, SourceError> {
        let cluster = Cluster::open(settings).map_err(|error| SourceError::Refused {
            what: format!("source `{}`: {error}", settings.name),
        })?;
        let (questions, asked) = channel();
        let (told, answers) = channel();
        let asked_of = Asked {
            source: settings.name.clone(),
            patterns: { settings.topics.iter() }
                .filter(|topic| Pattern::is_one(topic))
                .cloned()
                .collect(),
            time: time_of(settings),
            group: !settings.extent.is_apart(),
        };
        thread::Builder::new()
            .name("lanekeeper-kafka-look".to_owned())
            .spawn(move || serve(&asked_of, &cluster, &asked, &told))
            .map_err(|error| SourceError::OutOfReach {
                what: format!(
                    "source `{}`: its second thread cannot start: {error}",
                    settings.name
                ),
            })?;
        Ok(Self { questions, answers })
    }

    /// Asks, again and again until there is an answer.
    pub(super) fn ask(&self, question: Question) {
        // A thread that ended by a panic answers nothing: `answer` says so.
        let _ = self.questions.send(question);
    }

    /// The next answer. `Err`: there will be none.
    pub(super) fn answer(&self) -> Result<Option<Answer>, SourceError> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(SourceError::OutOfReach {
                what: "the thread that asks Kafka ended by a panic".to_owned(),
            }),
        }
    }
}

fn time_of(settings: &Settings) -> Option<i64> {
    match settings.start {
        Some(StartAt::Time(millis)) => Some(millis),
        Some(StartAt::Earliest | StartAt::Latest | StartAt::Refuse) | None => None,
    }
}

/// What is asked for.
struct Asked {
    source: String,
    /// Of the topics that are read.
    patterns: Vec<String>,
    /// The first record of this time or later.
    time: Option<i64>,
    /// What the group has committed.
    group: bool,
}

fn serve(of: &Asked, cluster: &Cluster, asked: &Receiver<Question>, told: &Sender<Answer>) {
    let source = &of.source;
    let mut waiting = Waiting::default();
    let mut identities = Identities::default();
    let mut last_error = None;
    loop {
        match asked.recv_timeout(waiting.patience(Instant::now())) {
            Ok(question) => waiting.add(question, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // What came during a long answer goes before what was asked in vain.
        while let Ok(question) = asked.try_recv() {
            waiting.add(question, Instant::now());
        }
        // What brokers are told of us may be about to expire.
        cluster.listen();
        let Some(one) = waiting.due(Instant::now()) else {
            continue;
        };
        match look(cluster, &mut identities, of, &one) {
            Ok(Some(answer)) => {
                last_error = None;
                if told.send(answer).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                let said = error.to_string();
                if last_error.as_ref() != Some(&said) {
                    tracing::warn!(%source, "asked again until there is an answer: {said}");
                    last_error = Some(said);
                }
                waiting.again(one, Instant::now());
            }
        }
    }
}

/// Questions that have no answer yet. Each has a wait of its own: one about a topic that is gone keeps
/// no other one back.
#[derive(Default)]
struct Waiting(VecDeque<One>);

struct One {
    question: Question,
    /// How often it was asked in vain.
    times: u32,
    at: Instant,
}

impl One {
    /// How long to wait until it is asked again.
    fn again(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.times.saturating_sub(1));
        AGAIN_MIN.saturating_mul(factor).min(AGAIN_MAX)
    }

    /// How long its answer may take.
    fn answer_max(&self) -> Duration {
        if self.times == 0 {
            FIRST_ANSWER_MAX
        } else {
            ANSWER_MAX
        }
    }
}

impl Waiting {
    fn add(&mut self, question: Question, now: Instant) {
        if let Question::Forget(places) = question {
            self.forget(&places);
            return;
        }
        self.0.push_back(One {
            question,
            times: 0,
            at: now,
        });
    }

    /// How long until the next one is due, at most until the client is to be served.
    fn patience(&self, now: Instant) -> Duration {
        let waits = self
            .0
            .iter()
            .map(|one| one.at.saturating_duration_since(now));
        waits.min().unwrap_or(LISTEN_EVERY).min(LISTEN_EVERY)
    }

    /// Of those that are due the one that was asked the fewest times, and of these the one that has been due
    /// for longest: each may take as long as an answer may, and a new one is not to wait for all that were
    /// asked in vain.
    fn due(&mut self, now: Instant) -> Option<One> {
        let due = { self.0.iter().enumerate() }
            .filter(|(_, one)| one.at <= now)
            .min_by_key(|(_, one)| (one.times, one.at));
        let index = due.map(|(index, _)| index)?;
        self.0.remove(index)
    }

    fn again(&mut self, mut one: One, now: Instant) {
        one.times = one.times.saturating_add(1);
        one.at = now + one.again();
        self.0.push_back(one);
    }

    fn forget(&mut self, places: &[Place]) {
        self.0.retain(
            |one| !matches!(&one.question, Question::Place(place) | Question::Again(place) if places.contains(place)),
        );
    }
}

fn look(
    cluster: &Cluster,
    identities: &mut Identities,
    of: &Asked,
    one: &One,
) -> Result<Option<Answer>, ClusterError> {
    let wait = one.answer_max();
    match &one.question {
        Question::Forget(_) => Ok(None),
        Question::Topics => {
            let found = cluster.topics(&of.patterns)?;
            Ok(Some(Answer::Topics(found.into_keys().collect())))
        }
        Question::TopicIds(topics) => {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            Ok(Some(Answer::TopicIds {
                asked: topics.clone(),
                ids: identities.of(cluster, &names),
            }))
        }
        Question::Retention(topic) => {
            let age = cluster.retention(topic).unwrap_or_else(|error| {
                tracing::debug!("for metrics only: {error}");
                None
            });
            Ok(Some(Answer::Retention(topic.clone(), age)))
        }
        Question::Place(place) => {
            let one = std::slice::from_ref(place);
            let at_time = match of.time {
                Some(millis) => cluster.at_time_within(wait, one, millis)?.remove(place),
                None => None,
            };
            let committed = if of.group {
                cluster.committed(one)?.remove(place)
            } else {
                None
            };
            let bounds = cluster.bounds_within(wait, &place.0, place.1)?;
            let found = Found {
                bounds,
                committed,
                at_time,
            };
            Ok(Some(Answer::Place(place.clone(), found)))
        }
        Question::Again(place) => {
            let bounds = cluster.bounds_within(wait, &place.0, place.1)?;
            // Behind the bounds: those of a new topic are not taken for the old one's.
            let id = identities.of(cluster, &[&place.0]).remove(&place.0);
            Ok(Some(Answer::Again {
                place: place.clone(),
                bounds,
                id,
            }))
        }
    }
}

/// What is asked of the cluster's controller. Nothing may hang on that one: where reading begins is held
/// against the log itself too.
#[derive(Default)]
struct Identities {
    /// They could not be asked for: when they are again.
    again_at: Option<Instant>,
}

impl Identities {
    /// Those that are known.
    fn of(&mut self, cluster: &Cluster, topics: &[&str]) -> BTreeMap<String, String> {
        if self.again_at.is_some_and(|at| Instant::now() < at) {
            return BTreeMap::new();
        }
        match cluster.topic_ids(topics) {
            Ok(ids) => {
                self.again_at = None;
                ids
            }
            Err(error) => {
                if self.again_at.is_none() {
                    tracing::warn!("whether topics were made anew is not known for now: {error}");
                }
                self.again_at = Some(Instant::now() + IDS_AGAIN);
                BTreeMap::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Question {
        Question::Place(("orders".to_owned(), partition))
    }

    fn partition(one: Option<One>) -> Option<i32> {
        match one?.question {
            Question::Place((_, partition)) | Question::Again((_, partition)) => Some(partition),
            Question::Topics
            | Question::TopicIds(_)
            | Question::Retention(_)
            | Question::Forget(_) => None,
        }
    }

    #[test]
    fn a_question_without_an_answer_keeps_no_other_back_and_is_asked_ever_more_rarely() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.add(place(0), now);
        let mut at = now;
        for wait in [AGAIN_MIN, AGAIN_MIN * 2, AGAIN_MIN * 4] {
            let one = waiting.due(at).expect("due");
            waiting.again(one, at);
            waiting.add(place(1), at);
            assert_eq!(waiting.patience(at), Duration::ZERO);
            assert_eq!(partition(waiting.due(at)), Some(1), "others at once");
            assert_eq!(waiting.patience(at), wait);
            assert!(waiting.due(at + wait / 2).is_none());
            at += wait;
        }
        assert_eq!(partition(waiting.due(at)), Some(0));
    }

    #[test]
    fn a_new_question_goes_before_all_that_were_asked_in_vain_and_is_not_waited_for_long() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for n in 0..100 {
            waiting.add(place(n), now);
            let one = waiting.due(now).expect("due");
            waiting.again(one, now);
        }
        let later = now + AGAIN_MAX;
        waiting.add(place(100), later);
        let one = waiting.due(later).expect("due");
        assert_eq!(one.answer_max(), FIRST_ANSWER_MAX);
        assert_eq!(partition(Some(one)), Some(100));
        // The others by turns, however long each takes.
        let mut now = later;
        for round in 1..3 {
            now += AGAIN_MAX;
            for n in 0..100 {
                let one = waiting.due(now).expect("due");
                assert_eq!((one.times, one.answer_max()), (round, ANSWER_MAX), "{n}");
                waiting.again(one, now);
            }
        }
    }

    #[test]
    fn what_is_not_ours_any_more_is_not_asked_for() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.add(place(0), now);
        waiting.add(Question::Again(("orders".to_owned(), 0)), now);
        waiting.add(place(1), now);
        waiting.forget(&[("orders".to_owned(), 0)]);
        assert_eq!(partition(waiting.due(now)), Some(1));
        assert!(waiting.due(now).is_none());
    }
}
