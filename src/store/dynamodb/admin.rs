//! Makes the table as it has to be, and mends what can be mended without harm.

use super::{
    DynamodbStore,
    call::{Trouble, trouble},
    schema::{EXPIRES_AT, PK, SK},
    table::{Described, Expiry, wanted_key},
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType,
        PointInTimeRecoverySpecification, ScalarAttributeType, TableStatus,
        TimeToLiveSpecification,
    },
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a new table may take, and then its backups: minutes at most.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One thing that the table has to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Made {
    /// It was as wanted.
    Found(String),
    /// It is from now on.
    Done(String),
    /// It is not, and changing it is the operator's to decide.
    Left(String),
}

/// Why the table is not as it has to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitError {
    /// It is another program's table, or a mistake: a key cannot be changed.
    #[error(
        "DynamoDB table `{table}` has the key {found}, expected {wanted}: name another table by `store.table`; nothing of this one was changed"
    )]
    Key {
        /// Which one.
        table: String,
        /// Its key.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// It cannot be used, and waiting does not help.
    #[error(
        "DynamoDB table `{table}` is {status}: wait until it is gone or active, or name another one by `store.table`"
    )]
    Status {
        /// Which one.
        table: String,
        /// As the service calls it.
        status: String,
    },
    /// The service takes its time.
    #[error("DynamoDB table `{table}`: {what} after {} s: run this again, it goes on from there", PATIENCE.as_secs())]
    NotInTime {
        /// Which one.
        table: String,
        /// What is not yet so.
        what: &'static str,
    },
    /// A call failed.
    #[error("{action}: {told}")]
    Call {
        /// Its name, which is also that of the permission.
        action: &'static str,
        /// What became of it.
        told: String,
    },
}

impl DynamodbStore {
    /// Creates the table (on-demand, protected against deletion) where there is none and waits for it;
    /// then lets `expires_at` expire items and keeps backups of every second, where that is off. What
    /// else is not as wanted is told of and left. It may be called again at any time.
    ///
    /// # Errors
    /// When the table has another key, cannot be used, or a call fails.
    pub async fn init(&self) -> Result<Vec<Made>, InitError> {
        self.credentials().await.map_err(|told| InitError::Call {
            action: "credentials",
            told,
        })?;
        let mut made = Vec::new();
        let found = self.describe().await;
        if found
            .map_err(|error| self.call("dynamodb:DescribeTable", &error))?
            .is_none()
        {
            if self.create().await? {
                made.push(Made::Done(format!(
                    "{} is created, on-demand",
                    self.place()
                )));
            }
        } else {
            made.push(Made::Found(format!("{} is there", self.place())));
        }
        let table = self.active().await?;
        if let Some(found) = table.other_key {
            return Err(InitError::Key {
                table: self.table.to_string(),
                found,
                wanted: wanted_key(),
            });
        }
        if !table.on_demand {
            made.push(Made::Left(
                "its capacity is provisioned, not on-demand: a burst of commits may be throttled"
                    .to_owned(),
            ));
        }
        made.push(if table.protected {
            Made::Found("deletion protection is on".to_owned())
        } else {
            Made::Left("deletion protection is off: anybody who may delete tables can lose the checkpoints".to_owned())
        });
        made.push(self.expire().await?);
        made.push(self.keep_backups().await?);
        Ok(made)
    }

    fn call(&self, action: &'static str, error: &Trouble) -> InitError {
        InitError::Call {
            action,
            told: self.told(error),
        }
    }

    /// Whether it was this call that created it.
    async fn create(&self) -> Result<bool, InitError> {
        let client = self.client().await;
        let definitions = || {
            let key = |name: &str, role| {
                let element = KeySchemaElement::builder()
                    .attribute_name(name)
                    .key_type(role);
                let attribute = AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(ScalarAttributeType::S);
                Ok::<_, BuildError>((element.build()?, attribute.build()?))
            };
            Ok::<_, BuildError>([key(PK, KeyType::Hash)?, key(SK, KeyType::Range)?])
        };
        let [pk, sk] =
            definitions().map_err(|error| self.call("dynamodb:CreateTable", &error.into()))?;
        let create = || async {
            client
                .create_table()
                .table_name(&*self.table)
                .key_schema(pk.0.clone())
                .key_schema(sk.0.clone())
                .attribute_definitions(pk.1.clone())
                .attribute_definitions(sk.1.clone())
                .billing_mode(BillingMode::PayPerRequest)
                .deletion_protection_enabled(true)
                .send()
                .await
                .map_err(trouble)
        };
        match self.retrying(create).await {
            Ok(_) => Ok(true),
            // Somebody else did meanwhile, or an answer was lost: what there is, is looked at.
            Err(Trouble::Refused { code, .. }) if code == "ResourceInUseException" => Ok(false),
            Err(error) => Err(self.call("dynamodb:CreateTable", &error)),
        }
    }

