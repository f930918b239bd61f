//! The demo with its checkpoints and accounts in a table.

use crate::bench::succeeds;
use lanekeeper_integration::tables::Tables;

fn is_right(more: &[&str]) {
    let tables = Tables::start().unwrap();
    let (scene, table) = tables.scene(CONFIG).unwrap();
    let args = ["demo", "--store", "dynamodb", "--table", &table];
    let size = ["--seed", "1", "--requests", "40", "--speed", "50"];
    let shown = succeeds(&scene, &[&args[..], &size[..], more].concat());
    assert!(shown.output.contains("verdict: right"), "{shown:#?}");
    // Its app is gone with it.
    let rest = tables.ask("Scan", &serde_json::json!({"TableName": table}));
    let rest = rest.unwrap();
    assert_eq!(rest["Count"], 0, "{rest:#}");
}

/// Only to make the table with.
const CONFIG: &str = r#"
app = "demo"
cap = 1

[sources.orders]
type = "local"
topic = "orders"

[store]

[handler]
type = "exec"
command = [WORKER]
"#;

#[test]
fn the_demo_is_right_on_a_table() {
    is_right(&[]);
}

#[test]
fn the_demo_is_right_on_a_table_while_its_worker_is_killed() {
    is_right(&["--crash"]);
}
