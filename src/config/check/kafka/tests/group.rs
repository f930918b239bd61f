use super::{properties, sound, wrong};

#[test]
fn a_member_of_a_group_outlasts_its_drain_and_leaves_the_broker_its_own() {
    sound(&properties("\"max.poll.interval.ms\" = 40000"), "");
    wrong(
        &properties("\"max.poll.interval.ms\" = 39999"),
        "",
        &["`max.poll.interval.ms`", "`drain` is `30s`", "10s longer"],
    );
    sound(&properties("\"group.protocol\" = \"consumer\""), "");
    sound(
        &properties("\"group.protocol\" = \"classic\", \"session.timeout.ms\" = 45000"),
        "",
    );
    wrong(
        &properties("\"group.protocol\" = \"consumer\", \"session.timeout.ms\" = 45000"),
        "",
        &["`session.timeout.ms`", "the broker says it"],
    );
    wrong(
        &properties("\"group.protocol\" = \"hunter2\""),
        "",
        &["`classic` or `consumer`"],
    );
    let consumer = "group_protocol = \"consumer\"\n";
    sound(consumer, "");
    sound("group_protocol = \"classic\"", "");
    wrong(
        "group_protocol = \"hunter3\"",
        "",
        &["`sources.k.group_protocol`", "`classic`", "`consumer`"],
    );
    wrong(
        &format!(
            "{consumer}{}",
            properties("\"heartbeat.interval.ms\" = 1000")
        ),
        "",
        &[
            "`heartbeat.interval.ms`",
            "`sources.k.group_protocol`",
            "the broker says it",
        ],
    );
    wrong(
        &format!(
            "{consumer}{}",
            properties("\"group.protocol\" = \"classic\"")
        ),
        "",
        &[
            "`sources.k.group_protocol` and `group.protocol`",
            "remove one",
        ],
    );
    let assignor = properties("\"group.remote.assignor\" = \"uniform\"");
    sound(&format!("{consumer}{assignor}"), "");
    wrong(&assignor, "", &["`group.remote.assignor`", "no effect"]);
}

#[test]
fn a_static_member_has_one_name_that_brokers_take() {
    sound("group_instance_id = \"orders-0\"", "");
    sound(&properties("\"group.instance.id\" = \"orders-0\""), "");
    wrong(
        &format!(
            "group_instance_id = \"a\"\n{}",
            properties("\"group.instance.id\" = \"b\"")
        ),
        "",
        &[
            "`sources.k.group_instance_id` and `group.instance.id`",
            "remove one",
        ],
    );
    for id in ["a b", "..", "a/b"] {
        wrong(
            &format!("group_instance_id = \"{id}\""),
            "",
            &["`sources.k.group_instance_id`", "249 characters"],
        );
    }
}
