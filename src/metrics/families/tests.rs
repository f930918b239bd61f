use super::*;
use crate::{
    processor::{Clock, Phase},
    record::PartitionName,
    store::{Consumed, Repeats},
};
use prometheus_client::{encoding::prometheus_text::encode, registry::Registry};
use std::{collections::BTreeSet, time::Duration};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// It stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::from_secs(1_000)
    }

    fn wall_millis(&self) -> i64 {
        1_700_000_000_000
    }
}

fn page(vitals: Vitals) -> String {
    let watch = Arc::new(Watch::new(Arc::new(Still), 3));
    watch.show(vitals);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(watch)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    text
}

/// Each family has a value.
fn full() -> Vitals {
    let partition = PartitionVitals {
        behind: Some(7),
        buffered: 5,
        bytes: 900,
        waiting: 2,
        paused: true,
        head_at: Some(1_700_000_000_000 - 90_000),
        retention: Some(Duration::from_secs(360)),
        stopped: 1,
        parked: 2,
        draining: 3,
        chained: 40,
        stopped_since: Some(1_700_000_000_000 - 60_500),
        ..PartitionVitals::new(PartitionName::new("orders", "orders/0"))
    };
    let mut commits = Latencies::default();
    (commits.within[3], commits.within[13], commits.sum) = (2, 1, 42.5);
    let counts = Counts {
        done: 10,
        dead_lettered: 1,
        skipped: 2,
        stopped: 3,
        parked: 4,
        chained: 5,
        retries: 6,
        rejected: 7,
        fenced: 8,
        ..Counts::default()
    };
    Vitals {
        phase: Phase::Running,
        cap: 3,
        in_flight: 2,
        sick_since: Some(Duration::from_secs(988)),
        overrun_since: None,
        announced: Some(2),
        newcomers: Vec::new(),
        claiming: vec![PartitionName::new("orders", "orders/1")],
        partitions: vec![partition],
        counts: vec![
            ("orders".into(), counts),
            ("empty".into(), Counts::default()),
        ],
        commits,
        store_errors: vec![(("commit", "not_written"), 9)],
        consumed: Some(Consumed {
            requests: 12,
            read_units: 1.5,
            write_units: 20.0,
        }),
        repeats: Repeats {
            not_now: 14,
            lost: 15,
        },
    }
}

fn value(page: &str, series: &str) -> String {
    let found = page.lines().find_map(|line| line.strip_prefix(series));
    found
        .unwrap_or_else(|| panic!("{series} is not in\n{page}"))
        .trim()
        .to_owned()
}

/// Name, type and labels of each family that has a value.
fn shown(page: &str) -> BTreeSet<(String, String, Vec<String>)> {
    let mut families = BTreeSet::new();
    for line in page.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let sample = page.lines().find(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) || rest.starts_with("_bucket")
        });
        let sample = sample.unwrap_or_else(|| panic!("{name} has no value"));
        let labels = sample.split_once('{').map_or("", |(_, rest)| {
            rest.split_once('}').expect("an end of labels").0
        });
        let labels = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0));
        let labels = labels.filter(|label| *label != "le").map(str::to_owned);
        families.insert((name.to_owned(), kind.to_owned(), labels.collect()));
    }
    families
}

/// The same of the document's table; its units are those that the names end with.
fn documented() -> BTreeSet<(String, String, Vec<String>)> {
    let rows = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `lanekeeper_"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, unit, labels, says, _, _] = cells.as_slice() else {
            panic!("not six cells: {row}");
        };
        let name = name.trim_matches('`');
        assert!(!says.is_empty(), "{name} says nothing");
        for suffix in ["seconds", "bytes", "ratio"] {
            let ends = name.trim_end_matches("_total").ends_with(suffix);
            assert_eq!(ends, *unit == suffix, "the unit of {name} is {unit}");
        }
        let labels = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        (name.to_owned(), (*kind).to_owned(), labels.collect())
    });
    rows.collect()
}

#[test]
fn the_document_has_what_is_shown_and_nothing_else() {
    let (shown, documented) = (shown(&page(full())), documented());
    let missing: Vec<_> = shown.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&shown).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "in docs/metrics.md are missing: {missing:?}; are not shown: {unknown:?}"
    );
    assert!(shown.len() > 25, "{shown:?}");
}

