//! The tutorial's commands, in one shell, print what it says.

use lanekeeper_integration::scene::binary;
use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

/// Begins the line behind a command's output.
const MARK: &str = "== end of command";

/// Commands with the output that the tutorial shows.
fn commands(text: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut in_console = false;
    let mut in_document = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            in_document = command.ends_with("<<'END'");
            commands.push((command.to_owned(), String::new()));
        } else if in_console && let Some((command, output)) = commands.last_mut() {
            let part = if in_document { command } else { output };
            if in_document {
                part.push('\n');
            }
            part.push_str(line);
            if !in_document {
                part.push('\n');
            }
            in_document &= line != "END";
        }
    }
    commands
}

#[test]
fn every_command_prints_what_the_tutorial_says() {
    let tutorial = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md");
    let commands = commands(&fs::read_to_string(tutorial).unwrap());
    assert!(commands.len() > 15, "only {} commands", commands.len());
    let script: String = commands
        .iter()
        .map(|(command, _)| format!("{command}\nstatus=$?; echo '{MARK}'; (exit $status)\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let ours = binary().unwrap().parent().unwrap_or(Path::new("."));
    let path = env::join_paths([ours.to_owned()].into_iter().chain(env::split_paths(&path)));
    let ran = Command::new("bash")
        .arg(&file)
        .current_dir(folder.path())
        .env("PATH", path.unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    let outputs = output.split(&format!("{MARK}\n")).collect::<Vec<_>>();
    assert_eq!(outputs.len(), commands.len() + 1, "{output}\n{errors}");
    for ((command, wanted), output) in commands.iter().zip(outputs) {
        assert_eq!(output, wanted, "`{command}`\n{errors}");
    }
}
