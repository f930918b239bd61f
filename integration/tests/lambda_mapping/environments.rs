//! Environments and their Runtime API: a real process on the other side.

use lanekeeper_integration::{
    lambda::{Function, Invoked, Mapping, OnFailure, Outcome, Reuse, Stage, Stream, Verdict},
    scene::eventually,
};
use serde_json::{Value, json};
use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/function.py");

fn function() -> Function {
    Function::new("python3")
        .args([SCRIPT])
        .timeout(Duration::from_secs(60))
}

fn does(function: &Function, what: &str) -> Invoked {
    let event = json!({"do": what, "seconds": 600, "bytes": 7 << 20});
    function.invoke(&event.to_string()).unwrap()
}

fn answer(invoked: &Invoked) -> Value {
    match &invoked.outcome {
        Outcome::Answered(body) => serde_json::from_slice(body).unwrap(),
        Outcome::Failed { .. } | Outcome::Throttled => unreachable!("{:?}", invoked.outcome),
    }
}

fn kind(invoked: &Invoked) -> (&str, &str) {
    match &invoked.outcome {
        Outcome::Failed { kind, message } => (kind, message),
        Outcome::Answered(_) | Outcome::Throttled => unreachable!("{:?}", invoked.outcome),
    }
}

/// Whether there is such a process that has not ended.
fn is_alive(pid: &Value) -> bool {
    let told = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    let state = String::from_utf8(told.unwrap().stdout).unwrap();
    !state.trim().is_empty() && !state.starts_with('Z')
}

#[test]
fn a_warm_environment_is_used_again() {
    let function = function();
    let (first, second) = (does(&function, "tell"), does(&function, "tell"));
    assert_eq!((first.environment, second.environment), (Some(1), Some(1)));
    assert_eq!(answer(&first)["pid"], answer(&second)["pid"]);
    assert_eq!(answer(&second)["invocations"], 2);
    assert_eq!(function.environments()[0].stage(), Stage::Idle);
}