    /// The table, once it is active.
    async fn active(&self) -> Result<Described, InitError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.describe().await;
            let found = found.map_err(|error| self.call("dynamodb:DescribeTable", &error))?;
            match found {
                Some(table)
                    if matches!(table.status, TableStatus::Active | TableStatus::Updating) =>
                {
                    return Ok(table);
                }
                // A table that was just created may not be seen everywhere.
                None => {}
                Some(table) if table.status == TableStatus::Creating => {}
                Some(table) => {
                    return Err(InitError::Status {
                        table: self.table.to_string(),
                        status: table.status.as_str().to_owned(),
                    });
                }
            }
            if Instant::now() > deadline {
                return Err(self.late("it is not active"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn late(&self, what: &'static str) -> InitError {
        InitError::NotInTime {
            table: self.table.to_string(),
            what,
        }
    }

    async fn expire(&self) -> Result<Made, InitError> {
        let found = self.expiry().await;
        let found = found.map_err(|error| self.call("dynamodb:DescribeTimeToLive", &error))?;
        match found {
            Expiry::On => return Ok(Made::Found(format!("`{EXPIRES_AT}` expires items"))),
            Expiry::Other(attribute) => {
                return Ok(Made::Left(format!(
                    "items expire by `{attribute}`, not by `{EXPIRES_AT}`: the history and the parts of the dead stay for ever"
                )));
            }
            Expiry::Leaving => {
                return Ok(Made::Left(format!(
                    "the expiry of items is being switched off, which takes an hour: run this again then, so that `{EXPIRES_AT}` expires them"
                )));
            }
            Expiry::Off => {}
        }
        let action = "dynamodb:UpdateTimeToLive";
        let specification = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(EXPIRES_AT)
            .build()
            .map_err(|error| self.call(action, &error.into()))?;
        let client = self.client().await;
        let write = || async {
            client
                .update_time_to_live()
                .table_name(&*self.table)
                .time_to_live_specification(specification.clone())
                .send()
                .await
                .map_err(trouble)
        };
        let written = self.retrying(write).await;
        match written {
            Ok(_) => Ok(Made::Done(format!("`{EXPIRES_AT}` expires items"))),
            // It is on already where an answer was lost, or somebody else was quicker.
            Err(error) if self.expiry().await != Ok(Expiry::On) => Err(self.call(action, &error)),
            Err(_) => Ok(Made::Found(format!("`{EXPIRES_AT}` expires items"))),
        }
    }

    async fn keep_backups(&self) -> Result<Made, InitError> {
        let told = "point-in-time recovery is on".to_owned();
        let found = self.is_recoverable().await;
        if found.map_err(|error| self.call("dynamodb:DescribeContinuousBackups", &error))? {
            return Ok(Made::Found(told));
        }
        let action = "dynamodb:UpdateContinuousBackups";
        let specification = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(true)
            .build()
            .map_err(|error| self.call(action, &error.into()))?;
        let client = self.client().await;
        let write = || async {
            client
                .update_continuous_backups()
                .table_name(&*self.table)
                .point_in_time_recovery_specification(specification.clone())
                .send()
                .await
                .map_err(trouble)
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.retrying(write).await {
                Ok(_) => return Ok(Made::Done(told)),
                // A new table's backups are being made ready.
                Err(Trouble::Refused { code, .. })
                    if code == "ContinuousBackupsUnavailableException" => {}
                Err(error) => return Err(self.call(action, &error)),
            }
            if Instant::now() > deadline {
                return Err(self.late("its backups are not ready"));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
