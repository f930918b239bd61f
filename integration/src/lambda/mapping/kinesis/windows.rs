//! Tumbling windows of one reader of a shard (K30 to K32): which one is open, with what state, and when it is
//! to be closed.

use crate::lambda::{
    answer::Ruling,
    event::{self, WindowOf},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a window in which nothing comes any more stays open beyond its end (K31).
const OPEN_BEYOND: Duration = Duration::from_secs(120);

/// The most bytes of a state: a window whose state is larger ends early (K31).
const STATE_BYTES_MAX: usize = 1_000_000;

/// What the mapping has of the windows of one shard.
#[derive(Clone)]
pub(super) struct Windows {
    size: Duration,
    open: Option<Open>,
}

#[derive(Clone)]
struct Open {
    start: SystemTime,
    /// As it was answered, byte for byte.
    state: String,
    is_early: bool,
}

impl Windows {
    pub(super) fn new(size: Duration) -> Self {
        Self { size, open: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the window begins that takes what arrived then.
    pub(super) fn start_of(&self, arrival: SystemTime) -> SystemTime {
        let since = arrival.duration_since(UNIX_EPOCH).unwrap_or_default();
        let size = self.size.as_millis().max(1);
        let start = since.as_millis() / size * size;
        UNIX_EPOCH + Duration::from_millis(u64::try_from(start).unwrap_or(u64::MAX))
    }

    /// Whether the open window has to be closed before a batch goes out whose first record arrived then.
    pub(super) fn closes_before(&self, arrival: SystemTime) -> bool {
        let start = self.start_of(arrival);
        { self.open.as_ref() }.is_some_and(|open| open.is_early || open.start != start)
    }

    /// When the open window is to be closed though nothing comes: at once where nothing can.
    pub(super) fn closes_at(&self, is_closed: bool, now: SystemTime) -> Option<SystemTime> {
        let open = self.open.as_ref()?;
        let at_once = is_closed || open.is_early;
        Some(if at_once {
            now
        } else {
            open.start + self.size + OPEN_BEYOND
        })
    }

    /// A batch goes out whose records arrived in the window of this time.
    pub(super) fn open(&mut self, arrival: SystemTime) {
        let start = self.start_of(arrival);
        self.open.get_or_insert(Open {
            start,
            state: "{}".to_owned(),
            is_early: false,
        });
    }

    /// The event of a batch, or of the end of the window.
    pub(super) fn event(
        &self,
        records: &[String],
        (shard, stream_arn): (&str, &str),
        is_final: bool,
    ) -> String {
        let Some(open) = &self.open else {
            return event::of_records(records);
        };
        event::of_window(
            records,
            &WindowOf {
                start: open.start,
                end: open.start + self.size,
                state: &open.state,
                shard,
                stream_arn,
                is_final,
                is_early: open.is_early,
            },
        )
    }

    /// What an answer means: without a state it is a failure, whatever else it says (K30).
    pub(super) fn rule(&mut self, body: &[u8], ruling: Ruling, is_final: bool) -> Ruling {
        #[derive(Deserialize)]
        struct Answered<'a> {
            #[serde(borrow)]
            state: Option<&'a RawValue>,
        }
        let answered = serde_json::from_slice::<Answered<'_>>(body);
        let Some(state) = answered.ok().and_then(|answered| answered.state) else {
            return Ruling::Nonsense;
        };
        match (&ruling, is_final) {
            (Ruling::Nonsense, _) => {}
            (Ruling::Success | Ruling::Failed(_), true) => self.open = None,
            (Ruling::Success | Ruling::Failed(_), false) => {
                if let Some(open) = &mut self.open {
                    open.state = state.get().to_owned();
                    open.is_early = open.state.len() > STATE_BYTES_MAX;
                }
            }
        }
        ruling
    }
}