#[test]
fn an_invocation_and_an_environment_know_what_lambda_tells_them() {
    let folder = tempfile::tempdir().unwrap();
    let table = [("TABLE", "orders".to_owned())];
    let function = function().envs(&table).within(folder.path());
    let told = answer(&does(&function, "tell"));
    let headers = &told["headers"];
    assert_eq!(
        headers["lambda-runtime-aws-request-id"]
            .as_str()
            .unwrap()
            .len(),
        36
    );
    assert_eq!(
        headers["lambda-runtime-invoked-function-arn"],
        function.arn()
    );
    assert!(
        headers["lambda-runtime-trace-id"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
    assert_eq!(headers["content-type"], "application/json");
    let deadline: f64 = headers["lambda-runtime-deadline-ms"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let left = deadline - told["now"].as_f64().unwrap();
    assert!(
        left > 30_000.0 && left <= 60_000.0,
        "{left} ms of 60 s are left"
    );
    let environment = &told["environment"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "lanekeeper-test"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_REGION", "us-east-1"),
        ("TABLE", "orders"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(told["folder"], folder.to_str().unwrap());
    assert!(
        environment["CARGO_MANIFEST_DIR"].is_null(),
        "nothing of the tests' own"
    );
}

#[test]
fn at_its_timeout_it_is_killed_and_the_next_invocation_has_a_new_one() {
    let function = function().timeout(Duration::from_millis(1500));
    let pid = answer(&does(&function, "tell"))["pid"].clone();
    let began = Instant::now();
    let timed_out = does(&function, "sleep");
    assert!(began.elapsed() >= Duration::from_millis(1500));
    let (kind, message) = kind(&timed_out);
    assert_eq!(kind, "Sandbox.Timedout");
    assert!(
        message.contains("timed out after 1.50 seconds"),
        "{message}"
    );
    assert!(!is_alive(&pid));
    let next = does(&function, "tell");
    assert_eq!(next.environment, Some(2));
    assert_eq!(answer(&next)["invocations"], 1);
}

#[test]
fn an_end_without_an_answer_is_an_error_and_one_behind_it_is_none() {
    let function = function();
    let ended = does(&function, "exit");
    assert_eq!(kind(&ended).0, "Runtime.ExitError");
    let words = function.environments()[0].words().unwrap();
    assert!(words.contains("it ends"), "{words}");
    let behind = does(&function, "answer and exit");
    assert_eq!(answer(&behind)["invocations"], 1);
    assert_eq!(does(&function, "tell").environment, Some(3));
}

#[test]
fn an_error_is_what_the_function_says() {
    let function = function();
    let failed = does(&function, "error");
    assert_eq!(kind(&failed), ("Order.Unknown", "no such order"));
    assert_eq!(
        does(&function, "tell").environment,
        Some(1),
        "and it goes on"
    );
}

#[test]
fn more_than_six_megabytes_are_refused_both_ways() {
    let function = function();
    let refused = does(&function, "large");
    assert_eq!(kind(&refused).0, "Function.ResponseSizeTooLarge");
    let words = function.environments()[0].words().unwrap();
    assert!(words.contains("bytes: 413"), "{words}");
    let event = json!({"do": "tell", "more": "x".repeat(6 << 20)});
    let refused = function.invoke(&event.to_string()).unwrap();
    assert_eq!(kind(&refused).0, "RequestTooLargeException");
}

#[test]
fn the_runtime_api_refuses_what_does_not_fit() {
    let statuses = answer(&does(&function(), "stray"));
    assert_eq!(
        statuses,
        json!([400, 403, 404]),
        "another's id, next while busy, no such path"
    );
}

#[test]
fn one_that_cannot_begin_is_an_error() {
    let function_of = |kind| function().env("INIT", kind);
    let refused = does(&function_of("error"), "tell");
    assert_eq!(kind(&refused), ("Config.Broken", "no table"));
    let ended = does(&function_of("exit"), "tell");
    assert_eq!(kind(&ended).0, "Runtime.ExitError");
}

#[test]
fn each_has_one_invocation_at_a_time() {
    let function = function().reserved(2);
    thread::scope(|scope| {
        let busy = [0, 1].map(|_| scope.spawn(|| does(&function, "sleep")));
        let is_busy = || {
            let environments = function.environments();
            environments
                .iter()
                .filter(|e| e.stage() == Stage::Busy)
                .count()
        };
        eventually("two that are busy", || Ok(is_busy() == 2)).unwrap();
        assert_eq!(does(&function, "tell").outcome, Outcome::Throttled);
        function.environments().iter().for_each(|e| e.kill());
        for ended in busy {
            assert_eq!(kind(&ended.join().unwrap()).0, "Runtime.ExitError");
        }
    });
}

#[test]
fn between_invocations_it_is_frozen() {
    let function = function().freezes();
    does(&function, "tell");
    thread::sleep(Duration::from_millis(700));
    let gap = answer(&does(&function, "tell"))["gap"].as_f64().unwrap();
    assert!(gap > 0.6, "it stood still for {gap} s");
}

#[test]
fn it_can_be_frozen_and_killed_in_each_stage() {
    let function = function().timeout(Duration::from_secs(20));
    // Idle.
    let pid = answer(&does(&function, "tell"))["pid"].clone();
    function.when(Stage::Idle).unwrap().kill();
    assert!(!is_alive(&pid));
    assert_eq!(does(&function, "tell").environment, Some(2));
    // Busy, and frozen at that.
    thread::scope(|scope| {
        let busy = scope.spawn(|| does(&function, "sleep"));
        let environment = function.when(Stage::Busy).unwrap();
        environment.freeze().unwrap();
        environment.kill();
        assert_eq!(kind(&busy.join().unwrap()).0, "Runtime.ExitError");
        assert!(environment.freeze().is_err() && environment.id().is_none());
    });
    // Behind its answer: that counts.
    thread::scope(|scope| {
        let lingering = scope.spawn(|| does(&function, "answer and linger"));
        function.when(Stage::Answered).unwrap().kill();
        assert_eq!(answer(&lingering.join().unwrap())["invocations"], 1);
    });
    // Before it has begun.
    let slow = function.clone().env("INIT", "slow");
    thread::scope(|scope| {
        let starting = scope.spawn(|| does(&slow, "tell"));
        slow.when(Stage::Starting).unwrap().kill();
        assert_eq!(kind(&starting.join().unwrap()).0, "Runtime.ExitError");
    });
}

#[test]
fn another_instance_can_be_asked_for() {
    let environments = |function: &Function| {
        let used = (0..4).map(|_| does(function, "tell").environment.unwrap());
        used.collect::<Vec<u32>>()
    };
    assert_eq!(
        environments(&function().reuse(Reuse::Spread(2))),
        [1, 2, 1, 2]
    );
    assert_eq!(environments(&function().reuse(Reuse::Never)), [1, 2, 3, 4]);
}

#[test]
fn it_ends_with_its_function_and_takes_along_what_it_started() {
    let function = function();
    let pid = answer(&does(&function, "tell"))["pid"].clone();
    let child = answer(&does(&function, "child"))["child"].clone();
    assert!(is_alive(&pid) && is_alive(&child));
    drop(function);
    eventually("their ends", || Ok(!is_alive(&pid) && !is_alive(&child))).unwrap();
}

/// Golden scenario 1 once more, with a process.
#[test]
fn k24_a_process_is_handed_the_failing_record_five_times() {
    let stream = Stream::new("orders", 1);
    for text in ["a", "b", "c"] {
        stream.put("key", text).unwrap();
    }
    let function = function().env("FAILS", "c").freezes();
    let journal = Mapping::kinesis(&function, &stream)
        .batch_size(3)
        .retries(3)
        .reports_failures()
        .on_failure(OnFailure::Queue)
        .run()
        .unwrap();
    assert_eq!(journal.deliveries_of("c").len(), 5);
    let context = &journal.destinations[0]["requestContext"];
    assert_eq!(context["approximateInvokeCount"], 4);
    let environments = journal
        .deliveries
        .iter()
        .filter_map(|d| d.end.as_ref()?.environment);
    assert_eq!(environments.collect::<Vec<_>>(), [1; 5]);
}

#[test]
fn k14_a_timeout_is_an_error_like_any_other() {
    let stream = Stream::new("orders", 1);
    stream.put("key", "a").unwrap();
    let function = function().env("HANGS", "a");
    let function = function.timeout(Duration::from_millis(700));
    let journal = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .retries(1)
        .on_failure(OnFailure::Queue)
        .run()
        .unwrap();
    let ends: Vec<_> = { journal.deliveries.iter() }
        .filter_map(|delivery| delivery.end.as_ref())
        .collect();
    assert!(ends.iter().all(|end| end.verdict == Verdict::Failure));
    let environments: Vec<_> = ends.iter().map(|end| end.environment).collect();
    assert_eq!(environments, [Some(1), Some(2)]);
    let context = &journal.destinations[0]["responseContext"];
    assert_eq!(context["functionError"], "Unhandled");
}

#[test]
fn what_a_killed_environment_had_another_one_is_given() {
    let stream = Stream::new("orders", 1);
    for text in ["a", "b"] {
        stream.put("key", text).unwrap();
    }
    let hanging = function().env("HANGS", "b").freezes();
    let running = Mapping::kinesis(&hanging, &stream)
        .batch_size(1)
        .start()
        .unwrap();
    running
        .until("b", |journal| !journal.deliveries_of("b").is_empty())
        .unwrap();
    for number in [1, 2] {
        let environment = hanging.when(Stage::Busy).unwrap();
        assert_eq!(environment.number(), number);
        environment.kill();
        let tries = number as usize + 1;
        running
            .until("another try", |j| j.deliveries_of("b").len() == tries)
            .unwrap();
    }
    let journal = running.journal();
    assert_eq!(journal.batches(), [["a"], ["b"], ["b"], ["b"]]);
    hanging.when(Stage::Busy).unwrap().kill();
}
