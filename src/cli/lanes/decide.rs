//! Decisions: written for the worker that owns the partition to act on.

use super::{Decide, Document, Lane, LaneView};
use crate::{
    cli::{
        exit::{CommandError, Exit},
        output,
        status::is_alive,
        view::{key_text, state_name},
    },
    config::Config,
    record::OrderBy,
    store::{DecisionNote, LaneItem, LaneState, Store, Verb},
};
use std::time::{Duration, Instant};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(100);
/// How often it says that it waits still.
const TELL: Duration = Duration::from_secs(30);

/// A lane on which the word stands that was asked for.
struct Decided {
    lane: Lane,
    note: DecisionNote,
    how: How,
}

/// How it came to stand.
enum How {
    Fresh,
    /// In place of another one, that nobody had taken.
    Instead(Verb),
    /// The same was decided before.
    Already,
}

pub(super) async fn run(
    config: &Config,
    store: &dyn Store,
    verb: Verb,
    arguments: &Decide,
) -> Result<Exit, CommandError> {
    if verb == Verb::DeadLetter && config.failure.dead_letter.is_none() {
        return Err(CommandError::Usage(
            "`failure.dead_letter` is missing: name a target before lanes are dead-lettered"
                .to_owned(),
        ));
    }
    if verb == Verb::Park && config.order.by == OrderBy::Partition {
        return Err(CommandError::Usage(
            "`order.by` is `partition`: parking would move the whole partition into the store; decide `retry` or `skip`"
                .to_owned(),
        ));
    }
    let found = arguments.which.find(store).await?;
    let note = DecisionNote::new(verb, who(), arguments.why.clone(), output::now());
    let mut decided = Vec::new();
    for lane in found {
        if arguments.which.name.all && !lane.1.state.offers(verb) {
            continue;
        }
        decided.push(decide(config, store, lane, &note).await);
    }
    if decided.is_empty() {
        return Err(CommandError::Usage(format!(
            "no lane{} is in a state that offers `{}`",
            arguments.which.place.text(),
            verb.name()
        )));
    }
    let mut exit = Exit::Fine;
    let mut lanes = Vec::new();
    for outcome in decided {
        match outcome {
            Ok(lane) => lanes.push(lane),
            Err(error) => {
                output::failure(&error.to_string());
                exit = exit.worse(error.exit());
            }
        }
    }
    let running = is_running(store).await?;
    if !running && !lanes.is_empty() {
        let waits = if lanes.len() == 1 {
            "decision waits"
        } else {
            "decisions wait"
        };
        output::note(&format!(
            "no worker of app `{}` is running: the {waits} in {} for the next `lanekeeper run`",
            config.app,
            store.describe()
        ));
    }
    if arguments.wait {
        if !running && !lanes.is_empty() {
            output::note("waiting for one; Ctrl-C ends the waiting, and what was decided stands");
        }
        for decided in &mut lanes {
            decided.lane.1 = wait(store, decided).await?;
        }
    }
    print(&lanes, verb, arguments)?;
    Ok(exit)
}

async fn decide(
    config: &Config,
    store: &dyn Store,
    lane: Lane,
    note: &DecisionNote,
) -> Result<Decided, CommandError> {
    let (partition, mut item) = lane;
    // What an operator asks of a lane that does not offer it is said with the state, and not tried.
    if !item.state.offers(note.verb) {
        let (state, verb) = (state_name(item.state), note.verb.name());
        let offered: Vec<_> = { Verb::ALL.iter() }
            .filter(|verb| item.state.offers(**verb))
            .filter(|verb| **verb != Verb::DeadLetter || config.failure.dead_letter.is_some())
            .filter(|verb| **verb != Verb::Park || config.order.by != OrderBy::Partition)
            .map(|verb| format!("`{}`", verb.name()))
            .collect();
        let offered = if offered.is_empty() {
            "nothing until it is live or parked again".to_owned()
        } else {
            offered.join(", ")
        };
        return Err(CommandError::Usage(format!(
            "{} of {partition} is {state}, which does not offer `{verb}`: it offers {offered}",
            key_text(&item.lane)
        )));
    }
    let how = match &item.decision {
        Some(standing) if standing.verb == note.verb => {
            return Ok(Decided {
                note: standing.clone(),
                lane: (partition, item),
                how: How::Already,
            });
        }
        Some(standing) => How::Instead(standing.verb),
        None => How::Fresh,
    };
    item.rev = store.decide(&partition, &item.lane, item.rev, note).await?;
    item.decision = Some(note.clone());
    Ok(Decided {
        note: note.clone(),
        lane: (partition, item),
        how,
    })
}

/// Waits until nothing of the decision is left to be done; gives the lane as it is then.
async fn wait(store: &dyn Store, decided: &Decided) -> Result<LaneItem, CommandError> {
    let Decided {
        lane: (partition, item),
        note,
        ..
    } = decided;
    let began = Instant::now();
    let mut told = began;
    loop {
        if told.elapsed() >= TELL {
            told = Instant::now();
            let worker = if is_running(store).await? {
                "a worker is running, and has not finished it"
            } else {
                "no worker is running"
            };
            output::note(&format!(
                "{} of {partition}: waiting for {} s; {worker}",
                key_text(&item.lane),
                began.elapsed().as_secs()
            ));
        }
        let lanes = store.lanes(partition).await?;
        let Some(found) = lanes.into_iter().find(|other| other.lane == item.lane) else {
            return Ok(LaneItem {
                state: LaneState::Live,
                decision: None,
                ..item.clone()
            });
        };
        let pending = { &found.decision }.as_ref().is_some_and(|other| {
            (other.at, &other.by, other.verb) == (note.at, &note.by, note.verb)
        });
        // A lane that drains is still being released.
        if !pending && found.state != LaneState::Draining {
            return Ok(found);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            signal = tokio::signal::ctrl_c() => {
                signal.map_err(|e| CommandError::Internal(format!("cannot wait for signals: {e}")))?;
                return Err(CommandError::Interrupted(format!(
                    "{} of {partition}: not waited to the end; the decision stands",
                    key_text(&item.lane)
                )));
            }
        }
    }
}

fn print(decided: &[Decided], verb: Verb, arguments: &Decide) -> Result<(), CommandError> {
    if arguments.json {
        let lanes: Vec<_> = { decided.iter().map(|decided| &decided.lane) }
            .map(|(p, lane)| LaneView::new(p, lane))
            .collect();
        return output::json(&Document { format: 1, lanes });
    }
    for Decided { lane, how, .. } in decided {
        let (partition, item) = lane;
        let lane = format!("{} of {partition} at {}", key_text(&item.lane), item.head);
        let verb = verb.name();
        output::data(&if arguments.wait {
            format!("{verb}: {lane}: now {}", state_name(item.state))
        } else {
            match how {
                How::Fresh => format!("{verb}: {lane}: decided"),
                How::Instead(other) => {
                    format!("{verb}: {lane}: decided, instead of `{}`", other.name())
                }
                How::Already => format!("{verb}: {lane}: was decided already"),
            }
        })?;
    }
    Ok(())
}

async fn is_running(store: &dyn Store) -> Result<bool, CommandError> {
    let now = output::now();
    Ok(store
        .workers()
        .await?
        .iter()
        .any(|item| is_alive(item, now)))
}

/// Who decides, for the history.
pub(crate) fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|name| !name.is_empty());
    format!(
        "{}@{}",
        user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw())),
        crate::cli::machine::host()
    )
}
