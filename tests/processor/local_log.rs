//! The embedded log among several processes: who may run, what a kill leaves, who takes over.

use lanekeeper::{
    source::local::{
        lock::{Lock, LockError},
        log::Log,
        put::{BadLines, Options, Progress, put},
    },
    sqlite::Access,
};
use std::{
    fs,
    io::{BufRead, BufReader, Cursor, Write},
    ops::ControlFlow,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use uuid::Uuid;

/// Makes this program the other process of a test: the folder it works in.
const OTHER: &str = "LANEKEEPER_TEST_OTHER_PROCESS";

const LONG: Duration = Duration::from_secs(30);

/// Another process that runs one of these tests with a part of its own.
struct Other {
    process: Child,
    said: BufReader<ChildStdout>,
    told: ChildStdin,
}

impl Other {
    fn start(test: &str, folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                &format!("local_log::{test}"),
                "--nocapture",
                "--test-threads=1",
            ])
            .env(OTHER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("another process");
        let said = BufReader::new(process.stdout.take().expect("piped"));
        let told = process.stdin.take().expect("piped");
        Self {
            process,
            said,
            told,
        }
    }

    /// The rest of the line that has this word.
    fn hear(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).expect("readable");
            assert!(read > 0, "it ended without saying `{word}`");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.told, "{line}").expect("it listens");
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have been reaped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signal(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([signal, "--", &pid.to_string()])
        .status();
    assert!(sent.expect("kill is there").success());
}

/// Letter of its state; `None` when it has gone.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("a.db")
}

fn acquire(folder: &Path) -> Result<Lock, LockError> {
    Lock::acquire(&path(folder), "billing", Uuid::new_v4())
}

/// Holds the lock with a child that has a child; says whether the lock is still its own when asked.
fn hold(folder: &str, listed: bool) {
    let lock = acquire(Path::new(folder)).expect("free");
    // As a handler's process does it, the child holds the lock: as its standard error here.
    let child = Command::new("sh")
        .args(["-c", "sleep 60 & echo $!; wait"])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(lock.share().expect("shared"))
        .spawn();
    let mut child = child.expect("a child");
    let mut grandchild = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut grandchild)
        .expect("its child's id");
    if listed {
        lock.set_children(&[child.id()]).expect("written");
    }
    say(&format!("holds {} {}", child.id(), grandchild.trim()));
    for _ in std::io::stdin().lock().lines() {
        say(&format!("ours {}", lock.is_ours()));
    }
    child.wait().expect("reaped");
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}")
        .and_then(|()| out.flush())
        .expect("written");
}

/// The two process ids that [`hold`] says.
fn family(other: &mut Other) -> [u32; 2] {
    let said = other.hear("holds ");
    let mut pids = said
        .split(' ')
        .map(|pid| pid.parse().expect("a process id"));
    [pids.next().expect("two"), pids.next().expect("two")]
}

