//! Operators: what they decide on lanes that stand.

use super::{
    log::offset,
    target::Place,
    world::{Shared, now},
};
use lanekeeper::{
    record::PartitionName,
    store::{DecisionNote, LaneItem, LaneState, Store, Verb},
};
use std::sync::Arc;

/// An operator looks at what stands and decides; `all`: on everything, so that it goes on.
pub(super) fn decide(shared: &Arc<Shared>, all: bool) {
    let standing: Vec<(PartitionName, LaneItem)> = shared.store.tamper(|contents| {
        let undecided = contents.lanes.iter().filter(|(_, i)| i.decision.is_none());
        undecided
            .map(|((p, _), i)| (p.clone(), i.clone()))
            .collect()
    });
    for (name, item) in standing {
        if !(all || shared.chance(0.5)) {
            continue;
        }
        let verbs: &[Verb] = match (item.state, all) {
            (LaneState::Stopped, true) => &[Verb::Retry, Verb::Retry, Verb::Retry, Verb::Skip],
            (LaneState::Stopped, false) => &[
                Verb::Retry,
                Verb::Retry,
                Verb::Skip,
                Verb::Park,
                Verb::DeadLetter,
            ],
            (LaneState::Parked, true) => &[Verb::Release],
            (LaneState::Parked, false) => {
                &[Verb::Release, Verb::Retry, Verb::Skip, Verb::DeadLetter]
            }
            (LaneState::Draining | LaneState::Live, _) => continue,
        };
        let Some(verb) = shared.pick(verbs) else {
            continue;
        };
        if item.last_error.is_empty() {
            let what = format!("lane {} stands without an error: {item:?}", item.lane);
            shared.problem(what);
        }
        let place: Place = (shared.log().number(&name), offset(&item.head));
        if verb == Verb::Skip {
            shared.seen().passed.skipped(place);
        }
        let note = DecisionNote {
            verb,
            by: "operator".to_owned(),
            why: None,
            at: i64::try_from(now().as_millis()).expect("short"),
            taken: false,
            lease: None,
            tried: None,
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let decided = shared.store.decide(&name, &item.lane, item.rev, &note);
            // An owner may be quicker: then the operator looks again. A rewind may have left the lane
            // as it was.
            if decided.await.is_ok() && verb == Verb::Skip {
                shared.seen().passed.skipped(place);
            }
        });
    }
}
