//! The files of `deploy/` agree with the code, with each other, and with what the tests run on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: whatever they do not find is a failure"
)]

use crate::tree::{file, files};
use lanekeeper::{
    Config,
    config::{HandlerKind, Layers, SourceKind, StoreKind},
};
use std::{fs, path::Path, process::Command, time::Duration};
use yaml_rust2::{Yaml, YamlLoader};

/// What is left between `drain` and a kill: 2 s for the last commits, the good-bye to the group, and some.
const MARGIN: Duration = Duration::from_secs(15);

fn text(name: &str) -> String {
    file(&format!("deploy/{name}")).unwrap().text
}

/// The documents of a file.
fn documents(name: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&text(name)).expect(name)
}

/// The one document of a file, or what is at this path in it.
fn at(name: &str, path: &[&str]) -> Yaml {
    let [document] = &documents(name)[..] else {
        unreachable!("{name} has one document");
    };
    let steps = path.iter();
    steps.fold(document.clone(), |yaml, step| match step.parse::<usize>() {
        Ok(index) => yaml[index].clone(),
        Err(_) => yaml[*step].clone(),
    })
}

fn word(yaml: &Yaml) -> String {
    let number = yaml.as_i64().map(|number| number.to_string());
    number.unwrap_or_else(|| yaml.as_str().unwrap_or_default().to_owned())
}

const CONTAINER: [&str; 5] = ["spec", "template", "spec", "containers", "0"];
const POD: [&str; 3] = ["spec", "template", "spec"];

fn container(path: &[&str]) -> Yaml {
    at("kubernetes/deployment.yaml", &[&CONTAINER, path].concat())
}

fn pod(path: &[&str]) -> Yaml {
    at("kubernetes/deployment.yaml", &[&POD, path].concat())
}

/// The configurations that are written down in here, as a worker reads them, with where they are.
fn configurations() -> [(&'static str, Config); 2] {
    [
        (
            "kubernetes/configmap.yaml",
            &["data", "lanekeeper.toml"][..],
        ),
        ("compose.yaml", &["configs", "lanekeeper", "content"]),
    ]
    .map(|(name, path)| {
        let folder = tempfile::tempdir().unwrap();
        let text = at(name, path).as_str().expect(name).to_owned();
        let file = folder.path().join("lanekeeper.toml");
        fs::write(&file, text).unwrap();
        let layers = Layers {
            file: Some(file),
            // As the image sets it.
            environment: environment()
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
            set: Vec::new(),
        };
        (name, Config::load(&layers).expect(name))
    })
}

/// A line of the Dockerfile that begins so, its continuations joined.
fn instruction(word: &str) -> Vec<String> {
    let joined = text("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix(word));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The image's variables.
fn environment() -> Vec<(String, String)> {
    let pairs = instruction("ENV ");
    let pairs = pairs.iter().flat_map(|line| line.split_whitespace());
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Seconds of `60s` or `60`.
fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect(text))
}

fn bytes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 2);
    assert_eq!(unit, "Mi", "{text}");
    number.parse::<u64>().expect(text) << 20
}

fn port(config: &Config) -> String {
    config.metrics.expect("pages").port().to_string()
}

#[test]
fn every_yaml_parses() {
    let all = files().unwrap();
    let names = all
        .iter()
        .filter_map(|file| file.path.strip_prefix("deploy/"));
    let names: Vec<&str> = names.filter(|name| name.ends_with(".yaml")).collect();
    assert!(names.len() > 5, "only {names:?}");
    for name in names {
        assert_eq!(documents(name).len(), 1, "{name}");
    }
}

#[test]
fn the_configurations_are_read_and_run_on_what_the_image_has() {
    for (name, config) in configurations() {
        let [source] = &config.sources[..] else {
            unreachable!("{name}: one source");
        };
        assert!(matches!(source.kind, SourceKind::Kafka { .. }), "{name}");
        assert!(
            matches!(config.store.kind, StoreKind::Dynamodb { .. }),
            "{name}"
        );
        // No worker's program is in the image.
        assert!(
            matches!(config.handler.kind, Some(HandlerKind::Http { .. })),
            "{name}"
        );
        let listen = config.metrics.expect(name);
        assert!(
            listen.ip().is_unspecified(),
            "{name}: probes come from outside"
        );
    }
}