#[test]
fn a_second_run_is_refused_by_name_until_worker_and_children_are_dead() {
    if let Ok(folder) = std::env::var(OTHER) {
        return hold(&folder, true);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a_second_run_is_refused_by_name_until_worker_and_children_are_dead";
    let mut other = Other::start(name, folder.path());
    let [child, grandchild] = family(&mut other);
    let refused = acquire(folder.path()).expect_err("held").to_string();
    let worker = Lock::named_holder(&path(folder.path()), "billing")
        .expect("named")
        .worker;
    for part in [
        "app `billing` is already run by process".to_owned(),
        format!("process {} (worker {worker}, since 20", other.pid()),
        "a.db.billing.lock".to_owned(),
        format!("kill {}", other.pid()),
    ] {
        assert!(refused.contains(&part), "{part}: {refused}");
    }
    // Another app, and another file, are not concerned.
    let other_app = Lock::acquire(&path(folder.path()), "audit", Uuid::new_v4());
    assert!(other_app.expect("free").holder_is_dead());

    other.kill();
    assert!(is_alive(child) && is_alive(grandchild));
    let refused = acquire(folder.path())
        .expect_err("held by the children")
        .to_string();
    assert!(
        refused.contains("which is dead, and is still held by")
            && refused.contains(&child.to_string()),
        "{refused}"
    );
    signal("-KILL", child);
    let refused = acquire(folder.path())
        .expect_err("held by the grandchild")
        .to_string();
    assert!(
        refused.contains(&format!("{grandchild} `sleep`")),
        "{refused}"
    );
    signal("-KILL", grandchild);
    let lock = acquire(folder.path()).expect("free");
    assert!(lock.holder_is_dead() && lock.is_ours());
}

#[test]
fn a_lock_that_was_given_up_is_held_by_children_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |sleep, shared: std::os::fd::OwnedFd| {
        let mut child = Command::new("sleep");
        child.arg(sleep).stderr(shared).spawn().expect("a child")
    };
    let lock = acquire(folder.path()).expect("free");
    let mut bystander = Command::new("sleep").arg("60").spawn().expect("a process");
    let mut child = start("60", lock.share().expect("shared"));
    drop(lock);
    let refused = acquire(folder.path())
        .expect_err("held by the child")
        .to_string();
    let held_by = format!("done with it, and is still held by {} `sleep`:", child.id());
    assert!(refused.contains(&held_by), "{refused}");
    child.kill().and_then(|()| child.wait()).expect("reaped");

    // One that is about to end is awaited.
    let lock = acquire(folder.path()).expect("free");
    let mut child = start("0.3", lock.share().expect("shared"));
    drop(lock);
    let lock = acquire(folder.path()).expect("its child has ended");
    assert!(lock.holder_is_dead());
    child.wait().expect("reaped");
    let mut end = || bystander.kill().and_then(|()| bystander.wait());
    end().expect("reaped");
}

#[test]
fn two_names_of_one_file_are_one_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = path(folder.path());
    drop(Log::open(&path, Access::Create).expect("a file"));
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let _lock = Lock::acquire(&link, "billing", Uuid::new_v4()).expect("free");
    assert!(matches!(
        acquire(folder.path()),
        Err(LockError::Held { .. })
    ));
    let none = Lock::acquire(
        &folder.path().join("no/such/a.db"),
        "billing",
        Uuid::new_v4(),
    );
    assert!(matches!(none, Err(LockError::Io { .. })));
    let app = Lock::acquire(&path, "a/b", Uuid::new_v4())
        .expect_err("no name")
        .to_string();
    assert!(app.contains("`a/b`"), "{app}");
}

