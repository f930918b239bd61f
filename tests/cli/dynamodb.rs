//! The DynamoDB store behind the real binary: what `check` and `store init` tell, and every command on a
//! table. What needs a whole DynamoDB asks the one that `LANEKEEPER_TEST_DYNAMODB` names.

mod checks;
mod commands;
mod init;
mod server;

use crate::world::{Ended, World};
use std::process::Command;

/// The emulator that `cargo integration test` starts, or one that was started by hand.
fn emulator() -> String {
    let endpoint = std::env::var("LANEKEEPER_TEST_DYNAMODB").unwrap_or_else(|_| {
        panic!(
            "`LANEKEEPER_TEST_DYNAMODB` is not set: these tests need the endpoint of a DynamoDB (an \
             emulator), such as http://127.0.0.1:8000; `cargo integration test` starts one"
        )
    });
    assert!(
        !endpoint.starts_with("https://"),
        "`LANEKEEPER_TEST_DYNAMODB` is `{endpoint}`: these tests speak plain HTTP, with credentials that \
         only an emulator takes; name an emulator's endpoint, or unset it and ask for the tests that take \
         a real one (`integration/README.md`)"
    );
    endpoint
}

/// A command on a table behind an endpoint, with credentials that an emulator takes, and with nothing
/// of the user's own configuration.
fn command(world: &World, endpoint: &str, args: &[&str]) -> Command {
    let mut command = world.command(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", world.path("."))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint);
    command
}

/// A world whose store is a table of its own.
fn world(table: &str) -> World {
    let world = World::new();
    let text = world.read("lanekeeper.toml");
    let store = format!("[store]\ntype = \"dynamodb\"\ntable = \"{table}\"");
    world.write("lanekeeper.toml", text.replace("[store]", &store));
    world
}

fn run(world: &World, endpoint: &str, args: &[&str]) -> Ended {
    world.end(command(world, endpoint, args))
}

/// A name that no other test has.
fn table() -> String {
    format!("lanekeeper-test-{}", uuid::Uuid::new_v4().simple())
}
