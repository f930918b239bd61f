use super::*;
use crate::{
    Position,
    effect::Effect,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName, Record},
};
use std::{fs, time::Instant as Clock};
use tokio::time::sleep;

mod closed_input;

/// What a worker answers where all is well; the first record of [`run`] has this id.
const OK: &str = r#"echo '{"id":"src/t/0/1/0","status":"done"}'"#;

fn run_with(records: u64, value: &[u8]) -> Run {
    let mut batch = BatchBuilder::new(Arc::new(Assignment {
        name: PartitionName::new("src", "t/0"),
        epoch: 1,
        generation: 0,
    }));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    for position in 1..=records {
        let position = Position::Offset(position);
        (batch.push(order, position, Some(b"k"), Some(value), [], None)).expect("a lane");
    }
    let records: Vec<Record> = batch.finish(None);
    Run::new(records.iter(), 1).expect("records")
}

fn run(records: u64) -> Run {
    run_with(records, b"v")
}

fn settings(command: &[&str]) -> ExecSettings {
    ExecSettings {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        dir: None,
        env: Vec::new(),
        records_per_call: 1,
        timeout: Duration::from_secs(20),
    }
}

fn sh(script: &str) -> ExecSettings {
    settings(&["sh", "-c", script])
}

async fn call(exec: &Arc<Exec>, run: Run) -> Answer {
    Arc::clone(exec).try_run(run).await
}

fn failure(answer: Answer) -> Failure {
    assert_eq!(answer.done, 0);
    answer.failure.expect("a failure")
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    !matches!(state, None | Some(b'Z' | b'X'))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Clock::now();
    while !holds() {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "waited for {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_worker_answers_and_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        env: vec![("GREETING".into(), "hello".into())],
        ..sh(&format!(
            r#"while read -r l; do echo "$GREETING $l" >> calls; {OK}; done"#
        ))
    }));
    assert_eq!(exec.probe(), Ok(()));
    assert_eq!(exec.children(), [0_u32; 0]);
    for _ in 0..3 {
        let answer = call(&exec, run(1)).await;
        assert_eq!((answer.done, answer.failure.is_none()), (1, true));
        assert_eq!(exec.children().len(), 1);
    }
    let pid = exec.children();
    call(&exec, run(1)).await;
    assert_eq!(exec.children(), pid);
    let calls = fs::read_to_string(dir.path().join("calls")).expect("calls");
    assert_eq!(calls.lines().count(), 4);
    assert!(
        calls.starts_with(r#"hello {"id":"src/t/0/1/0","source":"src""#),
        "{calls}"
    );
}

#[tokio::test]
async fn there_are_as_many_workers_as_calls_at_once() {
    let exec = Arc::new(Exec::new(sh(&format!(
        "while read -r l; do sleep 0.02; {OK}; done"
    ))));
    for _ in 0..3 {
        let calls = (0..4).map(|_| call(&exec, run(1)));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.done, 1, "{:?}", answer.failure);
        }
        assert_eq!(exec.children().len(), 4);
    }
}

#[tokio::test]
async fn a_python_worker_answers_runs_with_effects() {
    let script = r#"
import json, sys
for line in sys.stdin:
    run = json.loads(line)
    effects = [{"record": i, "add": {"table": "n", "key": r["key"], "by": int(r["position"])}}
               for i, r in enumerate(run[:2])]
    print(json.dumps({"id": run[0]["id"], "status": "retry", "error": "busy", "done": 2,
                      "blame": "target", "after_ms": 250, "effects": effects}), flush=True)
"#;
    let exec = Arc::new(Exec::new(ExecSettings {
        records_per_call: 3,
        ..settings(&["python3", "-c", script])
    }));
    let answer = call(&exec, run(3)).await;
    assert_eq!(answer.done, 2, "{:?}", answer.failure);
    assert_eq!(
        answer.effects,
        [(0, Effect::add("n", "k", 1)), (1, Effect::add("n", "k", 2))]
    );
    let failure = answer.failure.expect("record 2 failed");
    assert_eq!(failure.kind, FailureKind::Target);
    assert_eq!(
        (failure.error.as_str(), failure.after),
        ("busy", Duration::from_millis(250))
    );
}