#[test]
fn a_take_over_from_a_frozen_holder_ends_its_children() {
    if let Ok(folder) = std::env::var(OTHER) {
        return hold(&folder, true);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = path(folder.path());
    let name = "a_take_over_from_a_frozen_holder_ends_its_children";
    let mut other = Other::start(name, folder.path());
    let pids = family(&mut other);
    let take_over = || Lock::take_over(&path, "billing", Uuid::new_v4());
    let refused = take_over().expect_err("it runs").to_string();
    assert!(
        refused.contains("is not frozen") && refused.contains("kill -STOP"),
        "{refused}"
    );
    assert!(pids.into_iter().all(is_alive), "nothing was touched");

    signal("-STOP", other.pid());
    wait_until("it stands", || state(other.pid()) == Some('T'));
    let refused = acquire(folder.path()).expect_err("held").to_string();
    assert!(
        refused.contains("kill -CONT") && refused.contains("--take-over"),
        "{refused}"
    );
    let lock = take_over().expect("frozen");
    assert!(!lock.holder_is_dead(), "it may wake");
    assert!(!pids.into_iter().any(is_alive), "its children are gone");
    assert_eq!(state(other.pid()), Some('T'), "it is left as it is");
    let holder = Lock::named_holder(&path, "billing").expect("named");
    assert_eq!(holder.pid, std::process::id());
    assert!(matches!(
        acquire(folder.path()),
        Err(LockError::Held { .. })
    ));
    let refused = take_over().expect_err("we run").to_string();
    assert!(refused.contains("is not frozen"), "{refused}");

    // It wakes, and what it holds means nothing any more.
    signal("-CONT", other.pid());
    other.tell("whose is it");
    assert_eq!(other.hear("ours "), "false");
    assert!(lock.is_ours());

    // Who comes after us has to mind it as well, for as long as it lives.
    drop(lock);
    let next = acquire(folder.path()).expect("free");
    assert!(!next.holder_is_dead());
    drop(next);
    other.kill();
    assert!(acquire(folder.path()).expect("free").holder_is_dead());
}

#[test]
fn a_take_over_finds_children_that_were_not_named_yet() {
    if let Ok(folder) = std::env::var(OTHER) {
        return hold(&folder, false);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a_take_over_finds_children_that_were_not_named_yet";
    let mut other = Other::start(name, folder.path());
    let pids = family(&mut other);
    signal("-STOP", other.pid());
    wait_until("it stands", || state(other.pid()) == Some('T'));
    let lock = Lock::take_over(&path(folder.path()), "billing", Uuid::new_v4());
    assert!(!lock.expect("frozen").holder_is_dead());
    assert!(!pids.into_iter().any(is_alive), "its children are gone");
}

#[test]
fn a_take_over_clears_what_a_dead_holder_left_behind() {
    if let Ok(folder) = std::env::var(OTHER) {
        return hold(&folder, true);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a_take_over_clears_what_a_dead_holder_left_behind";
    let mut other = Other::start(name, folder.path());
    let pids = family(&mut other);
    other.kill();
    let lock = Lock::take_over(&path(folder.path()), "billing", Uuid::new_v4());
    assert!(lock.expect("cleared").holder_is_dead());
    assert!(!pids.into_iter().any(is_alive), "its children are gone");
}

const LINES: u64 = 60_000;

fn options(folder: &Path, from_line: u64) -> Options {
    Options {
        path: path(folder),
        topic: "orders".to_owned(),
        key: Some("id".parse().expect("a key setting")),
        no_key: false,
        partitions: Some(4),
        from_line,
        bad_lines: BadLines::Fail,
    }
}

fn lines() -> Cursor<Vec<u8>> {
    let line = |n| format!("{{\"id\":{n},\"fill\":\"{}\"}}\n", "x".repeat(60));
    Cursor::new((1..=LINES).map(line).collect::<String>().into_bytes())
}

/// The lines' numbers that are in the log, ascending.
fn numbers(folder: &TempDir) -> Vec<u64> {
    let log = Log::open(&path(folder.path()), Access::Read).expect("the log");
    let topic = log.topic("orders").expect("readable").expect("there");
    let mut all = Vec::new();
    for partition in 0..topic.partitions() {
        let mut last = 0;
        log.read(&topic, partition, (1, u64::MAX), usize::MAX, |record| {
            assert_eq!(record.position, last + 1, "positions have no holes");
            last += 1;
            let key = std::str::from_utf8(record.key.unwrap_or_default());
            all.push(key.expect("text").parse().expect("a number"));
            true
        })
        .expect("sound");
    }
    all.sort_unstable();
    all
}

#[test]
fn a_put_that_is_killed_leaves_the_lines_that_it_said() {
    if let Ok(folder) = std::env::var(OTHER) {
        let options = options(Path::new(&folder), 1);
        put(&options, lines(), &mut |progress| {
            if let Progress::Appended(summary) = progress {
                say(&format!("through {}", summary.through_line));
            }
            ControlFlow::Continue(())
        })
        .expect("put");
        return;
    }
    for pause in [0, 1, 3, 7, 15] {
        let folder = tempfile::tempdir().expect("a folder");
        let name = "a_put_that_is_killed_leaves_the_lines_that_it_said";
        let mut other = Other::start(name, folder.path());
        let said: u64 = other.hear("through ").parse().expect("a number");
        std::thread::sleep(Duration::from_millis(pause));
        other.kill();
        let kept = numbers(&folder);
        let through = kept.len() as u64;
        assert!(through >= said, "{through} lines are in, it said {said}");
        assert_eq!(
            kept,
            (1..=through).collect::<Vec<_>>(),
            "all lines up to one, and no other"
        );
        let rest = put(&options(folder.path(), through + 1), lines(), &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(rest.expect("put").records, LINES - through);
        assert_eq!(numbers(&folder), (1..=LINES).collect::<Vec<_>>());
    }
}
