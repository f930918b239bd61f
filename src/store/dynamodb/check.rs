//! What is wrong with a table, its permissions and the way to it, found without harm: what is asked for
//! changes nothing, whatever stands there.

use super::{
    DynamodbStore,
    call::{Trouble, trouble},
    probe::{PROBES, Witness},
    schema::EXPIRES_AT,
    table::{Described, Expiry, wanted_key},
};
use aws_sdk_dynamodb::types::TableStatus;
use std::collections::BTreeMap;

/// A clock that is further off is worth a word.
const SKEW_SECONDS: u64 = 30;

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// `store`, `permission` or `clock`.
    pub what: &'static str,
    /// How bad it is.
    pub weight: Weight,
    /// What it is, and what to do about it.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// As it has to be.
    Sound,
    /// Worth knowing; a run can start.
    Odd,
    /// Nothing can run until it is mended.
    Wrong,
    /// The table is another program's.
    Foreign,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, weight: Weight, message: String) {
        self.0.push(Finding {
            what,
            weight,
            message,
        });
    }
}

impl DynamodbStore {
    /// Looks at credentials, region, table, settings, each permission of a worker, and the clock.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        if let Err(told) = self.credentials().await {
            findings.add("store", Weight::Wrong, format!("{}: {told}", self.place()));
            return findings.0;
        }
        let witness = Witness::default();
        let first = self.first(&witness).await;
        if let Some(finding) = self.out_of_reach(&first, &witness).await {
            findings.0.push(finding);
            return findings.0;
        }
        if !self.look_at_table(&mut findings).await {
            return findings.0;
        }
        self.look_at_permissions(&first, &mut findings).await;
        if let Some(skew) = witness.skew().filter(|s| s.unsigned_abs() >= SKEW_SECONDS) {
            let message = format!(
                "{}: requests are signed with the service's time instead, while times in status, history and decisions are off by as much",
                skew_text(skew)
            );
            findings.add("clock", Weight::Odd, message);
        }
        findings.0
    }

    /// The one read that says whether there is anybody to talk to.
    async fn first(&self, witness: &Witness) -> Result<(), Trouble> {
        let client = self.client().await;
        let read = || async {
            let read = client
                .get_item()
                .table_name(&*self.table)
                .set_key(Some(self.nowhere()))
                .consistent_read(true);
            let sent = read.customize().interceptor(witness.clone()).send().await;
            sent.map(drop).map_err(trouble)
        };
        self.retrying(read).await
    }

    async fn out_of_reach(
        &self,
        first: &Result<(), Trouble>,
        witness: &Witness,
    ) -> Option<Finding> {
        let error = first.as_ref().err()?;
        let region = self.region().await;
        let place = format!("{} in region `{region}`", self.place());
        let (weight, message) = match error {
            Trouble::Refused { code, .. } if code == "AccessDeniedException" => return None,
            Trouble::Refused { code, .. } if code == "ResourceNotFoundException" => (
                Weight::Wrong,
                format!(
                    "{place}: there is no such table: `lanekeeper store init` creates it; or is it in another region (`AWS_REGION`, or `region` of the profile), of another account, or is `store.table` another one?"
                ),
            ),
            Trouble::Refused { code, message } if code == "ValidationException" => {
                (Weight::Foreign, self.other_key(&place, message).await)
            }
            Trouble::Refused { code, message } if is_signature(code, message) => (
                Weight::Wrong,
                format!("{place}: {code}: {message}: {}", blame(witness.skew())),
            ),
            Trouble::Unknown(told) => (
                Weight::Wrong,
                format!(
                    "{place}: {told}: is there a way to DynamoDB (network, proxy, VPC endpoint), and do `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL` name the right one, if anything?"
                ),
            ),
            Trouble::Refused { .. }
            | Trouble::NotNow(_)
            | Trouble::Condition(_)
            | Trouble::Canceled(_) => (
                Weight::Wrong,
                format!("{} (region `{region}`)", self.told(error)),
            ),
        };
        Some(Finding {
            what: "store",
            weight,
            message,
        })
    }

    /// A table that does not know our key.
    async fn other_key(&self, place: &str, told: &str) -> String {
        let found = match self.describe().await {
            Ok(Some(Described {
                other_key: Some(found),
                ..
            })) => found,
            Ok(_) | Err(_) => format!("another one ({told})"),
        };
        format!(
            "{place}: its key is {found}, expected {}: name another table by `store.table`",
            wanted_key()
        )
    }

    /// Settings. Gives whether a run could use the table at all.
    async fn look_at_table(&self, findings: &mut Findings) -> bool {
        let place = format!("{} in region `{}`", self.place(), self.region().await);
        match self.describe().await {
            Ok(Some(table)) => {
                if let Some(found) = table.other_key {
                    let wanted = wanted_key();
                    let message = format!(
                        "{place}: its key is {found}, expected {wanted}: name another table by `store.table`"
                    );
                    findings.add("store", Weight::Foreign, message);
                    return false;
                }
                if !matches!(table.status, TableStatus::Active | TableStatus::Updating) {
                    let status = table.status.as_str();
                    let message = format!("{place}: it is {status}, not ACTIVE");
                    findings.add("store", Weight::Wrong, message);
                    return false;
                }
                findings.add(
                    "store",
                    Weight::Sound,
                    format!("{place}, app `{}`", self.app),
                );
                if !table.on_demand {
                    findings.add("store", Weight::Odd, "its capacity is provisioned, not on-demand: a burst of commits may be throttled".to_owned());
                }
                if !table.protected {
                    findings.add("store", Weight::Odd, "deletion protection is off: anybody who may delete tables can lose the checkpoints".to_owned());
                }
            }
            Ok(None) => {
                findings.add(
                    "store",
                    Weight::Wrong,
                    format!("{place}: there is no such table"),
                );
                return false;
            }
            Err(error) => {
                let message = format!(
                    "{place}, app `{}`; {}",
                    self.app,
                    unseen("key and settings", &error)
                );
                findings.add("store", Weight::Odd, message);
            }
        }
        match self.expiry().await {
            Ok(Expiry::On) => {}
            Ok(Expiry::Off | Expiry::Leaving) => findings.add("store", Weight::Odd, format!("time to live is off: the history and what dead workers left stay for ever; `lanekeeper store init` lets `{EXPIRES_AT}` expire them")),
            Ok(Expiry::Other(attribute)) => findings.add("store", Weight::Odd, format!("items expire by `{attribute}`, not by `{EXPIRES_AT}`: the history and what dead workers left stay for ever")),
            Err(error) => findings.add("store", Weight::Odd, unseen("time to live", &error)),
        }
        match self.is_recoverable().await {
            Ok(true) => {}
            Ok(false) => findings.add("store", Weight::Odd, "point-in-time recovery is off: a table that was damaged by mistake cannot be restored; `lanekeeper store init` switches it on".to_owned()),
            Err(error) => findings.add("store", Weight::Odd, unseen("point-in-time recovery", &error)),
        }
        true
    }

    /// Each action of a worker by its IAM name.
    async fn look_at_permissions(&self, first: &Result<(), Trouble>, findings: &mut Findings) {
        let mut missing: BTreeMap<String, String> = BTreeMap::new();
        let mut granted: Vec<&str> = Vec::new();
        if let Err(Trouble::Refused { message, .. }) = first {
            missing.insert("dynamodb:GetItem".to_owned(), message.clone());
        } else {
            granted.push("dynamodb:GetItem");
        }
        for probe in PROBES {
            match self.probe(probe).await {
                Ok(()) => granted.push(probe.action()),
                Err(Trouble::Refused { code, message }) if code == "AccessDeniedException" => {
                    missing.insert(denied(&message, probe.action()), message);
                }
                Err(error) => findings.add(
                    "permission",
                    Weight::Wrong,
                    format!("`{}` could not be tried: {error}", probe.action()),
                ),
            }
        }
        granted.retain(|action| !missing.contains_key(*action));
        granted.dedup();
        if !granted.is_empty() {
            findings.add("permission", Weight::Sound, granted.join(", "));
        }
        for (action, told) in missing {
            let message = format!(
                "`{action}` is missing: give the role the policy deploy/iam/worker.json; DynamoDB says: {told}"
            );
            findings.add("permission", Weight::Wrong, message);
        }
    }
}