#[tokio::test]
async fn whatever_is_no_answer_fails_the_try_and_ends_the_worker() {
    let cases = [
        ("read l; echo hello", "is no answer: expected value"),
        (
            "read l; echo '{\"id\":\"x\",\"status\":\"done\"}'",
            "its id is `x`",
        ),
        (
            "read l; echo '{\"id\":\"src/t/0/1/0\",\"status\":\"ok\"}'",
            "unknown variant `ok`",
        ),
        (
            "read l; printf '{\"id\"'",
            "exited with status 0 after half a line: `{\"id\"`",
        ),
        ("read l; exit 3", "exited with status 3"),
        ("read l; kill -9 $$", "was killed by signal 9"),
        (
            "read l; echo boom >&2; exit 1",
            "exited with status 1; its last words: `boom`",
        ),
        ("read l; exec 1>&-; sleep 60", "closed its standard output"),
        (
            "read l; head -c 17000000 /dev/zero; sleep 60",
            "line longer than 16777216 bytes: `\\0\\0",
        ),
    ];
    for (script, expected) in cases {
        for (records, kind) in [(1, FailureKind::Retry), (2, FailureKind::Unattributed)] {
            let exec = Arc::new(Exec::new(ExecSettings {
                records_per_call: 2,
                ..sh(script)
            }));
            let failure = failure(call(&exec, run(records)).await);
            assert!(
                failure.error.contains(expected),
                "{script}: {}",
                failure.error
            );
            assert_eq!(failure.kind, kind, "{script}");
            assert_eq!(exec.children(), [0_u32; 0], "{script}");
        }
    }
}

#[tokio::test]
async fn silence_ends_the_worker_with_all_that_it_started() {
    let dir = tempfile::tempdir().expect("a folder");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        timeout: Duration::from_millis(300),
        ..sh("read l; sleep 60 & echo $! > pid; wait")
    }));
    let failure = failure(call(&exec, run(1)).await);
    assert_eq!(failure.error, "no answer within 300ms");
    assert_eq!(failure.kind, FailureKind::Retry);
    let pid = fs::read_to_string(dir.path().join("pid")).expect("started");
    assert!(!is_alive(pid.trim().parse().expect("a pid")));
    assert_eq!(exec.children(), [0_u32; 0]);
}

#[tokio::test]
async fn what_a_dead_worker_started_ends_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh("read l; sleep 60 & echo $! > pid; exit 5")
    }));
    let failure = failure(call(&exec, run(1)).await);
    assert!(
        failure.error.contains("exited with status 5"),
        "{}",
        failure.error
    );
    let pid = fs::read_to_string(dir.path().join("pid")).expect("started");
    assert!(!is_alive(pid.trim().parse().expect("a pid")));
}

#[tokio::test]
async fn a_worker_that_ends_before_it_reads_blames_the_target() {
    let exec = Arc::new(Exec::new(sh("echo 'no module named x' >&2; exit 4")));
    let failure = failure(call(&exec, run(2)).await);
    assert_eq!(failure.kind, FailureKind::Target);
    for part in [
        "exited with status 4",
        "`no module named x`",
        "before it read its first call",
    ] {
        assert!(failure.error.contains(part), "{}", failure.error);
    }
}

#[tokio::test]
async fn a_worker_may_end_after_an_answer() {
    let exec = Arc::new(Exec::new(sh(&format!("read l; {OK}"))));
    for _ in 0..20 {
        let answer = call(&exec, run(1)).await;
        assert_eq!(answer.done, 1, "{:?}", answer.failure);
    }
}

