//! What the rounds of a case come to, as a table of Markdown.

use super::{
    Rounds,
    cases::{Aim, Case},
    programs::Reader,
    reader::Figures,
};
use std::fmt::Write as _;

/// The middle of some values, the lowest and the highest.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// `None` of nothing.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (below, above) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Some(Self {
            median: f64::midpoint(*values.get(below)?, *values.get(above)?),
            low: *values.first()?,
            high: *values.last()?,
        })
    }

    fn show(self, unit: impl Fn(f64) -> String) -> String {
        let Self { median, low, high } = self;
        format!("{} ({} to {})", unit(median), unit(low), unit(high))
    }
}

/// One row for each reader; ratios are of values of the same round.
pub(super) fn of(case: &Case, rounds: &Rounds) -> String {
    let mut table = head(case.aim).to_owned();
    for (reader, figures) in rounds {
        let own = |figure: fn(&Figures) -> f64| Spread::of(figures.iter().map(figure));
        let cells = match case.aim {
            Aim::Throughput => vec![
                cell(own(Figures::rate), per_second),
                cell(paired(rounds, *reader, Reader::Bare), ratio),
            ],
            Aim::Handlers => {
                let of_bound = figures.iter().map(|figures| figures.of_bound(case));
                vec![
                    cell(Spread::of(of_bound), |ratio| format!("{ratio:.3}")),
                    cell(own(Figures::rate), per_second),
                ]
            }
            Aim::Latency => vec![
                cell(own(|figures| figures.p50 as f64), millis),
                cell(own(|figures| figures.p99 as f64), millis),
                cell(own(Figures::rate), per_second),
            ],
        };
        let processor = cell(own(Figures::processor), |us| format!("{us:.2}"));
        let memory = own(|figures| figures.peak_memory as f64);
        let memory = memory.map_or_else(String::new, |m| format!("{:.0}", m.high / 1048576.0));
        let (name, cells) = (reader.name(), cells.join(" | "));
        let _infallible = writeln!(table, "| {name} | {cells} | {processor} | {memory} |");
    }
    table
}

fn head(aim: Aim) -> &'static str {
    match aim {
        Aim::Throughput => {
            "| reader | records/s | of the bare loop, paired | processor us a record | peak MiB |\n\
             |---|---|---|---|---|\n"
        }
        Aim::Handlers => {
            "| reader | bound / makespan | records/s | processor us a record | peak MiB |\n\
             |---|---|---|---|---|\n"
        }
        Aim::Latency => {
            "| reader | p50 ms | p99 ms | records/s | processor us a record | peak MiB |\n\
             |---|---|---|---|---|---|\n"
        }
    }
}

/// How much faster one reader was than another in the same round.
fn paired(rounds: &Rounds, one: Reader, other: Reader) -> Option<Spread> {
    let (one, other) = (rounds.get(&one)?, rounds.get(&other)?);
    let pairs = one.iter().zip(other);
    Spread::of(pairs.map(|(one, other)| one.rate() / other.rate()))
}

fn cell(spread: Option<Spread>, unit: impl Fn(f64) -> String) -> String {
    spread.map_or_else(String::new, |spread| spread.show(unit))
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.0},000", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

fn millis(micros: f64) -> String {
    format!("{:.1}", micros / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        let spread = |median, low, high| Some(Spread { median, low, high });
        assert_eq!(of(&[3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(of(&[]), None);
    }
}