#[test]
fn nobody_is_killed_before_its_drain_is_over() {
    let [(_, kubernetes), (_, compose)] = configurations();
    let unit = text("systemd/lanekeeper.service");
    let unit = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let example = Config::new("defaults", 1);
    let given = [
        (
            kubernetes.drain,
            word(&pod(&["terminationGracePeriodSeconds"])),
        ),
        (
            compose.drain,
            word(&at(
                "compose.yaml",
                &["services", "lanekeeper", "stop_grace_period"],
            )),
        ),
        (example.drain, unit.expect("a timeout").to_owned()),
    ];
    for (drain, grace) in given {
        assert!(
            seconds(&grace) >= drain + MARGIN,
            "{grace}, drain {drain:?}"
        );
    }
    assert!(text("systemd/lanekeeper.service").contains("\nKillMode=mixed\n"));
}

#[test]
fn probes_checks_and_scrapes_ask_where_the_pages_are() {
    let [(_, kubernetes), (_, compose)] = configurations();
    let port_of = port(&kubernetes);
    let [image] = &instruction("EXPOSE ")[..] else {
        unreachable!("one port");
    };
    assert_eq!((image, &port(&compose)), (&port_of, &port_of));
    assert_eq!(word(&container(&["ports", "0", "containerPort"])), port_of);
    assert_eq!(word(&container(&["ports", "0", "name"])), "metrics");
    for (probe, page) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(word(&container(&[probe, "httpGet", "path"])), page);
        assert_eq!(word(&container(&[probe, "httpGet", "port"])), "metrics");
    }
    let notes = at(
        "kubernetes/deployment.yaml",
        &["spec", "template", "metadata", "annotations"],
    );
    assert_eq!(word(&notes["prometheus.io/port"]), port_of);
    assert_eq!(word(&notes["prometheus.io/path"]), "/metrics");
    // `tests/cli` runs the image's own check against a worker.
    let check = instruction("HEALTHCHECK ").concat();
    assert!(
        check.contains(&format!("/dev/tcp/127.0.0.1/{port_of} ")),
        "{check}"
    );
    let published = at("compose.yaml", &["services", "lanekeeper", "ports", "0"]);
    assert!(
        word(&published).ends_with(&format!(":{port_of}")),
        "{published:?}"
    );
}

#[test]
fn files_are_mounted_where_they_are_looked_for() {
    let [(_, kubernetes), _] = configurations();
    let variable = environment();
    let variable = { variable.iter() }.find(|(name, _)| name == "LANEKEEPER_CONFIG");
    let path = &variable.expect("the image says where").1;
    let folder = Path::new(path).parent().unwrap().to_str().unwrap();
    assert_eq!(&word(&container(&["env", "0", "value"])), path);
    assert_eq!(
        word(&container(&["volumeMounts", "0", "mountPath"])),
        folder
    );
    assert_eq!(
        &word(&at(
            "compose.yaml",
            &["x-lanekeeper", "configs", "0", "target"]
        )),
        path
    );
    assert!(text("systemd/lanekeeper.service").contains(&format!("run -c {path}\n")));
    // Secrets that the configuration names are keys of the Secret.
    let secrets = word(&container(&["volumeMounts", "1", "mountPath"]));
    let configuration = text("kubernetes/configmap.yaml");
    let named = configuration
        .matches(&format!("file = \"{secrets}/"))
        .count();
    assert_eq!(named, configuration.matches("file = \"").count());
    assert_eq!(named, 2);
    let Some(HandlerKind::Http { url, .. }) = kubernetes.handler.kind else {
        unreachable!("a sidecar");
    };
    let probe = pod(&["initContainers", "0", "startupProbe", "httpGet", "port"]);
    assert!(
        url.contains(&format!("127.0.0.1:{}/", word(&probe))),
        "{url}"
    );
}

