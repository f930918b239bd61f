//! Dead letters of a function: the verdict is durable before the publication, and the record is passed
//! once the letter is acknowledged.

use super::world::{Say, World, fifo, kafka, kinesis, named, position, sequence};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    handler::{DeadLetter, PublishError},
    record::Record,
    store::{
        LaneState, Verb,
        memory::{Call, Fate, Weather},
    },
};
use partitions::Then;
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Takes letters, or says why not.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// Value, error and attempts.
    taken: Vec<(String, String, u32)>,
    ids: Vec<String>,
    refuses: Option<PublishError>,
    asked: usize,
}

impl Letters {
    /// From now on; `None`: it takes them.
    fn refuses(&self, why: Option<(&str, bool)>) {
        self.0.lock().expect("sound").refuses = why.map(|(error, target)| PublishError {
            target,
            error: error.to_owned(),
        });
    }

    /// Since the last call of this.
    fn taken(&self) -> Vec<(String, String, u32)> {
        std::mem::take(&mut self.0.lock().expect("sound").taken)
    }

    fn values(&self) -> Vec<String> {
        self.taken().into_iter().map(|(value, ..)| value).collect()
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut self.0.lock().expect("sound").asked)
    }
}

impl DeadLetter for Letters {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let mut letters = self.0.lock().expect("sound");
        letters.asked += 1;
        let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        let result = match letters.refuses.clone() {
            Some(why) => Err(why),
            None => {
                letters.ids.push(record.id());
                letters.taken.push((value, error, attempts));
                Ok(())
            }
        };
        async move { result }.boxed()
    }
}

fn world(then: Then) -> (World, Letters) {
    let letters = Letters::default();
    let mut world = World::new().then(then);
    world.dead_letter = Some(Arc::new(letters.clone()));
    (world, letters)
}

