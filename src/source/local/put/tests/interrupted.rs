//! Inputs and disks that do not last.

use super::World;
use crate::{
    source::local::{
        log::{Log, LogError},
        put::{
            Chunk, LINE_BYTES_MAX, LINES_MAX, Options, Progress, Put, PutError, Summary,
            lines::Lines, put,
        },
    },
    sqlite::{Access, Fault},
};
use std::{
    io::{self, BufReader, Cursor, Write},
    ops::ControlFlow,
    time::Duration,
};

#[test]
fn a_stop_leaves_what_was_read_in_the_log() {
    let world = World::new();
    let options = world.options(None);
    let input = Cursor::new(b"x\n".repeat(5 * LINES_MAX));
    let summary = put(&options, input, &mut |_| ControlFlow::Break(())).expect("stopped");
    assert!(summary.stopped);
    assert!(summary.records < 5 * LINES_MAX as u64);
    assert_eq!(world.kept().len() as u64, summary.through_line);
}

#[test]
fn lines_of_a_pipe_do_not_wait_for_more() {
    let world = World::new();
    let options = world.options(None);
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let (told, heard) = std::sync::mpsc::channel();
    let putting = std::thread::spawn(move || {
        put(&options, BufReader::new(reader), &mut |progress| {
            if let Progress::Appended(summary) = progress {
                told.send(summary.records).expect("heard");
            }
            ControlFlow::Continue(())
        })
    });
    let mut records = 0;
    for n in 1..=3u64 {
        writer.write_all(b"one line\n").expect("written");
        records = heard
            .recv_timeout(Duration::from_secs(30))
            .expect("appended while the pipe is open");
        assert_eq!(records, n);
    }
    drop(writer);
    let summary = putting.join().expect("no panic").expect("sound");
    assert_eq!(summary.records, records);
}

#[test]
fn an_input_that_breaks_off_says_what_is_in() {
    struct Torn(usize);
    impl io::Read for Torn {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 2 {
                return Err(io::Error::other("torn cable"));
            }
            out[..4].copy_from_slice(b"abc\n");
            Ok(4)
        }
    }
    let world = World::new();
    let error = put(&world.options(None), BufReader::new(Torn(0)), &mut |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(
        error.expect_err("torn").to_string(),
        "cannot read the input behind line 2: torn cable. The lines up to there are in: go on with `--from-line 3`"
    );
    assert_eq!(world.kept().len(), 2);
}

#[test]
fn a_full_disk_says_which_lines_are_in() {
    let mut world = World::new();
    let options = world.options(None);
    world.put(&options, b"first\n").expect("room");
    let mut putting = Put {
        log: Log::open(&options.path, Access::Existing).expect("the log"),
        options: &options,
        progress: &mut |_| ControlFlow::Continue(()),
        chunk: Chunk::default(),
        summary: Summary::default(),
    };
    putting.log.bound_pages(120).expect("bounded");
    let input = Cursor::new([&b"x".repeat(99)[..], b"\n"].concat().repeat(3 * LINES_MAX));
    let mut lines = Lines::new(input, LINE_BYTES_MAX);
    let error = putting.run(&mut lines).expect_err("full");
    let through = putting.summary.through_line;
    drop(putting);
    let said = error.to_string();
    let PutError::Append {
        error: LogError::File(error),
        next,
    } = error
    else {
        panic!("{said}");
    };
    assert!(matches!(error.fault, Fault::Full(_)), "{error}");
    assert_eq!(next, through + 1);
    assert!(
        said.contains(&format!("`--from-line {}`", through + 1)),
        "{said}"
    );
    assert!(said.contains("a.db"), "{said}");
    assert_eq!(
        world.kept().len() as u64,
        1 + through,
        "a transaction is in whole or not at all"
    );
    // With room again it goes on there, and nothing is lost or doubled.
    let rest = Options {
        from_line: through + 1,
        ..options
    };
    let input = [&b"x".repeat(99)[..], b"\n"].concat().repeat(3 * LINES_MAX);
    world.put(&rest, &input).expect("room again");
    assert_eq!(world.kept().len(), 1 + 3 * LINES_MAX);
}
