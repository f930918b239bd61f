//! Asks the cluster on a thread of its own: an answer may take as long as the network likes, and the
//! thread that polls must not wait for it.

use super::{
    Settings,
    client::Place,
    cluster::{Cluster, ClusterError},
    place::Found,
};
use crate::source::{SourceError, StartAt, pattern::Pattern};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    thread,
    time::Duration,
};

/// Waits before a question is asked again, doubled from the first to the last.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

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
    let mut waiting: VecDeque<Question> = VecDeque::new();
    let mut again = AGAIN_MIN;
    let mut last_error = None;
    loop {
        let patience = if waiting.is_empty() {
            LISTEN_EVERY
        } else {
            Duration::ZERO
        };
        let next = asked.recv_timeout(patience);
        // What brokers are told of us may be about to expire.
        cluster.listen();
        match next {
            Ok(question) => waiting.push_back(question),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(question) = waiting.pop_front() else {
            continue;
        };
        match look(cluster, of, &question) {
            Ok(answer) => {
                (again, last_error) = (AGAIN_MIN, None);
                if told.send(answer).is_err() {
                    return;
                }
            }
            Err(error) => {
                let said = error.to_string();
                if last_error.as_ref() != Some(&said) {
                    tracing::warn!(%source, "asked again until there is an answer: {said}");
                    last_error = Some(said);
                }
                // Others first: this one may be of a topic that is gone.
                waiting.push_back(question);
                thread::sleep(again);
                again = (again * 2).min(AGAIN_MAX);
            }
        }
    }
}

fn look(cluster: &Cluster, of: &Asked, question: &Question) -> Result<Answer, ClusterError> {
    match question {
        Question::Topics => {
            let found = cluster.topics(&of.patterns)?;
            Ok(Answer::Topics(found.into_keys().collect()))
        }
        Question::TopicIds(topics) => {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            // Its answer comes from the cluster's controller, and nothing may hang on that one: where
            // reading begins is held against the log itself too.
            let ids = cluster.topic_ids(&names).unwrap_or_else(|error| {
                tracing::warn!("whether topics were made anew is not known this time: {error}");
                BTreeMap::new()
            });
            Ok(Answer::TopicIds {
                asked: topics.clone(),
                ids,
            })
        }
        Question::Retention(topic) => {
            let age = cluster.retention(topic).unwrap_or_else(|error| {
                tracing::debug!("for metrics only: {error}");
                None
            });
            Ok(Answer::Retention(topic.clone(), age))
        }
        Question::Place(place) => {
            let one = std::slice::from_ref(place);
            let at_time = match of.time {
                Some(millis) => cluster.at_time(one, millis)?.remove(place),
                None => None,
            };
            let committed = if of.group {
                cluster.committed(one)?.remove(place)
            } else {
                None
            };
            let bounds = cluster.bounds(&place.0, place.1)?;
            let found = Found {
                bounds,
                committed,
                at_time,
            };
            Ok(Answer::Place(place.clone(), found))
        }
    }
}
