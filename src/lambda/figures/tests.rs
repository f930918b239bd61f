use super::*;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

const NOW: i64 = 1_700_000_000_000;

fn full() -> Figures {
    Figures {
        delivered: 60,
        done: 1,
        unfinished: 2,
        not_started: 3,
        already_done: 4,
        parked: 5,
        dead_lettered: 6,
        skipped: 7,
        retries: 8,
        rejected: 9,
        lanes: Some(Standstill {
            stopped: 10,
            parked: 11,
            stopped_since: Some(NOW - 12_999),
        }),
    }
}

fn read(figures: &Figures) -> Value {
    let beside = Beside {
        request: "8476a536",
        trace: Some("Root=1-5759e988"),
        failed: false,
        left_millis: 13,
    };
    let line = figures.line(("billing", "orders"), NOW, &beside);
    assert!(!line.contains('\n'), "one line: {line}");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn a_line_is_of_the_embedded_metric_format() {
    let metric = |name: &str| json!({"Name": name, "Unit": "Count"});
    let expected = json!({
        "_aws": {
            "Timestamp": NOW,
            "CloudWatchMetrics": [{
                "Namespace": "lanekeeper",
                "Dimensions": [["app", "source"]],
                "Metrics": [
                    metric("RecordsDone"),
                    metric("RecordsUnfinished"),
                    metric("RecordsNotStarted"),
                    metric("RecordsAlreadyDone"),
                    metric("RecordsParked"),
                    metric("RecordsDeadLettered"),
                    metric("LanesStopped"),
                    metric("LanesParked"),
                    {"Name": "OldestStoppedLaneAge", "Unit": "Seconds"},
                ],
            }],
        },
        "app": "billing", "source": "orders",
        "request_id": "8476a536", "trace_id": "Root=1-5759e988", "failed": false, "time_left_ms": 13,
        "delivered": 60, "skipped": 7, "retries": 8, "rejected": 9,
        "RecordsDone": 1, "RecordsUnfinished": 2, "RecordsNotStarted": 3, "RecordsAlreadyDone": 4,
        "RecordsParked": 5, "RecordsDeadLettered": 6, "LanesStopped": 10, "LanesParked": 11,
        "OldestStoppedLaneAge": 12,
    });
    assert_eq!(read(&full()), expected);
}

/// CloudWatch takes neither a metric that is defined and has no value, nor one of no definition.
#[test]
fn what_is_not_known_of_lanes_has_no_data_point() {
    let line = read(&Figures {
        lanes: None,
        ..full()
    });
    assert!(line.get("LanesStopped").is_none() && line.get("OldestStoppedLaneAge").is_none());
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
    assert_eq!(metrics.map(Vec::len), Some(6));
}

#[test]
fn where_no_lane_stands_the_age_is_nothing_so_that_an_alarm_ends() {
    let line = read(&Figures {
        lanes: Some(Standstill::default()),
        ..Figures::default()
    });
    assert_eq!(line["OldestStoppedLaneAge"], 0);
    assert_eq!(line["LanesStopped"], 0);
    // A clock that is behind that of whoever stopped it.
    let stopped_since = Some(NOW + 5_000);
    let line = read(&Figures {
        lanes: Some(Standstill {
            stopped_since,
            ..Standstill::default()
        }),
        ..Figures::default()
    });
    assert_eq!(line["OldestStoppedLaneAge"], 0);
}

#[test]
fn the_document_has_these_metrics_with_their_units_and_no_others() {
    let said = full().metrics(NOW);
    let said = said.map(|(name, unit, _)| (name.to_owned(), unit.name().to_owned()));
    let section = DOCUMENT.split("\n## CloudWatch").nth(1).expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let documented = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, unit, says, alarm, _] = cells.as_slice() else {
            panic!("not four cells: {row}");
        };
        assert!(!says.is_empty() && !alarm.is_empty(), "{row}");
        (name.trim_matches('`').to_owned(), (*unit).to_owned())
    });
    let documented: BTreeSet<(String, String)> = documented.collect();
    assert_eq!(documented, BTreeSet::from(said));
}

#[test]
fn lanes_of_several_partitions_are_summed_up_and_the_longest_counts() {
    let of = |stopped, since| Standstill {
        stopped,
        parked: 1,
        stopped_since: since,
    };
    let mut sum = Standstill::default();
    for one in [of(0, None), of(1, Some(7)), of(2, Some(5)), of(0, None)] {
        sum.add_all(one);
    }
    let expected = Standstill {
        stopped: 3,
        parked: 4,
        stopped_since: Some(5),
    };
    assert_eq!(sum, expected);
}
