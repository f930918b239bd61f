//! What a handler's answer means: for the engine, for the history, for a lane's errors.

use super::{
    Processor,
    counts::TryOutcome,
    log,
    room::first_beyond,
    tries::{Ended, Out},
};
use crate::{
    effect::{Effect, target::first_overlap},
    handler::{Answer, Failure, FailureKind},
    history::Event,
    record::LaneKey,
};
use partitions::{PartitionId, Rest, Ticket};
use std::time::Duration;

/// An answer, classified.
struct Classified {
    done: usize,
    effects: Vec<(usize, Effect)>,
    rest: Rest,
    quarantine: Duration,
    outcome: TryOutcome,
    error: Option<String>,
}

impl Processor {
    /// The short way for most tries: all records are done without effects, nothing of their lanes is
    /// remembered, and nobody keeps facts. `false`: it ended otherwise, and nothing is done yet.
    pub(super) fn passes(
        &mut self,
        ticket: Ticket,
        partition: PartitionId,
        records: usize,
        end: &Ended,
    ) -> bool {
        let is_plain = match end {
            Ended::Answered(answer) => answer.done >= records && answer.effects.is_empty(),
            Ended::Panicked(_) | Ended::TimedOut => false,
        };
        if !is_plain || self.notes.keeps() {
            return false;
        }
        let owned = self.partitions.get(&partition);
        let Some(owned) = owned.filter(|owned| owned.errors.is_empty()) else {
            return false;
        };
        let counts = self.counters.of(owned.source);
        counts.done += records as u64;
        counts.tried(TryOutcome::Done, records as u64);
        self.engine.complete(
            ticket,
            partitions::Answer {
                done: u32::try_from(records).unwrap_or(u32::MAX),
                with_effects: false,
                rest: Rest::Nothing,
                quarantine: Duration::ZERO,
            },
        );
        true
    }

    pub(super) fn try_ended(&mut self, ticket: Ticket, out: &Out, end: Ended) {
        let records = out.run.records();
        let answer = self.classify(end, records.len());
        self.note_ended(out, &answer);
        if !answer.quarantine.is_zero() {
            let until = self.now + answer.quarantine;
            self.tries.linger(until, &out.run, self.now);
        }
        let first = out.run.first();
        let source = if let Some(owned) = self.partitions.get_mut(&out.partition) {
            if let Some(error) = &answer.error {
                owned.dirty = true;
                if let Some(lane) = LaneKey::from_bytes(first.lane()) {
                    let counted =
                        u32::from(matches!(answer.rest, Rest::Retry { .. } | Rest::Reject));
                    // The attempts of the first record are known; a later one of the run is at its first.
                    let before = if answer.done == 0 {
                        out.run.attempt() - 1
                    } else {
                        0
                    };
                    let failed = records.get(answer.done).unwrap_or(first);
                    owned.errors.entry(lane).or_default().note(
                        failed.position(),
                        error,
                        before + counted,
                    );
                }
            } else if !owned.errors.is_empty() && answer.effects.is_empty() {
                LaneKey::from_bytes(first.lane()).map(|lane| owned.errors.remove(&lane));
            }
            if !answer.effects.is_empty() {
                owned.effects.insert(ticket, answer.effects.clone());
            }
            owned.source
        } else {
            self.counters.place(&first.assignment().name.source)
        };
        self.count_ended(source, out, &answer);
        self.engine.complete(
            ticket,
            partitions::Answer {
                done: u32::try_from(answer.done).unwrap_or(u32::MAX),
                with_effects: !answer.effects.is_empty(),
                rest: answer.rest,
                quarantine: answer.quarantine,
            },
        );
    }

    fn classify(&self, end: Ended, n: usize) -> Classified {
        let answer = match end {
            Ended::Answered(answer) => return self.answered(answer, n),
            Ended::Panicked(error) => Classified {
                done: 0,
                effects: Vec::new(),
                rest: Rest::Unattributed,
                quarantine: Duration::ZERO,
                outcome: TryOutcome::Panic,
                error: Some(error),
            },
            Ended::TimedOut => Classified {
                done: 0,
                effects: Vec::new(),
                rest: Rest::Unattributed,
                quarantine: self.settle,
                outcome: TryOutcome::Timeout,
                error: Some(format!("no answer within {:?}", self.settings.timeout)),
            },
        };
        attributed(answer, n)
    }

