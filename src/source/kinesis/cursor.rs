//! One shard, read from a place on, within what the service bears.

use super::{Begin, Page, Row, Shards, StreamError};
use crate::position::Position;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// Between two questions about records: a shard answers five a second to all its readers, and one of these
/// is the mapping.
const PACE: Duration = Duration::from_millis(250);
/// After a throttle or a failure, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// A shard that gave 10 MB at once gives nothing for five seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often in a row it may be out of reach; the client has tried each several times by itself.
const FAILURES_MAX: u32 = 6;
/// Answers in a row without a record and without a word about newer ones, after which there are none.
const SILENT_MAX: u32 = 10;
/// So long after an answer the next one may pass over records that retention has removed in between. A
/// page of records is not written in less, where reading has come so close to the oldest one.
const FRESH: Duration = Duration::from_secs(1);

/// Reads a shard.
pub struct Cursor {
    stream: Arc<dyn Shards>,
    shard: Arc<str>,
    begin: Begin,
    iterator: Option<String>,
    next_at: Option<Instant>,
    has_ended: bool,
    /// The place that was asked for is not there: it reads from the oldest record on instead.
    fell_back: bool,
    /// The record that was read last.
    last: Option<Position>,
    answered: Option<Instant>,
    /// What comes next may not be what follows.
    is_in_doubt: bool,
    silent: u32,
}

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Ascending; may be none, though there are more.
    pub rows: Vec<Row>,
    /// Milliseconds to the newest record; `None`: not said.
    pub behind: Option<i64>,
    /// There is nothing behind these as of now, as an answer without records has said.
    pub is_caught_up: bool,
    /// The shard is closed and read to its end; nothing is behind that, either.
    pub is_end: bool,
    /// The record that was read before these, where some in between may be gone unseen: an iterator was
    /// made anew, or time has passed.
    pub in_doubt: Option<Position>,
}

impl Cursor {
    /// Nothing is asked yet.
    pub fn new(stream: Arc<dyn Shards>, shard: Arc<str>, begin: Begin) -> Self {
        Self {
            stream,
            shard,
            begin,
            iterator: None,
            next_at: None,
            has_ended: false,
            fell_back: false,
            last: None,
            answered: None,
            is_in_doubt: false,
            silent: 0,
        }
    }

    /// Whether the place at which it was to begin is refused as one that the shard does not have, so that
    /// it began at the oldest record.
    pub fn fell_back(&self) -> bool {
        self.fell_back
    }

    /// What comes next; waits where the service has to be spared. Nothing is lost where the future is
    /// dropped before its end.
    ///
    /// # Errors
    /// When it is not answered in some time, or refused.
    pub async fn next(&mut self, max: u32) -> Result<Part, StreamError> {
        let mut backoff = BACKOFF_MIN;
        let mut failures = 0;
        loop {
            match self.ask(max).await {
                Ok(part) => return Ok(part),
                Err(StreamError::Expired(_)) => self.iterator = None,
                Err(StreamError::Throttled(why)) => {
                    tracing::info!(shard = %self.shard, "waiting: {why}");
                    sleep(backoff).await;
                    backoff = BACKOFF_MAX.min(backoff * 2);
                }
                Err(StreamError::OutOfReach(why)) if failures < FAILURES_MAX => {
                    tracing::warn!(shard = %self.shard, "asked again: {why}");
                    failures += 1;
                    sleep(backoff).await;
                    backoff = BACKOFF_MAX.min(backoff * 2);
                }
                Err(StreamError::Gone(_))
                    if matches!(self.begin, Begin::At(_))
                        || (self.last.is_some() && self.begin != Begin::Horizon) =>
                {
                    self.fell_back = true;
                    self.begin = Begin::Horizon;
                    self.iterator = None;
                }
                Err(
                    error @ (StreamError::OutOfReach(_)
                    | StreamError::Gone(_)
                    | StreamError::Refused(_)),
                ) => return Err(error),
            }
        }
    }

