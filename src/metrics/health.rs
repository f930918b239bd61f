//! Whether the worker is alive and whether it is at work, and why not.

use crate::processor::{PartitionVitals, Phase, Vitals};
use std::time::Duration;

/// An idle loop turns once a second. One that did not for so long is stuck in a handler call that
/// blocks its thread, or was frozen.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A partition that could go on does so in the same turn of the loop. One that does not for so long
/// never will.
pub(super) const STALLED_MAX: Duration = Duration::from_secs(30);
/// A try that is told to end does so at its next await. One that does not for so long blocks its
/// thread, and its slot is lost.
pub(super) const OVERRUN_MAX: Duration = Duration::from_secs(30);
/// Most partitions that are named one by one.
const NAMED_MAX: usize = 20;

/// What a page says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) good: bool,
    pub(super) text: String,
}

impl Verdict {
    fn new(good: bool, word: &str, reasons: &[String]) -> Self {
        let mut text = format!("{word}\n");
        for reason in reasons {
            text.push_str(reason);
            text.push('\n');
        }
        Self { good, text }
    }
}

/// `/healthz`: whether a restart would help. `silent`: since the loop last turned; `now` by its clock.
pub(super) fn health(vitals: &Vitals, silent: Duration, now: Duration) -> Verdict {
    let mut ills = Vec::new();
    match &vitals.phase {
        Phase::Ended => ills.push("the worker has ended".to_owned()),
        Phase::Failing(why) => ills.push(format!("the worker ends: {why}")),
        Phase::Opening | Phase::Running | Phase::Draining => {}
    }
    if vitals.phase != Phase::Ended && silent > SILENCE_MAX {
        ills.push(format!(
            "stalled: the loop has not turned for {} (at most {} are sound): a handler call blocks its thread, or the process was frozen",
            seconds(silent),
            seconds(SILENCE_MAX)
        ));
    }
    if let Some(time) = over(vitals.overrun_since, now, OVERRUN_MAX) {
        ills.push(format!(
            "stalled: a handler call was told to end {} ago, when its `failure.timeout` was over, and has not: it blocks its thread, and its slot is lost",
            seconds(time)
        ));
    }
    let stalled = vitals.partitions.iter().filter_map(|partition| {
        let time = over(partition.stalled_since, now, STALLED_MAX)?;
        Some(format!(
            "stalled: {} has work and a free slot, and nothing of it started for {}: please report it",
            partition.name,
            seconds(time)
        ))
    });
    ills.extend(few(stalled.collect()));
    let lost = vitals.partitions.iter().filter_map(|partition| {
        let since = partition.store_fails_since.filter(|_| partition.unproven)?;
        Some(format!(
            "store out of reach: {} starts nothing, since the store has answered nothing but errors for {}, and its ownership is not proven any more",
            partition.name,
            seconds(now.saturating_sub(since))
        ))
    });
    ills.extend(few(lost.collect()));
    if !ills.is_empty() {
        return Verdict::new(false, "unhealthy", &ills);
    }
    Verdict::new(true, "ok", &standing(vitals, now))
}

/// What stands and is no reason for a restart.
fn standing(vitals: &Vitals, now: Duration) -> Vec<String> {
    let mut notes = Vec::new();
    if vitals.phase == Phase::Draining {
        notes.push(format!("draining: {} in flight", vitals.in_flight));
    }
    if let Some(since) = vitals.sick_since {
        let time = seconds(now.saturating_sub(since));
        notes.push(format!("the target is sick, for {time}: it is probed"));
    }
    let of = |what: &str, count: fn(&PartitionVitals) -> u64| {
        let sum: u64 = vitals.partitions.iter().map(count).sum();
        (sum > 0).then(|| format!("{what}: {sum}"))
    };
    notes.extend(of("stopped lanes", |partition| partition.stopped));
    notes.extend(of("parked lanes", |partition| {
        partition.parked + partition.draining
    }));
    notes.extend(of("paused partitions", |p| u64::from(p.paused)));
    let unreadable = vitals.partitions.iter().filter_map(|partition| {
        let time = seconds(now.saturating_sub(partition.unreadable_since?));
        let name = &partition.name;
        Some(format!(
            "{name} stands, for {time}: what comes next in its log cannot be read, as the worker's log says"
        ))
    });
    notes.extend(few(unreadable.collect()));
    if !vitals.newcomers.is_empty() {
        let count = vitals.newcomers.len();
        notes.push(format!(
            "new partitions that wait for lanes to be decided: {count}"
        ));
    }
    let failing = vitals.partitions.iter().filter_map(|partition| {
        let since = partition.store_fails_since?;
        let time = seconds(now.saturating_sub(since));
        Some(format!("{}: store out of reach for {time}", partition.name))
    });
    notes.extend(few(failing.collect()));
    notes
}

