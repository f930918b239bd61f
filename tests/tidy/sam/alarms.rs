//! Alarms watch what is there, and ring in time.

use super::{NAMES, Template, plain};
use crate::tree::file;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use yaml_rust2::Yaml;

/// What an alarm watches: a metric, or an expression over one.
struct Alarm<'a> {
    namespace: &'a str,
    metric: &'a str,
    dimensions: &'a Yaml,
    statistic: &'a str,
    unit: Option<&'a str>,
    /// In seconds.
    period: i64,
    /// Over the metric, which is called `age` there.
    expression: Option<&'a str>,
    /// All that stands beside it.
    rings: &'a Yaml,
}

impl<'a> Alarm<'a> {
    fn of(rings: &'a Yaml) -> Option<Self> {
        let (expression, measured, metric, statistic) = match rings["Metrics"].as_vec() {
            None => (None, rings, rings, "Statistic"),
            Some(metrics) => {
                let [used, age] = &metrics[..] else {
                    return None;
                };
                let is_beside = age["ReturnData"].as_bool() == Some(false);
                { is_beside && used["ReturnData"].is_badvalue() }.then_some(())?;
                { age["Id"].as_str() == Some("age") }.then_some(())?;
                let measured = &age["MetricStat"];
                let expression = Some(used["Expression"].as_str()?);
                (expression, measured, &measured["Metric"], "Stat")
            }
        };
        Some(Self {
            namespace: metric["Namespace"].as_str()?,
            metric: metric["MetricName"].as_str()?,
            dimensions: &metric["Dimensions"],
            statistic: measured[statistic].as_str()?,
            unit: measured["Unit"].as_str(),
            period: measured["Period"].as_i64()?,
            expression,
            rings,
        })
    }

    /// How many of how many periods.
    fn of_periods(&self) -> (i64, i64) {
        let all = self.rings["EvaluationPeriods"].as_i64();
        let all = all.expect(self.metric);
        let enough = self.rings["DatapointsToAlarm"].as_i64();
        (enough.unwrap_or(all), all)
    }
}

impl Template {
    fn alarms(&self) -> Vec<Alarm<'_>> {
        let resources = self.yaml["Resources"].as_hash().expect(self.name).iter();
        let alarms =
            resources.filter(|(_, r)| r["Type"].as_str() == Some("AWS::CloudWatch::Alarm"));
        let alarms = alarms.map(|(_, resource)| Alarm::of(&resource["Properties"]));
        { alarms.collect::<Option<_>>() }.expect(self.name)
    }
}

/// What a function prints, with units, as the document has it, which a test of its own holds to the code.
fn printed(document: &str) -> BTreeMap<&str, &str> {
    let (_, section) = document.split_once("\n## CloudWatch: functions\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    assert!(section.contains("Namespace `lanekeeper`, dimensions `app` and `source`."));
    let rows = section.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name, rest.split(" |").next()?))
    });
    rows.collect()
}

#[test]
fn alarms_ring_at_half_of_the_retention_that_the_configuration_knows() {
    for name in NAMES {
        let template = Template::new(name);
        let half = template.config().lambda.retention.as_secs() / 2;
        let mut rings_late = 0;
        for alarm in template.alarms() {
            let per_hour = match alarm.metric {
                "OldestStoppedLaneAge" | "ApproximateAgeOfOldestMessage" => "3600",
                // In milliseconds.
                "IteratorAge" => "3600000",
                _ => {
                    assert_eq!(alarm.expression, None, "{name}: {}", alarm.metric);
                    continue;
                }
            };
            rings_late += 1;
            let threshold = template.number(&alarm.rings["Threshold"]);
            if name == "sqs-fifo" {
                let found = (threshold, alarm.expression);
                assert_eq!(found, (half, None), "{name}: {}", alarm.metric);
            } else {
                let percent = format!("100 * age / (${{RetentionHours}} * {per_hour})");
                let found = (threshold, alarm.expression);
                assert_eq!(found, (50, Some(&*percent)), "{name}: {}", alarm.metric);
            }
        }
        assert_eq!(rings_late, if name == "kafka" { 1 } else { 2 }, "{name}");
    }
    for name in ["kafka", "kinesis"] {
        for hours in [25, 8760] {
            let told = if hours == 25 { "25" } else { "8760" };
            let template = Template::told(name, &[("RetentionHours", told)]);
            let retention = template.config().lambda.retention;
            assert_eq!(retention, Duration::from_hours(hours), "{name}");
        }
        let template = Template::new(name);
        let most = template.yaml["Parameters"]["RetentionHours"]["MaxValue"].as_i64();
        assert_eq!(most, Some(8760), "{name}: no longer one is a configuration");
    }
    let queue = Template::new("sqs-fifo");
    let kept = queue.number(&queue.properties("Queue")["MessageRetentionPeriod"]);
    assert_eq!(Duration::from_secs(kept), queue.config().lambda.retention);
}

