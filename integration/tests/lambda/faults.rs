//! The store fails: between function and table stands a proxy.

use crate::{
    instances::{many, put},
    oracle::{Rules, audit},
    target::Say,
    world::World,
};
use lanekeeper_integration::{
    lambda::{Mapping, Outcome, Stream, Verdict},
    proxy::{Fault, Faults, Kind, Rule},
    scene::eventually,
};
use std::time::Duration;

#[test]
fn g8_with_lost_answers_throttles_and_delays_each_effect_happens_once() {
    let faults = Faults::drawn().unwrap();
    println!("replay the draws with LANEKEEPER_TEST_SEED={}", faults.seed);
    let faults = faults
        // So few writes can all be spared by the draws.
        .rule(
            Rule::always(Fault::DropResponse)
                .on_writes()
                .after(3)
                .times(1),
        )
        .rule(Rule::sometimes(
            Fault::DelayRequest(Duration::from_millis(30)),
            300,
        ))
        .rule(Rule::sometimes(Fault::DropResponse, 120).on_writes())
        .rule(Rule::sometimes(Fault::Throttle, 120))
        .rule(Rule::sometimes(Fault::InternalErrorAfterwards, 60).on_writes());
    let records = many(6, 6);
    let stream = Stream::new("orders", 1);
    put(&stream, &records);
    let world = World::kinesis(&stream, &[]);
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(10)));
    let proxy = world.proxy(faults);
    let function = world.function_through(&proxy);
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.batch_size(12).run().unwrap();
    println!("{} deliveries, {proxy}", journal.deliveries.len());
    let rules = Rules {
        // Of an invocation that fails, at most its batch.
        repeats_max: 12
            * journal
                .verdicts()
                .iter()
                .filter(|v| **v == &Verdict::Failure)
                .count(),
        is_doubled: false,
    };
    audit(&world.target.calls(), &records, rules);
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
    assert!(proxy.counts().of(Kind::ResponseDropped) > 0, "{proxy}");
}

#[test]
fn g7_while_the_table_is_out_of_reach_nothing_starts_and_then_all_is_done() {
    let records = many(3, 3);
    let stream = Stream::new("orders", 1);
    put(&stream, &records);
    let world = World::kinesis(&stream, &[("failure.timeout", "\"1s\"")]);
    let away = Faults::none().rule(Rule::always(Fault::Unavailable));
    let proxy = world.proxy(away);
    let function = world
        .function_through(&proxy)
        .timeout(Duration::from_secs(4));
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running
        .until("a delivery", |j| !j.verdicts().is_empty())
        .unwrap();
    let first = running.journal().deliveries[0].end.clone().unwrap();
    let Outcome::Failed { kind, message } = &first.outcome else {
        unreachable!("{first:#?}");
    };
    assert_eq!(
        kind, "lanekeeper.Unfinished",
        "an answer, and no timeout: {message}"
    );
    assert!(
        message.contains("nothing of the batch has started"),
        "{message}"
    );
    assert!(world.target.calls().is_empty());
    proxy.set_faults(Faults::none());
    running.until_idle().unwrap();
    running.stop().unwrap();
    audit(&world.target.calls(), &records, Rules::default());
}

/// Out of reach in the middle of a batch, for longer than the invocation has: what is done then, and cannot
/// be said, runs again, and its effects do not.
#[test]
fn g8_cut_off_in_the_middle_until_past_the_deadline_nothing_is_lost() {
    let records = many(3, 8);
    let stream = Stream::new("orders", 1);
    put(&stream, &records);
    let world = World::kinesis(&stream, &[("failure.timeout", "\"1s\"")]);
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(40)));
    let proxy = world.proxy(Faults::none());
    let function = world
        .function_through(&proxy)
        .timeout(Duration::from_secs(3));
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    eventually("calls", || Ok(world.target.calls().len() >= 6)).unwrap();
    proxy.freeze(Duration::from_secs(4));
    running
        .until("an end", |j| !j.verdicts().is_empty())
        .unwrap();
    proxy.thaw();
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    println!("{:?}", journal.verdicts());
    let rules = Rules {
        repeats_max: records.len(),
        is_doubled: false,
    };
    let repeats = audit(&world.target.calls(), &records, rules);
    println!("{repeats} repeats");
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}