#[test]
fn label_values_are_documented() {
    let row = |name: &str| {
        let found = DOCUMENT
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")));
        found.unwrap_or_else(|| panic!("{name}")).to_owned()
    };
    let records = row("lanekeeper_records_total");
    for (outcome, _) in OUTCOMES {
        assert!(records.contains(&format!("`{outcome}`")), "{outcome}");
    }
    let tries = row("lanekeeper_tries_total");
    for outcome in TryOutcome::ALL.map(TryOutcome::name) {
        assert!(tries.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

#[test]
fn values_are_those_of_the_last_look_and_ages_those_of_now() {
    let page = page(full());
    let of = |series: &str| value(&page, series);
    for (outcome, count) in [
        ("done", "10"),
        ("stopped", "3"),
        ("parked", "4"),
        ("chained", "5"),
    ] {
        let series = format!("lanekeeper_records_total{{source=\"orders\",outcome=\"{outcome}\"}}");
        assert_eq!(of(&series), count, "{outcome}");
    }
    assert_eq!(of("lanekeeper_fenced_writes_total{source=\"orders\"}"), "8");
    assert_eq!(of("lanekeeper_in_flight"), "2");
    assert_eq!(of("lanekeeper_cap"), "3");
    assert_eq!(of("lanekeeper_target_sick_seconds"), "12.0");
    assert_eq!(of("lanekeeper_claiming_partitions{source=\"orders\"}"), "1");
    let partition = "{source=\"orders\",partition=\"orders/0\"}";
    assert_eq!(of(&format!("lanekeeper_lag_records{partition}")), "12");
    assert_eq!(of(&format!("lanekeeper_lag_seconds{partition}")), "90.0");
    assert_eq!(
        of(&format!("lanekeeper_retention_used_ratio{partition}")),
        "0.25"
    );
    assert_eq!(
        of("lanekeeper_stopped_lane_age_seconds{source=\"orders\"}"),
        "60.5"
    );
    assert_eq!(
        of("lanekeeper_lanes{source=\"orders\",state=\"draining\"}"),
        "3"
    );
    assert_eq!(
        of("lanekeeper_lanes{source=\"empty\",state=\"stopped\"}"),
        "0"
    );
    assert_eq!(
        of("lanekeeper_store_errors_total{call=\"commit\",error=\"not_written\"}"),
        "9"
    );
    assert_eq!(of("lanekeeper_store_write_units_total"), "20.0");
    assert_eq!(of("lanekeeper_store_repeats_total{why=\"not_now\"}"), "14");
    assert_eq!(of("lanekeeper_store_repeats_total{why=\"lost\"}"), "15");
    assert_eq!(of("lanekeeper_commit_seconds_bucket{le=\"0.01\"}"), "2");
    assert_eq!(of("lanekeeper_commit_seconds_bucket{le=\"+Inf\"}"), "3");
    assert_eq!(of("lanekeeper_commit_seconds_sum"), "42.5");
}

#[test]
fn what_is_not_known_is_absent_and_nothing_is_negative() {
    let mut vitals = full();
    vitals.consumed = None;
    let partition = &mut vitals.partitions[0];
    (partition.head_at, partition.retention) = (None, None);
    let text = page(vitals.clone());
    for name in [
        "lag_seconds{",
        "retention_used_ratio{",
        "retention_seconds{",
        "store_requests_total ",
    ] {
        assert!(!text.contains(&format!("\nlanekeeper_{name}")), "{name}");
    }
    // At its end nothing is late.
    let partition = &mut vitals.partitions[0];
    (partition.behind, partition.buffered) = (Some(0), 0);
    let series = "lanekeeper_lag_seconds{source=\"orders\",partition=\"orders/0\"}";
    assert_eq!(value(&page(vitals.clone()), series), "0.0");
    vitals.partitions[0].retention = Some(Duration::ZERO);
    let series = "lanekeeper_retention_used_ratio{source=\"orders\",partition=\"orders/0\"}";
    assert_eq!(value(&page(vitals.clone()), series), "0.0");
    // Its timestamp is ahead of this machine's clock.
    vitals.partitions[0].head_at = Some(i64::MAX);
    assert_eq!(value(&page(vitals), series), "0.0");
}
