//! WHEN: a place in a partition's log, as an operator names it.

use crate::{
    checkpoint::Checkpoint,
    position::Position,
    store::{HistoryEvent, HistoryItem},
};
use jiff::Timestamp;
use std::{fmt, str::FromStr};

/// A place in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// `checkpoint`: where the checkpoint stands.
    Checkpoint,
    /// `history:TIME`: where the checkpoint stood at that moment.
    History(Timestamp),
    /// RFC 3339: the first record of that moment or later.
    Time(Timestamp),
    /// A record's position.
    Position(Position),
}

/// Text that names no place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{}` is no place in a log ({why}): expected `checkpoint`, `history:TIME`, a time such as 2026-05-01T14:00:00Z, or a position",
    super::output::shown(.text)
)]
pub(crate) struct WhenError {
    text: String,
    why: String,
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        let error = |why: String| WhenError {
            text: text.to_owned(),
            why,
        };
        if text == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        if let Some(time) = text.strip_prefix("history:") {
            let time = time
                .parse()
                .map_err(|e: jiff::Error| error(e.to_string()))?;
            return Ok(Self::History(time));
        }
        // Positions have no `-`, and `:` only between digits; times have both, and a `T`.
        if text.contains('-') || text.contains(['T', 't']) {
            let time = text
                .parse()
                .map_err(|e: jiff::Error| error(e.to_string()))?;
            return Ok(Self::Time(time));
        }
        match text.parse::<Position>() {
            // A time of day is none, though it is two numbers.
            Ok(position) if position.to_string() == text => Ok(Self::Position(position)),
            Ok(_) | Err(_) => Err(error("it is neither a time nor a position".to_owned())),
        }
    }
}

/// As it is read.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::History(time) => write!(f, "history:{time}"),
            Self::Time(time) => time.fmt(f),
            Self::Position(position) => position.fmt(f),
        }
    }
}

/// The past checkpoint that stood at a moment, and since when (milliseconds since 1970): the last one
/// kept until then. `None`: the history does not reach back so far.
pub(crate) fn stood_at(history: &[HistoryItem], time: Timestamp) -> Option<(i64, &Checkpoint)> {
    let until = { history.iter() }.take_while(|item| item.at <= time.as_millisecond());
    until
        .filter_map(|item| match &item.what {
            HistoryEvent::Checkpoint { checkpoint, .. }
            | HistoryEvent::Rewound { checkpoint, .. } => Some((item.at, checkpoint)),
            HistoryEvent::Decided { .. } => None,
        })
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_back() {
        for text in [
            "checkpoint",
            "history:2026-05-01T14:00:00.25Z",
            "2026-05-01T14:00:00Z",
            "0",
            "17",
            "49590338271490256608559692538361571095921575989136588898:3",
        ] {
            let when: When = text.parse().expect("a place");
            assert_eq!(when.to_string(), text);
        }
        let zoned: When = "2026-05-01T16:00:00+02:00".parse().expect("a time");
        assert_eq!(zoned.to_string(), "2026-05-01T14:00:00Z");
    }

    #[test]
    fn what_names_no_place_is_refused_with_what_does() {
        for text in [
            "",
            "checkpoints",
            "history",
            "history:",
            "history:17",
            "yesterday",
            "2026-05-01",
            "2026-05-01T14:00",
            "14:00",
            "-3",
            "1e3",
        ] {
            let error = text.parse::<When>().expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no place")),
                "{error}"
            );
            assert!(error.contains("`history:TIME`"), "{error}");
        }
    }

    fn kept(at: i64, frontier: u64) -> HistoryItem {
        HistoryItem {
            at,
            what: HistoryEvent::Checkpoint {
                epoch: 1,
                generation: 0,
                checkpoint: Checkpoint {
                    resume: partitions::Resume::After(Position::Offset(frontier)),
                    ..Checkpoint::default()
                },
            },
        }
    }

    #[test]
    fn the_last_checkpoint_before_a_moment_stood_then() {
        let history = [kept(1_000, 5), kept(2_000, 9)];
        let stood = |millis| {
            let time = Timestamp::from_millisecond(millis).expect("time");
            stood_at(&history, time).map(|(at, c)| (at, c.frontier().cloned()))
        };
        assert_eq!(stood(999), None);
        assert_eq!(stood(1_000), Some((1_000, Some(Position::Offset(5)))));
        assert_eq!(stood(1_999), Some((1_000, Some(Position::Offset(5)))));
        assert_eq!(stood(5_000), Some((2_000, Some(Position::Offset(9)))));
    }
}
