//! Everything at once, from one seed: instances are killed, frozen and doubled, answers are lost,
//! invocations throttled, the table fails; then all heals, and the books are read.

use crate::{
    instances::put,
    oracle::{Rules, audit},
    target::Say,
    world::World,
};
use fastrand::Rng;
use lanekeeper_integration::{
    lambda::{Environment, Function, Mapping, Reuse, Running, Stage, Stream},
    proxy::{Fault, Faults, Proxy, Rule},
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const KEYS: usize = 12;
const TURNS: usize = 110;

struct Chaos {
    random: Rng,
    function: Function,
    proxy: Proxy,
    seed: u64,
    kills: usize,
    freezes: usize,
}

impl Chaos {
    fn turn(&mut self) {
        match self.random.u32(..10) {
            0..=2 => {
                if let Some(environment) = self.any(Stage::Busy) {
                    environment.kill();
                    self.kills += 1;
                }
            }
            3 => {
                if let Some(environment) = self.any(Stage::Idle) {
                    environment.kill();
                    self.kills += 1;
                }
            }
            4 | 5 => self.freeze(),
            6 => self.function.lose_next(1),
            7 => self.function.throttle_next(self.random.usize(1..4)),
            8 => self
                .proxy
                .freeze(Duration::from_millis(self.random.u64(50..500))),
            _ => {
                let weather = self.weather();
                self.proxy.set_faults(weather);
            }
        }
    }

    /// Past all deadlines, or for a moment.
    fn freeze(&mut self) {
        let Some(environment) = self.any(Stage::Busy) else {
            return;
        };
        let millis = [100, 400, 4_000][self.random.usize(..3)];
        if environment.freeze().is_err() {
            return;
        }
        self.freezes += 1;
        std::thread::spawn(move || {
            sleep(Duration::from_millis(millis));
            // It may have been killed meanwhile.
            let _gone = environment.thaw();
        });
    }

    fn any(&mut self, stage: Stage) -> Option<Environment> {
        let mut environments = self.function.environments();
        environments.retain(|environment| environment.stage() == stage);
        self.random.choice(environments)
    }

    fn weather(&mut self) -> Faults {
        let faults = Faults::seeded(self.random.u64(..));
        let delay = Duration::from_millis(60);
        match self.random.u32(..4) {
            0 => Faults::none(),
            1 => faults.rule(Rule::sometimes(Fault::DropResponse, 100).on_writes()),
            2 => faults.rule(Rule::sometimes(Fault::Throttle, 200)),
            _ => faults
                .rule(Rule::sometimes(Fault::DelayRequest(delay), 500))
                .rule(Rule::sometimes(Fault::InternalErrorAfterwards, 80).on_writes()),
        }
    }
}

fn start(function: &Function, stream: &Stream) -> Running {
    let mapping = Mapping::kinesis(function, stream).reports_failures();
    mapping.batch_size(20).start().unwrap()
}

/// Some records more, of which a few fail once, by themselves, with all of the endpoint, or without a word.
fn fresh(world: &World, random: &mut Rng, turn: usize) -> Vec<(String, String)> {
    let fresh = (0..random.usize(..10)).map(|number| {
        let key = format!("k{}", random.usize(..KEYS));
        let text = format!("{key}-{turn}-{number}");
        match random.u32(..20) {
            0 => world.target.says(&text, &[Say::Status(500)]),
            1 => world.target.says(&text, &[Say::Status(503)]),
            2 => world.target.says(&text, &[Say::Never]),
            _ => {}
        }
        (key, text)
    });
    fresh.collect()
}

#[test]
fn whatever_happens_nothing_is_lost_each_key_is_in_order_and_each_effect_happens_once() {
    let drawn = Faults::drawn().unwrap();
    println!("replay the draws with LANEKEEPER_TEST_SEED={}", drawn.seed);
    let mut random = Rng::with_seed(drawn.seed);
    let stream = Stream::new("orders", 2);
    let settings = [
        ("failure.attempts", "1000"),
        ("failure.timeout", "\"800ms\""),
    ];
    let world = World::kinesis(&stream, &settings);
    let proxy = world.proxy(Faults::none());
    let function = world.function_through(&proxy);
    let function = function
        .timeout(Duration::from_secs(3))
        .reuse(Reuse::Spread(3))
        .freezes();
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(8)));
    let mut chaos = Chaos {
        random: random.fork(),
        seed: drawn.seed,
        function,
        proxy,
        kills: 0,
        freezes: 0,
    };
    let mut records = Vec::new();
    // Two mappings have the same shards: each batch has two instances at once.
    let running = [
        start(&chaos.function, &stream),
        start(&chaos.function, &stream),
    ];
    let began = Instant::now();
    for turn in 0..TURNS {
        let fresh = fresh(&world, &mut random, turn);
        put(&stream, &fresh);
        records.extend(fresh);
        chaos.turn();
        sleep(Duration::from_millis(random.u64(50..350)));
    }
    chaos.proxy.set_faults(Faults::none());
    chaos.proxy.thaw();
    println!("{:?} of chaos", began.elapsed());
    let mut deliveries = 0;
    for running in running {
        running.until_idle().unwrap();
        deliveries += running.stop().unwrap().deliveries.len();
    }
    let calls = world.target.calls();
    let rules = Rules {
        repeats_max: calls.len(),
        is_doubled: true,
    };
    let repeats = audit(&calls, &records, rules);
    println!(
        "{} records, {} calls, {repeats} repeats, {deliveries} deliveries, {} kills, {} freezes, {}",
        records.len(),
        calls.len(),
        chaos.kills,
        chaos.freezes,
        chaos.proxy
    );
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
    assert!(chaos.kills > 0 && chaos.freezes > 0, "seed {}", chaos.seed);
    assert!(world.lanes().is_empty());
}
