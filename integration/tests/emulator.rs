//! The emulator of DynamoDB: fetched, started, shared, ended.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use lanekeeper_integration::emulator::{self, Dynamodb};
use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Command, Output},
};

/// A cache of its own, in which the fetched package is that of the real one: no test fetches twice.
fn cache() -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let package = emulator::fetch().unwrap();
    symlink(&package, cache.path().join(package.file_name().unwrap())).unwrap();
    cache
}

/// The command itself.
fn integration(cache: &tempfile::TempDir, command: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_integration"))
        .args([command, "dynamodb"])
        .env("LANEKEEPER_CACHE", cache.path())
        .env_remove("LANEKEEPER_TEST_DYNAMODB")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    text
}

fn accepts(endpoint: &str) -> bool {
    TcpStream::connect(endpoint.trim_start_matches("http://")).is_ok()
}

#[test]
fn up_starts_one_that_down_ends() {
    let cache = cache();
    let up = said(&integration(&cache, "up"));
    assert!(up.starts_with("started an emulator"), "{up}");
    let state = fs::read_to_string(cache.path().join("dynamodb.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let endpoint = state["endpoint"].as_str().unwrap();
    assert!(up.contains(&format!("AWS_ENDPOINT_URL_DYNAMODB={endpoint}")));
    assert!(accepts(endpoint));

    let again = said(&integration(&cache, "up"));
    assert!(again.starts_with("nothing started"), "{again}");
    assert!(again.contains(endpoint), "{again}");

    let down = said(&integration(&cache, "down"));
    assert!(down.contains(endpoint), "{down}");
    assert!(!accepts(endpoint));
    let again = said(&integration(&cache, "down"));
    assert!(again.starts_with("nothing to end"), "{again}");
}

#[test]
fn down_ends_no_process_that_up_did_not_start() {
    let cache = tempfile::tempdir().unwrap();
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    let state = serde_json::json!({
        "format": 1, "endpoint": "http://127.0.0.1:1", "pid": bystander.id(),
        "began": "before the last start of this machine", "folder": cache.path(),
    });
    fs::write(cache.path().join("dynamodb.json"), state.to_string()).unwrap();
    let down = said(&integration(&cache, "down"));
    assert!(down.contains("is gone"), "{down}");
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// What `up` complains about when nothing but this `python3` is to be found.
fn complaint(python3: Option<&str>) -> String {
    let (cache, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if let Some(script) = python3 {
        let file = path.path().join("python3");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    let up = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["up", "dynamodb"])
        .env("LANEKEEPER_CACHE", cache.path())
        .env("PATH", path.path())
        .env_remove("LANEKEEPER_TEST_DYNAMODB")
        .output()
        .unwrap();
    assert!(!up.status.success(), "{up:?}");
    String::from_utf8_lossy(&up.stderr).into_owned()
}

#[test]
fn what_is_missing_is_named() {
    let python = complaint(None);
    let old = complaint(Some("#!/bin/sh\necho 3.9.2\n"));
    let venv = "#!/bin/sh\n\
                [ \"$2\" = -c ] && echo 3.13.1 && exit\n\
                echo no ensurepip\n\
                exit 1\n";
    let venv = complaint(Some(venv));
    for (said, part) in [
        (&python, "cannot run `python3`"),
        (&python, "apt-get install python3 python3-venv"),
        (&python, "LANEKEEPER_TEST_DYNAMODB"),
        (&old, "`3.9.2`"),
        (&old, "3.10 or later"),
        (&venv, "apt-get install python3-venv"),
        (&venv, "no ensurepip"),
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn the_environment_leads_to_it() {
    let dynamodb = Dynamodb::start().unwrap();
    let environment = dynamodb.environment();
    assert_eq!(
        environment[0],
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint().to_owned())
    );
    let keys = environment
        .iter()
        .any(|(name, _)| *name == "AWS_ACCESS_KEY_ID");
    assert_eq!(keys, !dynamodb.endpoint().starts_with("https://"));
    assert!(!dynamodb.name().is_empty());
}

#[test]
fn tables_of_tests_have_names_of_their_own() {
    let names: BTreeSet<String> = (0..1_000).map(|_| Dynamodb::table_name()).collect();
    assert_eq!(names.len(), 1_000);
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("lanekeeper-test-"))
    );
}