#[tokio::test]
async fn a_line_too_many_replaces_the_worker_without_blame() {
    let exec = Arc::new(Exec::new(sh(&format!(
        "while read -r l; do {OK}; echo more; done"
    ))));
    assert_eq!(call(&exec, run(1)).await.done, 1);
    let first = exec.children();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(call(&exec, run(1)).await.done, 1);
    until("the first worker's end", || exec.children().len() == 1).await;
    assert_ne!(exec.children(), first);
}

#[tokio::test]
async fn neither_large_calls_nor_a_flood_of_errors_block() {
    let large = vec![b'x'; 1_000_000];
    let script = format!(
        "head -c 3000000 /dev/zero | tr '\\0' '\\n' >&2; head -c 1000000 /dev/zero >&2; head -n 1 | wc -c > size; {OK}; sleep 60"
    );
    let dir = tempfile::tempdir().expect("a folder");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh(&script)
    }));
    let answer = call(&exec, run_with(1, &large)).await;
    assert_eq!(answer.done, 1, "{:?}", answer.failure);
    let size = fs::read_to_string(dir.path().join("size")).expect("size");
    assert!(size.trim().parse::<usize>().expect("a number") > 1_000_000);

    let exec = Arc::new(Exec::new(sh("echo early; sleep 60")));
    let failure = failure(call(&exec, run_with(1, &large)).await);
    assert!(
        failure
            .error
            .contains("before it had read the call: `early`"),
        "{}",
        failure.error
    );
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = dir.path().join("plain");
    fs::write(&plain, "text").expect("written");
    let plain = plain.to_str().expect("text");
    let probe = |command: &[&str]| {
        let error = Exec::new(settings(command))
            .probe()
            .expect_err("no program");
        error.to_string()
    };
    assert!(probe(&[]).contains("`handler.command` is empty"));
    assert!(probe(&["no-such-program"]).contains("`no-such-program` was not found in `PATH` (/"));
    assert!(probe(&["./no/such"]).contains("`./no/such` was not found in `./no/such`"));
    assert!(probe(&[plain]).contains("plain` is not an executable file"));
    let nowhere = Exec::new(ExecSettings {
        dir: Some(dir.path().join("none")),
        ..sh("")
    });
    assert!(matches!(nowhere.probe(), Err(ProbeError::Dir { .. })));
    for command in [&["no-such-program"][..], &[plain], &[]] {
        let exec = Arc::new(Exec::new(settings(command)));
        let failure = failure(call(&exec, run(1)).await);
        assert_eq!(failure.kind, FailureKind::Target);
        assert!(
            failure.error.contains("cannot be started"),
            "{}",
            failure.error
        );
        assert_eq!(exec.children(), [0_u32; 0]);
    }
}

#[tokio::test]
async fn a_dropped_try_kills_at_once_and_the_next_call_waits_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = format!(
        "read l; if mkdir first; then sleep 60 & echo $! > pid; wait; fi; kill -0 $(cat pid) && echo overlap >&2; {OK}"
    );
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh(&script)
    }));
    let pid_file = dir.path().join("pid");
    let mut first = Arc::clone(&exec).try_run(run(1));
    until("the worker's child", || {
        let polled = futures_util::FutureExt::now_or_never(&mut first);
        assert!(polled.is_none());
        fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    let pid = fs::read_to_string(&pid_file).expect("a pid");
    let pid: u32 = pid.trim().parse().expect("a pid");
    assert!(is_alive(pid));
    drop(first);
    let answer = call(&exec, run(1)).await;
    assert!(!is_alive(pid));
    assert_eq!(answer.done, 1, "{:?}", answer.failure);
}

#[tokio::test]
async fn a_worker_outlives_the_thread_that_called_it_first() {
    let exec = Arc::new(Exec::new(sh(&format!("while read -r l; do {OK}; done"))));
    let handle = tokio::runtime::Handle::current();
    let first = Arc::clone(&exec);
    let thread = std::thread::spawn(move || handle.block_on(call(&first, run(1))).done);
    until("the first call", || thread.is_finished()).await;
    assert_eq!(thread.join().expect("ended"), 1);
    let pid = exec.children();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(call(&exec, run(1)).await.done, 1);
    assert_eq!(exec.children(), pid);
}

#[tokio::test]
async fn workers_hold_the_shared_descriptors_and_no_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let (held, other) = (dir.path().join("held"), dir.path().join("other"));
    let open = |path: &Path| fs::File::create(path).expect("created");
    let (held_file, other_file) = (open(&held), open(&other));
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh(&format!("read l; sh -c 'ls -l /proc/$$/fd' > list; {OK}"))
    }));
    exec.share(vec![held_file.into()]);
    assert_eq!(call(&exec, run(1)).await.done, 1);
    let list = fs::read_to_string(dir.path().join("list")).expect("a list");
    assert!(list.contains(held.to_str().expect("text")), "{list}");
    assert!(!list.contains(other.to_str().expect("text")), "{list}");
    drop(other_file);
}