    async fn ask(&mut self, max: u32) -> Result<Part, StreamError> {
        if self.has_ended {
            return Ok(Part {
                rows: Vec::new(),
                behind: Some(0),
                is_caught_up: true,
                is_end: true,
                in_doubt: None,
            });
        }
        if let Some(at) = self.next_at {
            sleep_until(at).await;
        }
        self.next_at = Some(Instant::now() + PACE);
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => {
                self.is_in_doubt |= self.last.is_some();
                self.stream.iterator(&self.shard, &self.begin).await?
            }
        };
        let page = self.stream.page(&iterator, max).await?;
        Ok(self.part(page))
    }

    fn part(&mut self, page: Page) -> Part {
        let now = Instant::now();
        let answered = self.answered.replace(now);
        self.is_in_doubt |= answered.is_some_and(|at| now - at > FRESH) && self.last.is_some();
        let Page {
            mut rows,
            next,
            behind,
        } = page;
        self.has_ended = next.is_none();
        self.iterator = next;
        self.silent = match rows.is_empty() && behind.is_none() {
            true => self.silent + 1,
            false => 0,
        };
        let has_none = rows.is_empty() && (behind == Some(0) || self.silent >= SILENT_MAX);
        // From the oldest record on there may be some that were read before.
        rows.retain(|row| self.last.as_ref().is_none_or(|last| row.position > *last));
        let mut in_doubt = None;
        if let Some(row) = rows.last() {
            let before = self.last.replace(row.position.clone());
            in_doubt = before.filter(|_| self.is_in_doubt);
            self.is_in_doubt = false;
            self.begin = Begin::After(row.position.clone());
        }
        Part {
            rows,
            behind,
            is_caught_up: has_none || self.has_ended,
            is_end: self.has_ended,
            in_doubt,
        }
    }
}

