//! Effects as a handler outside this process writes them: a JSON array.

use super::{Add, Delete, Effect, KEY_BYTES_MAX, Put, Sqlite, TABLE_BYTES_MAX, VALUE_BYTES_MAX};
use serde_json::{Map, Value};

const VERBS: &str = "`put`, `add`, `delete`, `dynamodb`, `sqlite`";

/// An effect that cannot be taken.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("malformed effect: {why}")]
pub struct EffectsError {
    /// Whose effect it is (index into the run), the first such record; `None` when that cannot be
    /// told.
    pub record: Option<usize>,
    /// What is wrong, and where.
    pub why: String,
    /// The effects of the records before that one, in order.
    pub before: Vec<(usize, Effect)>,
}

/// Reads the array of effects of a run of `records`, ordered by record. `"record": k` says whose an
/// effect is; it may be left out where the run has one record.
///
/// # Errors
/// When this is no array, or when one of them has no known verb, lacks a field, has one too many or
/// one of the wrong type, is too large, or names no record of the run.
pub fn parse(list: Value, records: usize) -> Result<Vec<(usize, Effect)>, EffectsError> {
    let only = (records == 1).then_some(0);
    let Value::Array(list) = list else {
        return Err(EffectsError {
            record: only,
            why: format!("`effects` is {}, expected an array", kind(&list)),
            before: Vec::new(),
        });
    };
    let mut effects = Vec::with_capacity(list.len());
    let mut refused: Option<(usize, String)> = None;
    for (index, item) in list.into_iter().enumerate() {
        match one(item, records) {
            Ok(effect) => effects.push(effect),
            Err((record, why)) => {
                let why = format!("number {index} of `effects`: {why}");
                let Some(record) = record.or(only) else {
                    return Err(EffectsError {
                        record: None,
                        why,
                        before: Vec::new(),
                    });
                };
                if refused.as_ref().is_none_or(|(first, _)| record < *first) {
                    refused = Some((record, why));
                }
            }
        }
    }
    effects.sort_by_key(|(record, _)| *record);
    match refused {
        None => Ok(effects),
        Some((record, why)) => {
            effects.retain(|(of, _)| *of < record);
            Err(EffectsError {
                record: Some(record),
                why,
                before: effects,
            })
        }
    }
}

type Refused = (Option<usize>, String);

fn one(item: Value, records: usize) -> Result<(usize, Effect), Refused> {
    let Value::Object(mut fields) = item else {
        let why = format!("it is {}, expected an object", kind(&item));
        return Err((None, why));
    };
    let record = record(&mut fields, records).map_err(|why| (None, why))?;
    verb(fields)
        .map(|effect| (record, effect))
        .map_err(|why| (Some(record), why))
}

fn record(fields: &mut Map<String, Value>, records: usize) -> Result<usize, String> {
    let Some(named) = fields.remove("record") else {
        return if records == 1 {
            Ok(0)
        } else {
            Err(format!(
                "missing field `record`: which of the run's {records} records it belongs to, from 0"
            ))
        };
    };
    named
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n < records)
        .ok_or_else(|| {
            format!(
                "`record` is `{named}`, expected 0 to {}",
                records.saturating_sub(1)
            )
        })
}

fn verb(fields: Map<String, Value>) -> Result<Effect, String> {
    let mut fields = fields.into_iter();
    let (Some((verb, body)), None) = (fields.next(), fields.next()) else {
        return Err(format!("expected exactly one of {VERBS} beside `record`"));
    };
    let told = |error: serde_json::Error| format!("`{verb}`: {error}");
    let effect = match verb.as_str() {
        "put" => Effect::Put(serde_json::from_value::<Put>(body).map_err(told)?),
        "add" => Effect::Add(serde_json::from_value::<Add>(body).map_err(told)?),
        "delete" => Effect::Delete(serde_json::from_value::<Delete>(body).map_err(told)?),
        "sqlite" => Effect::Sqlite(serde_json::from_value::<Sqlite>(body).map_err(told)?),
        "dynamodb" => Effect::Dynamodb(body),
        _ => {
            let shown: String = verb.chars().take(40).collect();
            return Err(format!(
                "unknown verb `{}`, expected one of {VERBS}",
                shown.escape_debug()
            ));
        }
    };
    effect.check().map_err(|why| format!("`{verb}`: {why}"))?;
    Ok(effect)
}