fn three() -> Value {
    kinesis(&[(1, "a", "a1"), (2, "a", "a2"), (3, "a", "a3")])
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_for_good_is_published_and_its_lane_goes_on() {
    let (world, letters) = world(Then::DeadLetter);
    world.always("a2", Say::Reject);
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a1", "a2", "a3"]);
    let letter = ("a2".to_owned(), "never".to_owned(), 1);
    assert_eq!(letters.taken(), [letter]);
    assert_eq!(world.lane("a").await, None, "live");
    // The answer was lost: nothing of it runs, and nothing is published again.
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(world.calls(), Vec::<String>::new());
    assert_eq!(letters.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn groups_of_a_queue_and_keys_of_a_topic_likewise() {
    let (world, letters) = world(Then::DeadLetter);
    for value in ["m2", "k2"] {
        world.always(value, Say::Reject);
    }
    let batch = fifo(&[("m1", "g", 1, 1), ("m2", "g", 2, 1), ("m3", "g", 3, 1)]);
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    let batch = kafka(&[(0, 1, "k", "k1"), (0, 2, "k", "k2"), (0, 3, "k", "k3")]);
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["m1", "m2", "m3", "k1", "k2", "k3"]);
    assert_eq!(letters.values(), ["m2", "k2"]);
}

/// The invocation ends between the publication and the commit that says so.
#[tokio::test(start_paused = true)]
async fn what_is_published_and_not_marked_is_published_again_and_does_not_run_again() {
    let (world, letters) = world(Then::DeadLetter);
    world.always("a2", Say::Reject);
    let is_away = Arc::new(AtomicBool::new(false));
    let (away, published) = (Arc::clone(&is_away), letters.clone());
    let store = world.store.clone().with_faults(move |call: &Call<'_>| {
        let is_said = !published.0.lock().expect("sound").ids.is_empty();
        let is_write = matches!(call, Call::Commit(_) | Call::Release(_) | Call::Marks(_));
        let fate = match away.load(Ordering::Relaxed) && is_said && is_write {
            true => Fate::Refused,
            false => Fate::Sound,
        };
        Weather {
            fate,
            ..Weather::default()
        }
    });
    is_away.store(true, Ordering::Relaxed);
    let function = world.function_over(Arc::new(store));
    let answer = world.try_invoke(&function, &three(), 20).await;
    let open = named(&answer.expect("starts"));
    assert_eq!(open, [sequence(2)], "it is not known to be passed");
    assert_eq!(letters.values(), ["a2"]);
    let standing = world.lane("a").await.expect("stands");
    assert_eq!(standing.state, LaneState::Stopped, "the verdict is durable");
    let calls = world.calls();
    assert_eq!(calls[..2], ["a1", "a2"]);
    // While its holder may live, nobody else acts on it.
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    assert_eq!(letters.asked(), 1);
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(letters.values(), ["a2"], "again, with the same id");
    let ids = letters.0.lock().expect("sound").ids.clone();
    assert_eq!(ids[0], ids[1]);
    assert!(!world.calls().contains(&"a2".to_owned()));
    assert_eq!(world.lane("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn g7_a_queue_that_is_missing_loses_nothing_and_is_waited_for() {
    let (world, letters) = world(Then::DeadLetter);
    world.always("a2", Say::Reject);
    letters.refuses(Some(("there is no such queue", true)));
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    assert_eq!(world.calls(), ["a1", "a2"], "nothing overtakes it");
    assert!(letters.asked() > 1);
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    assert!(letters.asked() > 1, "each invocation tries");
    letters.refuses(None);
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(letters.values(), ["a2"]);
    assert_eq!(world.calls(), ["a3"], "the record did not run again");
}

#[tokio::test(start_paused = true)]
async fn g7_a_letter_that_is_refused_stops_its_lane_by_name() {
    let (world, letters) = world(Then::DeadLetter);
    world.always("a2", Say::Reject);
    letters.refuses(Some(("the record is too large", false)));
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    assert_eq!(world.calls(), ["a1", "a2"]);
    assert_eq!(letters.asked(), 3, "as many tries as a record has");
    let lane = world.lane("a").await.expect("stands");
    assert_eq!((lane.state, lane.decision), (LaneState::Stopped, None));
    let why = lane.last_error;
    assert!(
        why.contains("dead letter not published: the record is too large"),
        "{why}"
    );
    // It waits for an operator from then on.
    letters.refuses(None);
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    assert_eq!((letters.asked(), world.calls()), (0, Vec::new()));
    world.decide(Verb::DeadLetter).await;
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(letters.values(), ["a2"]);
    assert_eq!(world.calls(), ["a3"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_head_is_dead_lettered_by_decision() {
    let (world, letters) = world(Then::Stop);
    world.always("a2", Say::Reject);
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    world.decide(Verb::DeadLetter).await;
    world.calls();
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a3"]);
    let letter = ("a2".to_owned(), "never".to_owned(), 1);
    assert_eq!(letters.taken(), [letter]);
    assert_eq!(world.lane("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn of_a_parked_lane_the_head_alone_is_dead_lettered() {
    let (world, letters) = world(Then::Park);
    world.always("a1", Say::Reject);
    assert_eq!(world.invoke(&three()).await, Vec::<Value>::new());
    world.decide(Verb::DeadLetter).await;
    world.calls();
    // Any delivery of the shard acts on it.
    world.invoke(&kinesis(&[(4, "b", "b1")])).await;
    assert_eq!(letters.values(), ["a1"]);
    assert_eq!(world.calls(), ["b1"]);
    let lane = world.lane("a").await.expect("stands");
    let found = (lane.state, lane.head, lane.count, lane.decision);
    assert_eq!(found, (LaneState::Parked, position(2), 2, None));
    world.decide(Verb::Release).await;
    world.invoke(&kinesis(&[(5, "b", "b2")])).await;
    assert_eq!(world.calls(), ["b2", "a2", "a3"]);
    assert_eq!(world.lane("a").await, None);
}

/// Nobody has said where: what was decided is dropped, by name, and the lane stands as it stood.
#[tokio::test(start_paused = true)]
async fn without_a_target_the_decision_is_dropped() {
    let world = World::new();
    world.always("a2", Say::Reject);
    world.invoke(&three()).await;
    world.decide(Verb::DeadLetter).await;
    assert_eq!(world.invoke(&three()).await, [sequence(2)]);
    let lane = world.lane("a").await.expect("stands");
    assert_eq!((lane.state, lane.decision), (LaneState::Stopped, None));
    assert_eq!(lane.head, position(2));
}

/// Two invocations have one batch: where the other has stopped the lane, no verdict of one's own stands.
#[tokio::test(start_paused = true)]
async fn g7_no_letter_goes_without_a_durable_verdict() {
    let (mut world, letters) = world(Then::DeadLetter);
    world.says("a1", &[Say::After(Duration::from_secs(3)), Say::Reject]);
    world.says("a2", &[Say::Reject]);
    let publishes = world.function();
    world.settings.failure.then = Then::Stop;
    let stops = world.function();
    let batch = three();
    let one = world.try_invoke(&publishes, &batch, 60);
    let other = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.try_invoke(&stops, &batch, 60).await
    };
    let (one, other) = tokio::join!(one, other);
    assert_eq!(named(&other.expect("starts")), [sequence(1)]);
    assert_eq!(named(&one.expect("starts")), [sequence(2)]);
    assert_eq!(world.calls(), ["a1", "a1", "a2"]);
    assert_eq!(letters.asked(), 0);
    let stands = world.lane("a").await.expect("stands");
    assert_eq!(
        (stands.state, stands.head),
        (LaneState::Stopped, position(1))
    );
}
