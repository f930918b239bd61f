//! What `check` says of a table, its permissions and the way to it.

use super::{
    command, emulator, run,
    server::{Answer, Request, Server, refusal, sound},
    table, world,
};
use serde_json::{Value, json};

const WORKER_S: [&str; 7] = [
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];

/// `check` against a server that answers so: its exit code, and its findings but for what is sound.
fn checked(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (Option<i32>, Vec<String>) {
    let server = Server::fake(answer);
    let world = world("t-0");
    let ended = run(&world, &server.endpoint, &["check", "--json"]);
    (ended.code, findings(&ended.json()))
}

/// What is noted or wrong of the store.
fn findings(document: &Value) -> Vec<String> {
    let all = document["findings"].as_array().expect("findings").iter();
    let ours = ["store", "permission", "clock"];
    let odd =
        all.filter(|f| f["state"] != "ok" && ours.contains(&f["what"].as_str().expect("what")));
    odd.map(|f| {
        let text = |name: &str| f[name].as_str().expect("text").to_owned();
        format!("{} {}: {}", text("state"), text("what"), text("message"))
    })
    .collect()
}

fn denial(action: &str) -> Answer {
    let message = format!(
        "User: arn:aws:iam::123456789012:user/u is not authorized to perform: {action} on resource: arn:aws:dynamodb:eu-west-1:123456789012:table/t-0 because no identity-based policy allows the {action} action"
    );
    let kind = "com.amazon.coral.service#AccessDeniedException";
    (400, json!({"__type": kind, "Message": message}), None)
}

#[test]
fn a_sound_table_has_nothing_to_be_told() {
    let server = Server::fake(sound);
    let world = world("t-0");
    let ended = run(&world, &server.endpoint, &["check"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let said = "ok     store: DynamoDB table `t-0` in region `eu-west-1`, app `shop`\n";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let granted = ended
        .stdout
        .lines()
        .find_map(|l| l.strip_prefix("ok     permission: "));
    let mut granted: Vec<&str> = granted.expect("permissions").split(", ").collect();
    granted.sort_unstable();
    assert_eq!(granted, WORKER_S);
}

#[test]
fn each_missing_permission_is_told_by_its_name() {
    for denied in WORKER_S {
        let (code, found) = checked(move |request| {
            if request.actions().iter().any(|action| action == denied) {
                denial(denied)
            } else {
                sound(request)
            }
        });
        assert_eq!(code, Some(4), "{denied}: {found:?}");
        let [only] = found.as_slice() else {
            panic!("{denied}: {found:?}");
        };
        assert!(
            only.starts_with(&format!("wrong permission: `{denied}` is missing: ")),
            "{only}"
        );
        assert!(only.contains("deploy/iam/worker.json"), "{only}");
    }
    // An operator's: what a worker needs is there.
    for denied in [
        "DescribeTable",
        "DescribeTimeToLive",
        "DescribeContinuousBackups",
    ] {
        let (code, found) = checked(move |request| {
            if request.operation == denied {
                denial(&format!("dynamodb:{denied}"))
            } else {
                sound(request)
            }
        });
        assert_eq!(code, Some(0), "{denied}: {found:?}");
        let [only] = found.as_slice() else {
            panic!("{denied}: {found:?}");
        };
        assert!(
            only.starts_with("note store: ") && only.contains(&format!("dynamodb:{denied}")),
            "{only}"
        );
    }
}

#[test]
fn settings_that_are_off_are_notes() {
    let (code, found) = checked(|request| {
        let (status, mut body, date) = sound(request);
        match request.operation.as_str() {
            "DescribeTable" => {
                body["Table"]["DeletionProtectionEnabled"] = false.into();
                body["Table"]["BillingModeSummary"]["BillingMode"] = "PROVISIONED".into();
            }
            "DescribeTimeToLive" => {
                body["TimeToLiveDescription"]["TimeToLiveStatus"] = "DISABLED".into();
            }
            "DescribeContinuousBackups" => {
                body["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] =
                    "DISABLED".into();
            }
            _ => {}
        }
        (status, body, date)
    });
    assert_eq!(code, Some(0), "{found:?}");
    for said in [
        "provisioned",
        "deletion protection is off",
        "time to live is off",
        "point-in-time recovery is off",
    ] {
        let of = found
            .iter()
            .filter(|f| f.starts_with("note store: ") && f.contains(said));
        assert_eq!(of.count(), 1, "{said}: {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn another_program_s_table_is_named_with_both_keys() {
    let (code, found) = checked(|request| {
        let (status, mut body, date) = sound(request);
        match request.operation.as_str() {
            "DescribeTable" => {
                body["Table"]["KeySchema"] = json!([{"AttributeName": "id", "KeyType": "HASH"}]);
                let number = json!([{"AttributeName": "id", "AttributeType": "N"}]);
                body["Table"]["AttributeDefinitions"] = number;
            }
            "GetItem" => {
                let told = "The provided key element does not match the schema";
                return refusal("ValidationException", told);
            }
            _ => {}
        }
        (status, body, date)
    });
    assert_eq!(code, Some(2), "{found:?}");
    let [only] = found.as_slice() else {
        panic!("{found:?}");
    };
    let keys = "its key is `id` (partition key, number), expected `pk` (partition key, string) and `sk` (sort key, string)";
    assert!(only.contains(keys), "{only}");
}

#[test]
fn clock_and_secret_are_told_apart() {
    let signature = |date: &'static str| {
        move |_: &Request| {
            let told = "Signature expired: 20990101T000000Z is now later than 20990101T000500Z";
            let (status, body, _) = refusal("InvalidSignatureException", told);
            (status, body, Some(date.to_owned()))
        }
    };
    let (code, found) = checked(signature("Thu, 01 Jan 2099 00:00:00 GMT"));
    assert_eq!(code, Some(4), "{found:?}");
    assert!(
        found[0].contains("InvalidSignatureException") && found[0].contains(" s behind DynamoDB's"),
        "{found:?}"
    );

    // Answered nevertheless: worth a word.
    let (code, found) = checked(|request| {
        let (status, body, _) = sound(request);
        (
            status,
            body,
            Some("Thu, 01 Jan 2015 00:00:00 GMT".to_owned()),
        )
    });
    assert_eq!(code, Some(0), "{found:?}");
    let [only] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(
        only.starts_with("note clock: ") && only.contains(" s ahead of DynamoDB's"),
        "{only}"
    );

    let (code, found) = checked(|_| {
        refusal(
            "InvalidSignatureException",
            "The request signature we calculated does not match",
        )
    });
    assert_eq!(code, Some(4), "{found:?}");
    assert!(
        found[0].contains("is the secret access key that of the access key id?"),
        "{found:?}"
    );
}

#[test]
fn what_is_not_configured_is_told_at_once() {
    let world = world("t-0");
    let nobody = "http://127.0.0.1:1";
    for (remove, said) in [
        ("AWS_REGION", "no region is configured: set `AWS_REGION`"),
        ("AWS_ACCESS_KEY_ID", "no credentials: "),
    ] {
        for (args, code) in [
            (&["check", "--json"][..], 4),
            (&["run", "--until-idle"], 4),
            (&["store", "init"], 4),
        ] {
            let mut command = command(&world, nobody, args);
            command.env_remove(remove);
            let ended = world.end(command);
            let all = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code, Some(code), "{all}");
            assert!(all.contains(said), "{args:?}: {all}");
            assert!(
                !all.contains("CredentialsNotLoaded("),
                "no program text: {all}"
            );
        }
    }
    let ended = run(&world, nobody, &["check"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("is there a way to DynamoDB"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_missing_table_and_a_wrong_region_name_both() {
    let endpoint = emulator();
    let world = world(&table());
    let check = || run(&world, &endpoint, &["check", "--json"]);
    let missing = check();
    assert_eq!(missing.code, Some(4), "{}", missing.stdout);
    let found = findings(&missing.json());
    assert!(
        found[0].contains(
            "in region `eu-west-1`: there is no such table: `lanekeeper store init` creates it"
        ),
        "{found:?}"
    );
    let ended = run(&world, &endpoint, &["run", "--until-idle"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("there is no such table"),
        "{}",
        ended.stderr
    );

    assert_eq!(run(&world, &endpoint, &["store", "init"]).code, Some(0));
    let there = check();
    assert_eq!(there.code, Some(0), "{}", there.stdout);
    let mut elsewhere = command(&world, &endpoint, &["check", "--json"]);
    elsewhere.env("AWS_REGION", "ap-southeast-2");
    let ended = world.end(elsewhere);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
    assert!(
        ended
            .stdout
            .contains("in region `ap-southeast-2`: there is no such table"),
        "{}",
        ended.stdout
    );
}

#[test]
fn looking_changes_nothing() {
    let endpoint = emulator();
    let server = Server::between(&endpoint);
    let world = world(&table());
    assert_eq!(run(&world, &endpoint, &["store", "init"]).code, Some(0));
    let ended = run(&world, &server.endpoint, &["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let tried = server.actions();
    for action in WORKER_S {
        assert!(tried.contains(action), "{action} is not tried: {tried:?}");
    }
    let scan = super::init::call(
        &endpoint,
        "Scan",
        &json!({"TableName": super::init::table_of(&world)}),
    );
    assert_eq!(scan["Count"], 0, "{scan}");
}