/// `/readyz`: whether it has taken up all that is its own, and is not about to stop.
pub(super) fn ready(vitals: &Vitals, silent: Duration) -> Verdict {
    let mut reasons = Vec::new();
    match &vitals.phase {
        Phase::Opening => reasons.push("the worker starts".to_owned()),
        Phase::Draining => reasons.push("draining".to_owned()),
        Phase::Failing(why) => reasons.push(format!("the worker ends: {why}")),
        Phase::Ended => reasons.push("the worker has ended".to_owned()),
        Phase::Running => {
            let claimed = vitals.partitions.len() + vitals.newcomers.len();
            match vitals.announced {
                None => reasons.push("a source has not said yet what partitions it has".to_owned()),
                Some(announced) if claimed < announced => {
                    reasons.push(format!("{claimed} of {announced} partitions are claimed"))
                }
                Some(_) => {}
            }
            // The newcomers wait for a person, as stopped lanes do.
            let claiming = vitals.claiming.iter();
            let claiming = claiming.filter(|name| !vitals.newcomers.contains(name));
            let claiming = claiming.map(|name| format!("claiming {name}"));
            reasons.extend(few(claiming.collect()));
        }
    }
    if silent > SILENCE_MAX {
        reasons.push(format!("the loop has not turned for {}", seconds(silent)));
    }
    if !reasons.is_empty() {
        return Verdict::new(false, "not ready", &reasons);
    }
    let owned = format!("partitions: {}", vitals.partitions.len());
    Verdict::new(true, "ready", &[owned])
}

/// How long it has been, where that is too long.
fn over(since: Option<Duration>, now: Duration, max: Duration) -> Option<Duration> {
    let time = now.saturating_sub(since?);
    (time > max).then_some(time)
}