impl Effect {
    /// Whether every store can take it: sizes of table, key and value, kinds of SQL parameters, the
    /// verb of a DynamoDB write. What parsing finds is checked; handlers in Rust may build others.
    ///
    /// # Errors
    /// What is wrong with it, with the bound.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Put(Put {
                table, key, value, ..
            }) => {
                check_names(table, key)?;
                let bytes = encoded_bytes(value);
                if bytes > VALUE_BYTES_MAX {
                    return Err(format!(
                        "the value of `{key}` in table `{table}` takes {bytes} bytes of JSON, at most {VALUE_BYTES_MAX} are allowed"
                    ));
                }
                Ok(())
            }
            Self::Add(Add { table, key, .. }) | Self::Delete(Delete { table, key, .. }) => {
                check_names(table, key)
            }
            Self::Dynamodb(write) => check_dynamodb(write),
            Self::Sqlite(Sqlite { sql, params, .. }) => check_sqlite(sql, params),
        }
    }
}

fn check_names(table: &str, key: &str) -> Result<(), String> {
    for (what, name, bytes_max) in [
        ("table", table, TABLE_BYTES_MAX),
        ("key", key, KEY_BYTES_MAX),
    ] {
        if name.is_empty() || name.len() > bytes_max {
            return Err(format!(
                "`{what}` has {} bytes, expected 1 to {bytes_max}",
                name.len()
            ));
        }
    }
    Ok(())
}

fn check_dynamodb(write: &Value) -> Result<(), String> {
    let verbs = "`Put`, `Update`, `Delete`, `ConditionCheck`";
    let sound = write.as_object().filter(|fields| fields.len() == 1);
    let Some((verb, body)) = sound.and_then(|fields| fields.iter().next()) else {
        return Err(format!("expected an object with exactly one of {verbs}"));
    };
    if !matches!(
        verb.as_str(),
        "Put" | "Update" | "Delete" | "ConditionCheck"
    ) {
        return Err(format!("unknown write `{verb}`, expected one of {verbs}"));
    }
    if !body.is_object() {
        return Err(format!(
            "`{verb}` is {}, expected an object with the fields of DynamoDB's TransactWriteItems",
            kind(body)
        ));
    }
    Ok(())
}