/// The first record of a shard from a place on; `None`: it holds none there as of now.
///
/// # Errors
/// As [`Cursor::next`].
pub async fn first_from(
    stream: &Arc<dyn Shards>,
    shard: &Arc<str>,
    begin: Begin,
) -> Result<Option<Position>, StreamError> {
    let mut cursor = Cursor::new(Arc::clone(stream), Arc::clone(shard), begin);
    loop {
        let part = cursor.next(1).await?;
        if let Some(row) = part.rows.first() {
            return Ok(Some(row.position.clone()));
        }
        if part.is_caught_up {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kinesis::fake::{Fake, number, row, shared};

    fn five() -> (Arc<Fake>, Cursor) {
        let fake = Arc::new(Fake::default());
        let rows = (11..=15).map(|n| row(n, "k", "v")).collect();
        fake.shard("s", &[], (10, Some(20)), rows);
        let cursor = Cursor::new(shared(&fake), "s".into(), Begin::Horizon);
        (fake, cursor)
    }

    async fn numbers(cursor: &mut Cursor) -> Vec<Position> {
        let mut found = Vec::new();
        loop {
            let part = cursor.next(1_000).await.expect("it answers");
            found.extend(part.rows.into_iter().map(|row| row.position));
            if part.is_end {
                return found;
            }
        }
    }

    fn all() -> Vec<Position> {
        (11..=15).map(number).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn k35_empty_answers_and_throttles_are_waited_out_within_the_limit() {
        let (fake, mut cursor) = five();
        let first = cursor.next(1).await.expect("it answers");
        assert_eq!(first.rows.len(), 1);
        fake.empty(3);
        for _ in 0..4 {
            fake.fail(StreamError::Throttled("busy".to_owned()));
        }
        assert_eq!(numbers(&mut cursor).await, all()[1..]);
        let asked = fake.asked();
        assert_eq!(asked.len(), 1 + 4 + 3 + 2);
        for five in asked.windows(5) {
            assert!(five[4] - five[0] >= Duration::from_millis(999), "{five:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn k35_an_iterator_that_expires_goes_on_behind_the_last_record() {
        let (fake, mut cursor) = five();
        let first = cursor.next(2).await.expect("it answers");
        assert_eq!(first.rows.len(), 2);
        fake.fail(StreamError::Expired("five minutes".to_owned()));
        assert_eq!(numbers(&mut cursor).await, all()[2..]);
        assert_eq!(fake.begun(), [Begin::Horizon, Begin::After(number(12))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_the_shard_has_not_is_told_and_the_oldest_comes_instead() {
        let (fake, _) = five();
        let mut cursor = Cursor::new(shared(&fake), "s".into(), Begin::At(number(7)));
        assert_eq!(numbers(&mut cursor).await, all());
        assert!(cursor.fell_back());
        let mut cursor = Cursor::new(shared(&fake), "s".into(), Begin::At(number(13)));
        assert_eq!(numbers(&mut cursor).await, all()[2..]);
        assert!(!cursor.fell_back());
    }

    #[tokio::test(start_paused = true)]
    async fn no_other_place_is_taken_for_the_oldest_record() {
        // A time that is not yet, to the service no place at all.
        let (fake, _) = five();
        let gone = StreamError::Gone("in the future".to_owned());
        fake.fail(gone.clone());
        let mut cursor = Cursor::new(shared(&fake), "s".into(), Begin::Time(1 << 50));
        assert_eq!(cursor.next(1).await, Err(gone));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_while_it_reads_is_in_doubt_behind_the_last_record() {
        // The last one is gone by the time that another iterator goes on behind it, whether it says so or
        // not; or time has passed, in which the old iterator has come to stand elsewhere.
        for (is_lenient, expires) in [(false, true), (true, true), (true, false)] {
            let (fake, mut cursor) = five();
            fake.lenient(is_lenient);
            let first = cursor.next(2).await.expect("it answers");
            assert_eq!(first.in_doubt, None);
            fake.trim(14);
            match expires {
                true => fake.fail(StreamError::Expired("five minutes".to_owned())),
                false => sleep(FRESH * 2).await,
            }
            let next = cursor.next(2).await.expect("it answers");
            assert_eq!(next.in_doubt, Some(number(12)), "{is_lenient} {expires}");
            assert_eq!(next.rows[0].position, number(14));
        }
        // Nothing is, where one page follows another.
        let (_, mut cursor) = five();
        cursor.next(2).await.expect("it answers");
        let next = cursor.next(2).await.expect("it answers");
        assert_eq!(next.in_doubt, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_behind_when_an_answer_without_records_says_so() {
        for said in [None, Some(0)] {
            let fake = Arc::new(Fake::default());
            let rows = (11..=17).map(|n| row(n, "k", "v")).collect();
            fake.shard("s", &[], (10, None), rows);
            fake.says(said);
            let mut cursor = Cursor::new(shared(&fake), "s".into(), Begin::Horizon);
            let (mut count, mut asked) = (0, 0);
            loop {
                let part = cursor.next(1_000).await.expect("it answers");
                count += part.rows.len();
                asked += u32::from(part.rows.is_empty());
                if part.is_caught_up {
                    break;
                }
            }
            assert_eq!(count, 7, "{said:?}");
            assert_eq!(asked, said.map_or(SILENT_MAX, |_| 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_ends_it_and_what_is_away_is_asked_again_for_a_while() {
        let (fake, mut cursor) = five();
        let away = || StreamError::OutOfReach("away".to_owned());
        (0..FAILURES_MAX).for_each(|_| fake.fail(away()));
        assert_eq!(numbers(&mut cursor).await, all());
        let (fake, mut cursor) = five();
        (0..=FAILURES_MAX).for_each(|_| fake.fail(away()));
        assert_eq!(cursor.next(1).await, Err(away()));
        let (fake, mut cursor) = five();
        let refused = StreamError::Refused("no permission".to_owned());
        fake.fail(refused.clone());
        assert_eq!(cursor.next(1).await, Err(refused));
        assert_eq!(fake.asked().len(), 0);
    }
}
