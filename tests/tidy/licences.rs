//! What we build upon: where it comes from and under which terms, by the lists of `deny.toml`.

use crate::{demand_none, tree::file};
use serde_json::Value;
use spdx::{Expression, ParseMode};
use std::{collections::BTreeSet, io, process::Command};

/// All packages that a build for this machine may contain, and who depends on whom.
fn metadata() -> io::Result<Value> {
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
    Ok(serde_json::from_slice(&cargo.stdout)?)
}

fn packages() -> io::Result<Value> {
    Ok(metadata()?["packages"].take())
}

/// The names of the packages that depend on one, each once.
fn dependents(metadata: &Value, name: &str) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let named = |id: &Value| packages.iter().find(|p| p["id"] == *id).map(|p| &p["name"]);
    let nodes = list(&metadata["resolve"]["nodes"]).into_iter();
    nodes
        .filter(|node| {
            list(&node["dependencies"])
                .iter()
                .any(|id| named(id).is_some_and(|n| n == name))
        })
        .filter_map(|node| Some(named(&node["id"])?.as_str()?.to_owned()))
        .collect()
}

/// Packages that a list of bans forbids. One with `wrappers` is allowed to those alone.
fn banned(metadata: &Value, bans: &[toml::Value]) -> Vec<String> {
    let packages = metadata["packages"].as_array();
    let has = |name: &str| { packages.into_iter().flatten() }.any(|p| p["name"] == name);
    let mut wrong = Vec::new();
    for ban in bans {
        let name = ban["crate"].as_str().unwrap_or_default();
        if !has(name) {
            continue;
        }
        let wrappers = ban.get("wrappers").map(texts).unwrap_or_default();
        if wrappers.is_empty() {
            wrong.push(format!("`{name}`: banned, see its reason in deny.toml"));
            continue;
        }
        for dependent in dependents(metadata, name) {
            if !wrappers.contains(&dependent.as_str()) {
                wrong.push(format!(
                    "`{name}`: `{dependent}` depends on it, deny.toml allows that to {wrappers:?}"
                ));
            }
        }
    }
    wrong
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
    let metadata = metadata().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
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
    }
    wrong.extend(banned(&metadata, deny["bans"]["deny"].as_array().unwrap()));
    demand_none("packages that deny.toml does not allow", &wrong);
}

#[test]
fn a_ban_with_wrappers_names_everyone_else() {
    // `app` takes `tls` by itself and through `client`.
    let metadata = serde_json::json!({
        "packages": [
            { "id": "a", "name": "app" }, { "id": "c", "name": "client" }, { "id": "t", "name": "tls" },
        ],
        "resolve": { "nodes": [
            { "id": "a", "dependencies": ["c", "t"] },
            { "id": "c", "dependencies": ["t"] },
            { "id": "t", "dependencies": [] },
        ] },
    });
    let told = |ban: &str| {
        let ban: toml::Table = ban.parse().unwrap();
        banned(&metadata, &[ban.into()])
    };
    let tls = "crate = 'tls'\n";
    assert_eq!(told(tls).len(), 1, "no wrapper: nobody may have it");
    let [other] = &told(&format!("{tls}wrappers = ['client']"))[..] else {
        panic!("one dependent is no wrapper");
    };
    assert!(other.contains("`app` depends"), "{other}");
    assert!(told(&format!("{tls}wrappers = ['app', 'client']")).is_empty());
    assert!(told("crate = 'absent'").is_empty());
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