fn few(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > NAMED_MAX {
        let more = lines.len() - NAMED_MAX;
        lines.truncate(NAMED_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::PartitionName;

    const NOW: Duration = Duration::from_secs(1_000);
    const SOUND: Duration = Duration::from_secs(1);

    fn partition(n: usize) -> PartitionVitals {
        PartitionVitals::new(PartitionName::new("orders", &format!("orders/{n}")))
    }

    /// One that runs, with all that it should have.
    fn sound() -> Vitals {
        Vitals {
            phase: Phase::Running,
            announced: Some(2),
            partitions: vec![partition(0), partition(1)],
            ..Vitals::default()
        }
    }

    fn ago(seconds: u64) -> Option<Duration> {
        Some(NOW - Duration::from_secs(seconds))
    }

    #[test]
    fn a_loop_that_idles_is_sound() {
        let verdict = health(&sound(), SOUND, NOW);
        assert_eq!((verdict.good, verdict.text.as_str()), (true, "ok\n"));
        let verdict = ready(&sound(), SOUND);
        assert_eq!(
            (verdict.good, verdict.text.as_str()),
            (true, "ready\npartitions: 2\n")
        );
    }

    #[test]
    fn a_loop_that_does_not_turn_is_stalled_however_it_looked_last() {
        let late = SILENCE_MAX + Duration::from_millis(1);
        let verdict = health(&sound(), late, NOW);
        assert!(!verdict.good);
        assert!(
            verdict.text.contains("has not turned for 10.0 s"),
            "{verdict:?}"
        );
        assert!(health(&sound(), SILENCE_MAX, NOW).good);
        assert!(!ready(&sound(), late).good);
    }

    #[test]
    fn work_that_nothing_keeps_and_that_does_not_start_is_stalled() {
        let mut vitals = sound();
        vitals.partitions[1].stalled_since = ago(30);
        assert!(health(&vitals, SOUND, NOW).good);
        vitals.partitions[1].stalled_since = ago(31);
        let verdict = health(&vitals, SOUND, NOW);
        assert!(!verdict.good);
        assert!(
            verdict.text.contains("stalled: orders/orders/1 "),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_call_that_does_not_end_is_stalled() {
        let mut vitals = sound();
        vitals.overrun_since = ago(30);
        assert!(health(&vitals, SOUND, NOW).good);
        vitals.overrun_since = ago(31);
        assert!(!health(&vitals, SOUND, NOW).good);
    }

    #[test]
    fn a_store_out_of_reach_is_named_at_once_and_ill_once_ownership_is_not_proven() {
        let mut vitals = sound();
        vitals.partitions[0].store_fails_since = ago(5);
        let verdict = health(&vitals, SOUND, NOW);
        assert!(verdict.good);
        assert!(
            verdict
                .text
                .contains("orders/orders/0: store out of reach for 5.0 s")
        );
        vitals.partitions[0].unproven = true;
        let verdict = health(&vitals, SOUND, NOW);
        assert!(!verdict.good);
        assert!(
            verdict.text.contains("store out of reach: orders/orders/0"),
            "{verdict:?}"
        );
        // It idled for long and its work has just come: the store is being asked.
        vitals.partitions[0].store_fails_since = None;
        assert!(health(&vitals, SOUND, NOW).good);
    }

    #[test]
    fn what_only_a_person_or_the_target_can_mend_is_no_reason_for_a_restart() {
        let mut vitals = sound();
        vitals.sick_since = ago(600);
        vitals.partitions[0].stopped = 2;
        vitals.partitions[1].stopped = 1;
        vitals.partitions[1].parked = 4;
        vitals.partitions[1].paused = true;
        let verdict = health(&vitals, SOUND, NOW);
        assert_eq!(
            verdict.text,
            "ok\nthe target is sick, for 600.0 s: it is probed\nstopped lanes: 3\nparked lanes: 4\npaused partitions: 1\n"
        );
        assert!(verdict.good);
        assert!(ready(&vitals, SOUND).good);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_no_reason_for_a_restart() {
        let mut vitals = sound();
        vitals.partitions[1].unreadable_since = ago(90);
        // What stands before it may be a stopped lane's as well.
        vitals.partitions[1].stopped = 1;
        vitals.partitions[1].paused = true;
        let verdict = health(&vitals, SOUND, NOW);
        assert_eq!(
            verdict.text,
            "ok\nstopped lanes: 1\npaused partitions: 1\norders/orders/1 stands, for 90.0 s: what comes next in its log cannot be read, as the worker's log says\n"
        );
        assert!(verdict.good);
        assert!(ready(&vitals, SOUND).good);
    }

    #[test]
    fn it_is_ready_from_the_last_claim_to_the_drain() {
        let not_ready = |vitals: &Vitals| {
            let verdict = ready(vitals, SOUND);
            assert!(!verdict.good, "{verdict:?}");
            verdict.text.replace("not ready\n", "")
        };
        let mut vitals = Vitals::default();
        assert_eq!(not_ready(&vitals), "the worker starts\n");
        vitals.phase = Phase::Running;
        assert!(not_ready(&vitals).contains("has not said yet"));
        vitals.announced = Some(2);
        vitals.claiming = vec![partition(1).name];
        vitals.partitions = vec![partition(0)];
        assert_eq!(
            not_ready(&vitals),
            "1 of 2 partitions are claimed\nclaiming orders/orders/1\n"
        );
        vitals.claiming.clear();
        vitals.partitions.push(partition(1));
        assert!(ready(&vitals, SOUND).good);
        vitals.phase = Phase::Draining;
        assert_eq!(not_ready(&vitals), "draining\n");
        // It drains and is alive: nobody should kill it.
        assert!(health(&vitals, SOUND, NOW).good);
    }

    #[test]
    fn a_new_partition_that_waits_for_a_decision_is_no_reason_to_wait_for() {
        let mut vitals = sound();
        vitals.announced = Some(3);
        vitals.claiming = vec![partition(2).name];
        assert!(!ready(&vitals, SOUND).good);
        vitals.newcomers.clone_from(&vitals.claiming);
        assert!(ready(&vitals, SOUND).good);
        let text = health(&vitals, SOUND, NOW).text;
        assert_eq!(
            text,
            "ok\nnew partitions that wait for lanes to be decided: 1\n"
        );
    }

    #[test]
    fn a_source_without_partitions_is_ready() {
        let vitals = Vitals {
            phase: Phase::Running,
            announced: Some(0),
            ..Vitals::default()
        };
        assert!(ready(&vitals, SOUND).good);
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_ill() {
        for phase in [Phase::Failing("no such file".to_owned()), Phase::Ended] {
            let vitals = Vitals { phase, ..sound() };
            assert!(!health(&vitals, SOUND, NOW).good);
            assert!(!ready(&vitals, SOUND).good);
        }
    }

    #[test]
    fn many_partitions_are_not_all_named() {
        let mut vitals = sound();
        vitals.partitions = (0..25).map(partition).collect();
        for partition in &mut vitals.partitions {
            partition.stalled_since = ago(60);
        }
        let text = health(&vitals, SOUND, NOW).text;
        assert_eq!(text.lines().count(), 1 + NAMED_MAX + 1);
        assert!(text.ends_with("and 5 more\n"), "{text}");
    }
}