#[tokio::test]
async fn the_end_closes_inputs_and_kills_who_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let polite = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh(&format!("while read -r l; do {OK}; done; echo bye > said"))
    }));
    assert_eq!(call(&polite, run(1)).await.done, 1);
    drop(polite);
    let said = fs::read_to_string(dir.path().join("said")).expect("said");
    assert_eq!(said, "bye\n");

    let stubborn = Arc::new(Exec::new(sh(&format!("read -r l; {OK}; sleep 60"))));
    assert_eq!(call(&stubborn, run(1)).await.done, 1);
    let pid = stubborn.children()[0];
    let since = Clock::now();
    drop(stubborn);
    assert!(!is_alive(pid));
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn workers_end_also_when_their_runtime_is_gone() {
    let exec = Arc::new(Exec::new(sh(&format!("while read -r l; do {OK}; done"))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    assert_eq!(runtime.block_on(call(&exec, run(2))).done, 2);
    let pid = exec.children()[0];
    drop(runtime);
    assert!(is_alive(pid));
    drop(exec);
    assert!(!is_alive(pid));
}

/// The worker's program reads no input, so only the parent-death signal can end it.
#[test]
fn workers_die_with_this_process() {
    const FOLDER: &str = "LANEKEEPER_TEST_FOLDER";
    if let Some(folder) = env::var_os(FOLDER) {
        // This is the process that is going to be killed.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let exec = Arc::new(Exec::new(ExecSettings {
            dir: Some(folder.into()),
            ..sh("echo $$ > new; mv new pid; exec sleep 60")
        }));
        let answer = runtime.block_on(call(&exec, run(1)));
        panic!("nobody killed this process: {answer:?}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut process = Command::new(env::current_exe().expect("this program"))
        .args([
            "handler::exec::tests::workers_die_with_this_process",
            "--exact",
        ])
        .env(FOLDER, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        let since = Clock::now();
        while !holds() {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "waited for {what}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let path = dir.path().join("pid");
    wait("the worker", &|| path.exists());
    let pid = fs::read_to_string(path).expect("a pid");
    let pid = pid.trim().parse().expect("a pid");
    assert!(is_alive(pid));
    process.kill().expect("killed");
    process.wait().expect("reaped");
    wait("the worker's end", &|| !is_alive(pid));
}

#[tokio::test]
async fn the_example_worker_works() {
    let exec = Arc::new(Exec::new(settings(&[
        "python3",
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples/exec_worker.py"),
    ])));
    let answer = call(&exec, run_with(1, br#"{"account": "ann", "cents": 250}"#)).await;
    assert_eq!(answer.done, 1, "{:?}", answer.failure);
    assert_eq!(answer.effects, [(0, Effect::add("totals", "ann", 250))]);
    for value in [
        &b"{}"[..],
        b"no JSON",
        br#"{"account": 1, "cents": 2}"#,
        b"[]",
    ] {
        let failure = failure(call(&exec, run_with(1, value)).await);
        assert_eq!(failure.kind, FailureKind::Reject, "{}", failure.error);
    }
    assert_eq!(exec.children().len(), 1);
}