fn check_sqlite(sql: &str, params: &[Value]) -> Result<(), String> {
    if sql.trim().is_empty() {
        return Err("`sql` is empty, expected one statement".to_owned());
    }
    match params
        .iter()
        .position(|param| param.is_array() || param.is_object())
    {
        None => Ok(()),
        Some(index) => Err(format!(
            "parameter {index} is {}, expected null, a boolean, a number or a string",
            kind(&params[index])
        )),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn encoded_bytes(value: &Value) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Neither a `Value` nor counting can fail; if it could, the value must not pass.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Condition;
    use serde_json::json;

    fn error(list: Value, records: usize) -> (Option<usize>, String) {
        let error = parse(list, records).expect_err("malformed");
        (error.record, error.to_string())
    }

    #[test]
    fn every_form_of_the_interfaces_page_is_read() {
        let list = json!([
            {"put": {"table": "t", "key": "k", "value": {"a": [1]}, "if": {"exists": false}}},
            {"add": {"table": "t", "key": "k", "by": -3, "if": {"at_least": 3}}},
            {"delete": {"table": "t", "key": "k", "if": {"equals": null}}},
            {"dynamodb": {"Delete": {"TableName": "x", "Key": {"pk": {"S": "1"}}}}},
            {"sqlite": {"sql": "UPDATE t SET n = ?1", "params": [1, null, "x", true], "rows": 1}},
        ]);
        let effects = parse(list, 1).expect("sound");
        let expected = [
            Effect::put("t", "k", json!({"a": [1]})).only_if(Condition::Exists(false)),
            Effect::add("t", "k", -3).only_if(Condition::AtLeast(3)),
            Effect::delete("t", "k").only_if(Condition::Equals(Value::Null)),
            Effect::Dynamodb(json!({"Delete": {"TableName": "x", "Key": {"pk": {"S": "1"}}}})),
            Effect::Sqlite(Sqlite {
                sql: "UPDATE t SET n = ?1".to_owned(),
                params: vec![json!(1), Value::Null, json!("x"), json!(true)],
                rows: Some(1),
            }),
        ];
        assert_eq!(effects, expected.map(|effect| (0, effect)));
    }

    #[test]
    fn effects_of_a_run_are_ordered_by_record() {
        let list = json!([
            {"record": 1, "add": {"table": "t", "key": "b", "by": 1}},
            {"record": 0, "add": {"table": "t", "key": "a", "by": 1}},
            {"record": 1, "add": {"table": "t", "key": "c", "by": 1}},
        ]);
        assert_eq!(
            parse(list, 2),
            Ok(vec![
                (0, Effect::add("t", "a", 1)),
                (1, Effect::add("t", "b", 1)),
                (1, Effect::add("t", "c", 1)),
            ])
        );
    }

    #[test]
    fn whose_malformed_effect_it_is_is_told_where_it_can_be() {
        let sound = json!({"record": 0, "add": {"table": "t", "key": "a", "by": 1}});
        let bad = |record: usize| json!({"record": record, "add": {"table": "t", "key": "a"}});
        let error = parse(json!([bad(3), sound, bad(2)]), 5).expect_err("malformed");
        assert_eq!(error.record, Some(2));
        assert_eq!(error.before, [(0, Effect::add("t", "a", 1))]);
        assert_eq!(
            error.to_string(),
            "malformed effect: number 2 of `effects`: `add`: missing field `by`"
        );
        let nobody = parse(json!([{"add": {}}]), 5).expect_err("malformed");
        assert_eq!(nobody.record, None);
        assert!(nobody.why.contains("missing field `record`"), "{nobody}");
    }

    #[test]
    fn each_mistake_is_named() {
        let big = "x".repeat(VALUE_BYTES_MAX);
        let long_key = "k".repeat(KEY_BYTES_MAX + 1);
        let cases = [
            (json!({}), "`effects` is an object, expected an array"),
            (json!([7]), "it is a number, expected an object"),
            (json!([{}]), "expected exactly one of `put`"),
            (
                json!([{"put": {}, "add": {}}]),
                "expected exactly one of `put`",
            ),
            (json!([{"set\n": {}}]), "unknown verb `set\\n`"),
            (
                json!([{"record": 1, "add": {}}]),
                "`record` is `1`, expected 0 to 0",
            ),
            (
                json!([{"add": {"table": "t", "key": "k", "by": 1.5}}]),
                "floating point `1.5`, expected i64",
            ),
            (
                json!([{"add": {"table": "t", "key": "k", "by": 9_223_372_036_854_775_808_u64}}]),
                "expected i64",
            ),
            (
                json!([{"put": {"table": "t", "key": "k", "value": 1, "iff": 1}}]),
                "unknown field `iff`",
            ),
            (
                json!([{"put": {"table": "t", "key": "k", "value": 1, "if": {"below": 1}}}]),
                "unknown variant `below`",
            ),
            (
                json!([{"put": {"table": "t", "key": "k", "value": big}}]),
                "takes 262146 bytes of JSON, at most 262144 are allowed",
            ),
            (
                json!([{"delete": {"table": "", "key": "k"}}]),
                "`table` has 0 bytes, expected 1 to 255",
            ),
            (
                json!([{"delete": {"table": "t", "key": long_key}}]),
                "`key` has 1025 bytes, expected 1 to 1024",
            ),
            (
                json!([{"dynamodb": {"Get": {}}}]),
                "unknown write `Get`, expected one of `Put`",
            ),
            (
                json!([{"dynamodb": {"Put": 1}}]),
                "`Put` is a number, expected an object",
            ),
            (json!([{"sqlite": {"sql": " "}}]), "`sql` is empty"),
            (
                json!([{"sqlite": {"sql": "DELETE FROM t", "params": [1, []]}}]),
                "parameter 1 is an array",
            ),
        ];
        for (list, expected) in cases {
            let (record, text) = error(list, 1);
            assert_eq!(record, Some(0), "{text}");
            assert!(text.contains(expected), "`{text}` lacks `{expected}`");
        }
    }

    #[test]
    fn a_value_of_the_most_bytes_passes() {
        let value = "x".repeat(VALUE_BYTES_MAX - 2);
        assert_eq!(Effect::put("t", "k", value).check(), Ok(()));
    }
}