#[test]
fn alarms_ring_by_what_is_there_to_be_counted() {
    for name in NAMES {
        for alarm in Template::new(name).alarms() {
            let metric = alarm.metric;
            let rings = &alarm.rings;
            // Behind Kafka an invocation knows the lanes of its own partitions alone.
            let of_lanes = if name == "kafka" { 900 } else { 60 };
            // What says nothing while nothing is delivered leaves a lane where it stands.
            let (statistic, period, periods, missing) = match metric {
                "LanesStopped" | "OldestStoppedLaneAge" => ("Maximum", of_lanes, (1, 1), "ignore"),
                "IteratorAge" | "OffsetLag" => ("Maximum", 300, (1, 1), "notBreaching"),
                "Errors" | "Throttles" => ("Sum", 60, (2, 15), "notBreaching"),
                "ApproximateAgeOfOldestMessage" => ("Maximum", 60, (5, 5), "notBreaching"),
                _ => ("Maximum", 60, (1, 1), "notBreaching"),
            };
            let found = (alarm.statistic, alarm.period, alarm.of_periods());
            assert_eq!(found, (statistic, period, periods), "{name}: {metric}");
            assert_eq!(
                rings["TreatMissingData"].as_str(),
                Some(missing),
                "{metric}"
            );
            let operator = rings["ComparisonOperator"].as_str();
            assert_eq!(operator, Some("GreaterThanThreshold"), "{name}: {metric}");
        }
    }
    // What failed comes again after the visibility timeout, and must be counted together with the first.
    let queue = Template::new("sqs-fifo");
    let visible = queue.number(&queue.properties("Queue")["VisibilityTimeout"]);
    let again = queue.number(queue.function("Timeout")) + visible;
    let alarms = queue.alarms();
    for alarm in alarms.iter().filter(|alarm| alarm.metric == "Errors") {
        let (enough, all) = alarm.of_periods();
        let window = (all * alarm.period).cast_unsigned();
        assert!(
            window >= enough.cast_unsigned() * again,
            "{enough} of {all}"
        );
    }
}

#[test]
fn what_stops_fails_or_is_throttled_is_watched() {
    let document = file("docs/metrics.md").unwrap().text;
    let printed = printed(&document);
    assert!(printed.len() > 5, "{printed:?}");
    for name in NAMES {
        let template = Template::new(name);
        let config = template.config();
        let mut watched = BTreeSet::new();
        for alarm in template.alarms() {
            let metric = alarm.metric;
            watched.insert((alarm.namespace, metric));
            let dimensions = alarm.dimensions.as_vec().expect(name).iter();
            let dimensions: Vec<(String, String)> = dimensions
                .map(|one| {
                    let value = template.value(&one["Value"]).unwrap();
                    (plain(&one["Name"]).unwrap(), value)
                })
                .collect();
            let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let wanted = match alarm.namespace {
                // As the function writes them.
                "lanekeeper" => {
                    let unit = printed.get(metric).expect(metric);
                    assert!(
                        alarm.unit.is_none_or(|own| own == *unit),
                        "{name}: {metric}"
                    );
                    vec![
                        own("app", &config.app),
                        own("source", &config.sources[0].name),
                    ]
                }
                "AWS/Lambda" => vec![own("FunctionName", "Function")],
                _ if name == "sqs-fifo" => vec![own("QueueName", "Queue.QueueName")],
                _ => vec![own("QueueName", "GivenUp.QueueName")],
            };
            assert_eq!(dimensions, wanted, "{name}: {metric}");
            assert_eq!(
                alarm.rings["AlarmActions"][0].as_str(),
                Some("Notifies"),
                "{name}: {metric}"
            );
        }
        let mut wanted = BTreeSet::from([
            ("lanekeeper", "LanesStopped"),
            ("lanekeeper", "OldestStoppedLaneAge"),
            ("AWS/Lambda", "Errors"),
            ("AWS/Lambda", "Throttles"),
        ]);
        wanted.extend(match name {
            "kinesis" => &[
                ("AWS/Lambda", "IteratorAge"),
                ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
            ][..],
            "sqs-fifo" => &[("AWS/SQS", "ApproximateAgeOfOldestMessage")],
            _ => &[("AWS/Lambda", "OffsetLag")],
        });
        assert_eq!(watched, wanted, "{name}");
    }
}