/// What an operator's policy lets `check` see, and a worker's need not.
fn unseen(what: &str, error: &Trouble) -> String {
    format!("its {what} cannot be looked at (deploy/iam/operator.json allows it): {error}")
}

/// The action that the service names: of a transaction, one of its items may be another's.
fn denied(message: &str, tried: &str) -> String {
    let named = message.split("perform: ").nth(1);
    let named = named.and_then(|rest| rest.split_whitespace().next());
    named
        .filter(|name| name.starts_with("dynamodb:"))
        .unwrap_or(tried)
        .to_owned()
}

fn is_signature(code: &str, message: &str) -> bool {
    matches!(
        code,
        "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
            | "RequestInTheFuture"
    ) || message.contains("Signature expired")
        || message.contains("Signature not yet current")
}

fn skew_text(skew: i64) -> String {
    let direction = if skew < 0 { "behind" } else { "ahead of" };
    format!(
        "this machine's clock is {} s {direction} DynamoDB's: let it be set (NTP, chrony)",
        skew.unsigned_abs()
    )
}

/// Whether clock or secret are to blame for a signature.
fn blame(skew: Option<i64>) -> String {
    match skew {
        Some(skew) if skew.unsigned_abs() >= SKEW_SECONDS => skew_text(skew),
        Some(_) => "the clock agrees with DynamoDB's, so the secret access key is not that of the access key id".to_owned(),
        None => "is the clock right, and is the secret access key that of the access key id?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_that_is_named_counts() {
        let said = "User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:ConditionCheckItem on resource: arn because no policy allows it";
        assert_eq!(
            denied(said, "dynamodb:PutItem"),
            "dynamodb:ConditionCheckItem"
        );
        assert_eq!(denied("no", "dynamodb:PutItem"), "dynamodb:PutItem");
        let other = "is not authorized to perform: kms:Decrypt on resource";
        assert_eq!(denied(other, "dynamodb:PutItem"), "dynamodb:PutItem");
    }

    #[test]
    fn clock_and_secret_are_told_apart() {
        assert!(
            blame(Some(-900)).contains("900 s behind"),
            "{}",
            blame(Some(-900))
        );
        assert!(blame(Some(31)).contains("31 s ahead of"));
        assert!(blame(Some(1)).contains("the secret access key is not"));
        assert!(is_signature("InvalidSignatureException", ""));
        assert!(!is_signature(
            "ExpiredTokenException",
            "The security token is expired"
        ));
    }
}
