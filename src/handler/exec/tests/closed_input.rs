//! Workers that close their input and live on.

use super::*;

#[tokio::test]
async fn what_it_did_not_read_costs_the_next_call_nothing() {
    // A process that another test of this program is about to start has all its pipes until it is another
    // program: what is written meanwhile has a reader.
    for _ in 0..3 {
        match call_behind_a_closed_input().await {
            Ok(()) => return,
            Err(error) => assert!(error.contains("no answer within"), "{error}"),
        }
    }
    panic!("three calls in a row found a reader");
}

/// What the second call said where it failed.
async fn call_behind_a_closed_input() -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a folder");
    // Answers one call, then reads no more.
    let script = format!("read -r line; {OK}; exec 0<&-; touch closed; exec sleep 60");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh(&script)
    }));
    let first = call(&exec, run(1)).await;
    assert_eq!((first.done, first.failure.is_none()), (1, true));
    let former = exec.children();
    until("its input is closed", || dir.path().join("closed").exists()).await;
    let began = Clock::now();
    let second = call(&exec, run(1)).await;
    if let Some(failure) = second.failure {
        return Err(failure.error);
    }
    assert_eq!(second.done, 1);
    assert_ne!(exec.children(), former, "another worker took it");
    assert!(began.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[tokio::test]
async fn one_that_never_reads_is_the_target_s_fault() {
    let dir = tempfile::tempdir().expect("a folder");
    let exec = Arc::new(Exec::new(ExecSettings {
        dir: Some(dir.path().to_owned()),
        ..sh("exec 0<&-; exec sleep 60")
    }));
    // More than its pipe takes in before it is closed.
    let failure = failure(call(&exec, run_with(1, &vec![b'x'; 1 << 20])).await);
    assert_eq!(failure.kind, FailureKind::Target, "{}", failure.error);
    assert!(
        failure.error.contains("standard input"),
        "{}",
        failure.error
    );
}
