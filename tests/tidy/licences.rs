//! What we build upon: where it comes from and under which terms, by the lists of `deny.toml`.

use crate::{demand_none, tree::file};
use serde_json::Value;
use spdx::{Expression, ParseMode};
use std::{io, process::Command};

/// All packages that a build for this machine may contain.
fn packages() -> io::Result<Value> {
    let rustc = Command::new("rustc").arg("-vV").output()?;
    let rustc = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let cargo = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--all-features",
        ])
        .args(["--filter-platform", host.unwrap_or("unknown")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let complaint = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{complaint}");
    let mut metadata: Value = serde_json::from_slice(&cargo.stdout)?;
    Ok(metadata["packages"].take())
}

fn texts(list: &toml::Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .collect()
}

#[test]
fn licences_and_sources_are_those_of_deny_toml() {
    let deny: toml::Table = file("deny.toml").unwrap().text.parse().unwrap();
    let allowed = texts(&deny["licenses"]["allow"]);
    let registries = texts(&deny["sources"]["allow-registry"]);
    let banned: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|ban| ban["crate"].as_str())
        .collect();
    let packages = packages().unwrap();
    let packages = packages.as_array().unwrap();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        let terms = Expression::parse_mode(licence, ParseMode::LAX);
        let is_allowed = terms.is_ok_and(|terms| {
            terms.evaluate(|required| allowed.contains(&required.to_string().as_str()))
        });
        if !is_allowed {
            wrong.push(format!("`{name}`: licence `{licence}`"));
        }
        if let Some(source) = package["source"].as_str()
            && !registries.contains(&source.trim_start_matches("registry+"))
        {
            wrong.push(format!("`{name}`: comes from `{source}`"));
        }
        if banned.contains(&name) {
            wrong.push(format!("`{name}`: banned, see its reason in deny.toml"));
        }
    }
    demand_none("packages that deny.toml does not allow", &wrong);
}

#[test]
fn one_stack_of_tls_and_one_of_http() {
    // Default features of any AWS SDK crate bring older ones back: deny.toml cannot say that of versions
    // that it does not know.
    let packages = packages().unwrap();
    for name in ["rustls", "hyper", "h2"] {
        let versions: Vec<&str> = { packages.as_array().unwrap().iter() }
            .filter(|package| package["name"] == name)
            .filter_map(|package| package["version"].as_str())
            .collect();
        assert!(versions.len() < 2, "{name}: {versions:?}");
    }
    let has = |name: &str| { packages.as_array().unwrap().iter() }.any(|p| p["name"] == name);
    assert!(has("rustls") && has("hyper"), "is the search broken?");
}