    fn answered(&self, answer: Answer, n: usize) -> Classified {
        let Answer {
            done,
            mut effects,
            failure,
        } = answer;
        let mut done = done.min(n);
        let mut failure = failure.filter(|_| done < n);
        // What still runs does so whatever becomes of the answer.
        let unknown_end = failure.as_ref().and_then(|f| f.unknown_end);
        let quarantine = unknown_end.unwrap_or_default();
        if let Some((of, why)) = first_unsound(&effects, done) {
            // What came before it stands, what came after it was never answered.
            effects.retain(|(k, _)| *k < of);
            done = of;
            failure = Some(Failure::reject(why));
        }
        let beyond = first_beyond(&effects, self.store.bounds());
        if let Some(of) = first_overlap(&effects).into_iter().chain(beyond).min() {
            effects.retain(|(k, _)| *k < of);
            done = of;
            failure = None;
        }
        let (rest, outcome) = match &failure {
            None if done == n => (Rest::Nothing, TryOutcome::Done),
            None => (Rest::Untried, TryOutcome::Untried),
            Some(f) => match f.kind {
                FailureKind::Retry => (Rest::Retry { after: f.after }, TryOutcome::Retry),
                FailureKind::Reject => (Rest::Reject, TryOutcome::Reject),
                FailureKind::Target => (Rest::Target { after: f.after }, TryOutcome::Target),
                FailureKind::Unattributed => (Rest::Unattributed, TryOutcome::Unattributed),
                FailureKind::Untried => (Rest::Untried, TryOutcome::Untried),
            },
        };
        let error = failure.map(|f| f.error);
        attributed(
            Classified {
                done,
                effects,
                rest,
                quarantine,
                outcome,
                error,
            },
            n,
        )
    }

    fn note_ended(&mut self, out: &Out, answer: &Classified) {
        let ticket = out.number;
        let plain = answer.effects.is_empty();
        for (index, record) in out.run.records().iter().enumerate() {
            let attempt = out.run.attempt();
            if index < answer.done {
                self.notes.record(
                    record,
                    Event::Ended {
                        ticket,
                        attempt,
                        outcome: TryOutcome::Done.name(),
                        error: None,
                    },
                );
                if plain {
                    self.notes.record(record, Event::Done);
                }
                continue;
            }
            let failed = index == answer.done || answer.rest == Rest::Unattributed;
            if let Some(error) = answer.error.as_deref().filter(|_| failed) {
                log::failed(record, attempt, answer.outcome.name(), error);
            }
            let (outcome, error) = if failed {
                (answer.outcome, answer.error.as_deref())
            } else {
                (TryOutcome::Untried, None)
            };
            self.notes.record(
                record,
                Event::Ended {
                    ticket,
                    attempt,
                    outcome: outcome.name(),
                    error,
                },
            );
        }
        if !answer.quarantine.is_zero() {
            let millis = u64::try_from(answer.quarantine.as_millis()).unwrap_or(u64::MAX);
            self.notes
                .record(out.run.first(), Event::Quarantined { ticket, millis });
        }
    }

    /// `source`: its place among the counters.
    fn count_ended(&mut self, source: usize, out: &Out, answer: &Classified) {
        let counts = self.counters.of(source);
        let (done, left) = (answer.done, out.run.records().len() - answer.done);
        if answer.effects.is_empty() {
            counts.done += done as u64;
        }
        counts.tried(TryOutcome::Done, done as u64);
        if left > 0 {
            let failed = match answer.rest {
                Rest::Unattributed => left,
                Rest::Retry { .. }
                | Rest::Target { .. }
                | Rest::Reject
                | Rest::Nothing
                | Rest::Untried => 1,
            };
            counts.tried(answer.outcome, failed as u64);
            counts.tried(TryOutcome::Untried, (left - failed) as u64);
        }
        // The attempts of the first record are known; a later one of the run is at its first.
        let attempt = if done == 0 { out.run.attempt() } else { 1 };
        match answer.rest {
            Rest::Retry { .. } if attempt >= self.settings.failure.attempts_max => {}
            Rest::Retry { .. } | Rest::Target { .. } | Rest::Unattributed => counts.retries += 1,
            Rest::Reject => counts.rejected += 1,
            Rest::Nothing | Rest::Untried => {}
        }
    }
}

/// The first record whose effects no store can take, and why. An effect of a record that is not done
/// voids the whole answer: a handler that cannot count is not believed.
fn first_unsound(effects: &[(usize, Effect)], done: usize) -> Option<(usize, String)> {
    if let Some((of, _)) = effects.iter().find(|(of, _)| *of >= done) {
        let why = format!("malformed answer: an effect names record {of} and {done} are done");
        return Some((0, why));
    }
    let unsound = |(of, effect): &(usize, Effect)| effect.check().err().map(|why| (*of, why));
    effects.iter().filter_map(unsound).min_by_key(|(of, _)| *of)
}

/// In what is left of a run of one there is no doubt which record it was.
fn attributed(mut answer: Classified, n: usize) -> Classified {
    if answer.rest == Rest::Unattributed && n - answer.done <= 1 {
        answer.rest = Rest::Retry {
            after: Duration::ZERO,
        };
    }
    answer
}
