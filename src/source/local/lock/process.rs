//! What the kernel says of a process.

use std::{fs, os::unix::fs::MetadataExt};

/// A process as `/proc/{pid}/stat` has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// Clock ticks since boot.
    pub(super) start: u64,
}

impl Process {
    /// Ended, perhaps not yet reaped: it holds nothing any more.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Stopped by a signal or a debugger.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// One process; `None` when there is none of that id.
pub(super) fn look(pid: u32) -> Option<Process> {
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&bytes))
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The command stands in parentheses and may hold any of them itself.
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, command) = head.split_once('(')?;
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // Fields 3, 4, 5 are read; the start is field 22.
    let start = fields.nth(16)?.parse().ok()?;
    Some(Process {
        pid,
        command: command.to_owned(),
        state,
        parent,
        group,
        start,
    })
}

/// Processes that have the file open, this one left out, as far as we may look into them.
pub(super) fn holders(file: &fs::File) -> Vec<Process> {
    let Ok(ours) = file.metadata() else {
        return Vec::new();
    };
    let same = |link: &fs::DirEntry| {
        fs::metadata(link.path()).is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino()))
    };
    all()
        .filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            let open = fs::read_dir(format!("/proc/{pid}/fd"));
            open.is_ok_and(|open| open.flatten().any(|link| same(&link)))
        })
        .filter_map(look)
        .collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_look_like_fields() {
        let stat = "42 (a) R 9 (b) S 7 41 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        let process = parse(42, stat).expect("sound");
        assert_eq!(process.command, "a) R 9 (b");
        assert_eq!(
            (process.state, process.parent, process.group, process.start),
            ('S', 7, 41, 98765)
        );
        assert_eq!(parse(42, "42 (a) S 7"), None);
    }

    #[test]
    fn we_find_ourselves() {
        let me = look(std::process::id()).expect("we run");
        assert!(me.start > 0 && !me.is_dead() && !me.is_frozen());
        assert_eq!(look(u32::MAX), None);
    }
}
