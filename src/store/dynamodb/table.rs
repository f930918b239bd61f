//! The table itself: what it has to be, and what it is.

use super::{
    DynamodbStore,
    call::{Trouble, trouble},
    schema::{EXPIRES_AT, PK, SK},
};
use aws_sdk_dynamodb::types::{
    BillingMode, KeyType, PointInTimeRecoveryStatus, ScalarAttributeType, TableDescription,
    TableStatus, TimeToLiveStatus,
};

/// The key that every table of ours has, for people.
pub(super) fn wanted_key() -> String {
    format!("`{PK}` (partition key, string) and `{SK}` (sort key, string)")
}

/// What a table says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Described {
    pub(super) status: TableStatus,
    /// What is wrong with its key: how it is, for people.
    pub(super) other_key: Option<String>,
    pub(super) on_demand: bool,
    pub(super) protected: bool,
}

impl Described {
    fn of(table: &TableDescription) -> Self {
        let key: Vec<(&str, &KeyType, Option<&ScalarAttributeType>)> = table
            .key_schema()
            .iter()
            .map(|element| {
                let name = element.attribute_name();
                let mut definitions = table.attribute_definitions().iter();
                let defined = definitions.find(|d| d.attribute_name() == name);
                (
                    name,
                    element.key_type(),
                    defined.map(|d| d.attribute_type()),
                )
            })
            .collect();
        let string = Some(&ScalarAttributeType::S);
        let is_ours = key == [(PK, &KeyType::Hash, string), (SK, &KeyType::Range, string)];
        let billing = table.billing_mode_summary();
        Self {
            status: table.table_status().cloned().unwrap_or(TableStatus::Active),
            other_key: (!is_ours).then(|| key_text(&key)),
            on_demand: billing.and_then(|b| b.billing_mode()) == Some(&BillingMode::PayPerRequest),
            protected: table.deletion_protection_enabled().unwrap_or(false),
        }
    }
}

fn key_text(key: &[(&str, &KeyType, Option<&ScalarAttributeType>)]) -> String {
    let parts: Vec<String> = { key.iter() }
        .map(|(name, role, kind)| {
            let role = if **role == KeyType::Hash {
                "partition key"
            } else {
                "sort key"
            };
            let kind = match kind {
                Some(ScalarAttributeType::S) => "string",
                Some(ScalarAttributeType::N) => "number",
                Some(ScalarAttributeType::B) => "binary",
                Some(_) | None => "of another type",
            };
            format!("`{name}` ({role}, {kind})")
        })
        .collect();
    parts.join(" and ")
}

/// What expires items.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expiry {
    /// On, or about to be, on our attribute.
    On,
    Off,
    /// On another attribute.
    Other(String),
    /// Being switched off: nothing can be asked of it for an hour.
    Leaving,
}

impl DynamodbStore {
    /// `None`: there is no such table.
    pub(super) async fn describe(&self) -> Result<Option<Described>, Trouble> {
        let client = self.client().await;
        let read = || async {
            let output = client
                .describe_table()
                .table_name(&*self.table)
                .send()
                .await
                .map_err(trouble)?;
            Ok(output.table().map(Described::of))
        };
        match self.retrying(read).await {
            Err(Trouble::Refused { code, .. }) if code == "ResourceNotFoundException" => Ok(None),
            result => result,
        }
    }

    pub(super) async fn expiry(&self) -> Result<Expiry, Trouble> {
        let client = self.client().await;
        let read = || async {
            let output = client
                .describe_time_to_live()
                .table_name(&*self.table)
                .send()
                .await
                .map_err(trouble)?;
            let Some(found) = output.time_to_live_description() else {
                return Ok(Expiry::Off);
            };
            let attribute = found.attribute_name().unwrap_or_default();
            Ok(match found.time_to_live_status() {
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) => {
                    if attribute == EXPIRES_AT {
                        Expiry::On
                    } else {
                        Expiry::Other(attribute.to_owned())
                    }
                }
                Some(TimeToLiveStatus::Disabling) => Expiry::Leaving,
                Some(_) | None => Expiry::Off,
            })
        };
        self.retrying(read).await
    }

    /// Whether the table can be restored to any second of the last weeks.
    pub(super) async fn is_recoverable(&self) -> Result<bool, Trouble> {
        let client = self.client().await;
        let read = || async {
            let output = client
                .describe_continuous_backups()
                .table_name(&*self.table)
                .send()
                .await
                .map_err(trouble)?;
            let status = output
                .continuous_backups_description()
                .and_then(|found| found.point_in_time_recovery_description())
                .and_then(|found| found.point_in_time_recovery_status());
            Ok(status == Some(&PointInTimeRecoveryStatus::Enabled))
        };
        self.retrying(read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingModeSummary, KeySchemaElement};

    fn table(key: &[(&str, KeyType, ScalarAttributeType)]) -> TableDescription {
        let mut table = TableDescription::builder()
            .table_status(TableStatus::Active)
            .deletion_protection_enabled(true)
            .billing_mode_summary(
                BillingModeSummary::builder()
                    .billing_mode(BillingMode::PayPerRequest)
                    .build(),
            );
        for (name, role, kind) in key {
            let element = KeySchemaElement::builder()
                .attribute_name(*name)
                .key_type(role.clone());
            let definition = AttributeDefinition::builder()
                .attribute_name(*name)
                .attribute_type(kind.clone());
            table = table
                .key_schema(element.build().expect("a key"))
                .attribute_definitions(definition.build().expect("an attribute"));
        }
        table.build()
    }

    #[test]
    fn a_key_is_ours_by_names_roles_and_types() {
        let (hash, range) = (KeyType::Hash, KeyType::Range);
        let (string, number) = (ScalarAttributeType::S, ScalarAttributeType::N);
        let ours = table(&[
            (PK, hash.clone(), string.clone()),
            (SK, range.clone(), string.clone()),
        ]);
        let found = Described::of(&ours);
        assert_eq!(found.other_key, None);
        assert!(found.on_demand && found.protected, "{found:?}");

        for (key, told) in [
            (
                table(&[
                    (PK, hash.clone(), string.clone()),
                    (SK, range.clone(), number),
                ]),
                "`pk` (partition key, string) and `sk` (sort key, number)",
            ),
            (
                table(&[(PK, hash.clone(), string.clone())]),
                "`pk` (partition key, string)",
            ),
            (
                table(&[(SK, hash, string.clone()), (PK, range, string)]),
                "`sk` (partition key, string) and `pk` (sort key, string)",
            ),
        ] {
            assert_eq!(Described::of(&key).other_key.as_deref(), Some(told));
        }
    }
}