#[test]
fn nothing_runs_as_root_or_writes_to_its_image() {
    let [user] = &instruction("USER ")[..] else {
        unreachable!("one user, that of the last stage");
    };
    let user = user.split(':').next().unwrap().to_owned();
    assert!(user.parse::<u32>().expect("a number, for runAsNonRoot") > 0);
    assert_eq!(word(&pod(&["securityContext", "runAsUser"])), user);
    assert_eq!(
        pod(&["securityContext", "runAsNonRoot"]).as_bool(),
        Some(true)
    );
    for path in [
        &["initContainers", "0", "securityContext"][..],
        &["containers", "0", "securityContext"],
    ] {
        let context = pod(path);
        assert_eq!(
            context["readOnlyRootFilesystem"].as_bool(),
            Some(true),
            "{path:?}"
        );
        assert_eq!(
            context["allowPrivilegeEscalation"].as_bool(),
            Some(false),
            "{path:?}"
        );
        assert_eq!(word(&context["capabilities"]["drop"][0]), "ALL", "{path:?}");
    }
    assert_eq!(
        at("compose.yaml", &["x-lanekeeper", "read_only"]).as_bool(),
        Some(true)
    );
    let unit = text("systemd/lanekeeper.service");
    for line in [
        "User=lanekeeper",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn a_pod_has_twice_the_memory_that_records_may_take() {
    let [(_, kubernetes), _] = configurations();
    for kind in ["requests", "limits"] {
        let given = bytes(&word(&container(&["resources", kind, "memory"])));
        assert!(given >= 2 * kubernetes.memory, "{kind}: {given}");
    }
}

#[test]
fn budget_and_deployment_mean_the_same_pods() {
    let label = "app.kubernetes.io/name";
    let selected = at(
        "kubernetes/deployment.yaml",
        &["spec", "selector", "matchLabels"],
    );
    let labels = at(
        "kubernetes/deployment.yaml",
        &["spec", "template", "metadata", "labels"],
    );
    let budget = at(
        "kubernetes/poddisruptionbudget.yaml",
        &["spec", "selector", "matchLabels"],
    );
    assert_eq!(word(&selected[label]), "lanekeeper");
    assert_eq!(selected, labels);
    assert_eq!(selected, budget);
    let account = at("kubernetes/serviceaccount.yaml", &["metadata", "name"]);
    assert_eq!(pod(&["serviceAccountName"]), account);
}

#[test]
fn images_are_pinned_and_are_those_that_the_tests_run_on() {
    let manifest: toml::Table = file("Cargo.toml").unwrap().text.parse().unwrap();
    let package = &manifest["workspace"]["package"];
    let (version, floor) = (
        package["version"].as_str().unwrap(),
        package["rust-version"].as_str().unwrap(),
    );
    let stages = instruction("FROM ");
    let [build, run] = &stages[..] else {
        unreachable!("two stages");
    };
    let rust = build
        .strip_prefix("rust:")
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    let numbers = |text: &str| {
        text.split('.')
            .map(|n| n.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    assert!(
        numbers(rust) >= numbers(floor),
        "{rust}, Cargo.toml asks for {floor}"
    );
    // OpenSSL is linked dynamically: Debian 13 is trixie.
    assert!(
        build.contains("-trixie ") && run.starts_with("debian:13."),
        "{stages:?}"
    );

    let kafka = file("integration/kafka.txt").unwrap().text;
    let ministack = file("integration/ministack.txt").unwrap().text;
    let of = |service: &str| word(&at("compose.yaml", &["services", service, "image"]));
    let tag = |image: &str| image.rsplit_once(':').expect("a tag").1.to_owned();
    for service in ["kafka", "topic"] {
        assert!(
            kafka.contains(&format!("kafka-clients:{}", tag(&of(service)))),
            "{service}"
        );
    }
    assert!(ministack.contains(&format!("\nministack=={} ", tag(&of("dynamodb")))));
    assert!(tag(&of("worker")).starts_with("3."));
    let ours = [
        word(&at("compose.yaml", &["x-lanekeeper", "image"])),
        word(&container(&["image"])),
    ];
    for image in ours {
        assert_eq!(tag(&image), version, "{image}");
    }
}

#[test]
fn the_image_is_built_from_what_it_is_given() {
    let manifest: toml::Table = file("Cargo.toml").unwrap().text.parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let build = instruction("RUN ").concat();
    let asked = build.split("--features ").nth(1).expect("features");
    for feature in asked.split_whitespace().next().unwrap().split(',') {
        assert!(features.contains_key(feature), "{feature}");
    }
    assert!(asked.starts_with("kafka,dynamodb,msk "), "{asked}");
    // A build fails where a file is left out that a manifest names, whether it is built or not.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = text("Dockerfile.dockerignore");
    let given = |path: &str| {
        ignored
            .lines()
            .any(|line| line.strip_prefix('!') == Some(path))
    };
    assert!(ignored.lines().any(|line| line == "*") && given("Cargo.lock"));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let paths = packages.iter().flat_map(|package| {
        let targets = package["targets"].as_array().unwrap().iter();
        targets
            .map(|target| &target["src_path"])
            .chain([&package["manifest_path"]])
    });
    let mut seen = 0;
    for path in paths {
        let path = Path::new(path.as_str().unwrap())
            .strip_prefix(root)
            .unwrap();
        let first = path.iter().next().unwrap().to_str().unwrap();
        assert!(given(first), "{} is not given to the build", path.display());
        seen += 1;
    }
    assert!(seen > 20, "only {seen}: is the search broken?");
}
