//! Requests: what their failures mean, how often they are sent, what they consume.

use super::{DynamodbStore, expression::Expression, schema::Item};
use crate::store::{Repeats, StoreError};
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        CancellationReason, ConsumedCapacity, ReturnConsumedCapacity, ReturnValue,
        TransactWriteItem,
    },
};
use std::{
    fmt,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long one verb of the store tries before it says that the table is out of reach. The caller goes
/// on asking; this bounds how long it hears nothing.
const DEADLINE: Duration = Duration::from_secs(10);
/// Waits between two requests of a verb: doubled from the first to the second, each with full jitter.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Why a request failed.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Trouble {
    /// It is not written, and may be sent again: a throttle, a conflict with another transaction.
    NotNow(String),
    /// It may be written.
    Unknown(String),
    /// It is not written, and the same request would fail again: a permission, a missing table.
    Refused {
        /// The service's name for it.
        code: String,
        /// For people.
        message: String,
    },
    /// The condition does not hold: what stands there instead.
    Condition(Option<Item>),
    /// The transaction is not written: for each of its items why, in their order.
    Canceled(Vec<Reason>),
}

/// What a canceled transaction says of one of its items.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reason {
    /// `None` where this one was sound.
    pub(super) code: Code,
    /// For people.
    pub(super) message: String,
    /// What stands there, where the condition does not hold.
    pub(super) item: Option<Item>,
}

/// Codes of cancellation reasons, as the API reference of `TransactWriteItems` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    Sound,
    Condition,
    /// `TransactionConflict`, `ThrottlingError`, `ProvisionedThroughputExceeded`.
    NotNow,
    /// `ValidationError`, `ItemCollectionSizeLimitExceeded`, `DuplicateItem`, and what is not known.
    Refused,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNow(why) | Self::Unknown(why) => f.write_str(why),
            Self::Refused { code, message } if code.is_empty() => f.write_str(message),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::Condition(_) => f.write_str("a condition does not hold"),
            Self::Canceled(reasons) => {
                let said = reasons.iter().find(|reason| reason.code != Code::Sound);
                f.write_str(said.map_or("canceled", |reason| &reason.message))
            }
        }
    }
}

impl From<BuildError> for Trouble {
    fn from(error: BuildError) -> Self {
        Self::Refused {
            code: String::new(),
            message: format!("the request cannot be built: {error}"),
        }
    }
}

/// What a failure means, where the operation has no condition.
pub(super) fn trouble<E>(error: SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let told = crate::aws::causes(&error);
    match &error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or(&told).to_owned();
            match code {
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "TransactionConflictException"
                | "TransactionInProgressException"
                | "LimitExceededException" => Trouble::NotNow(format!("{code}: {message}")),
                _ if service.raw().status().is_server_error() => {
                    Trouble::Unknown(format!("{code}: {message}"))
                }
                _ => Trouble::Refused {
                    code: code.to_owned(),
                    message,
                },
            }
        }
        SdkError::ConstructionFailure(_) => Trouble::Refused {
            code: String::new(),
            message: told,
        },
        // Also what could not be sent at all, as without credentials: it is not told apart from what
        // was lost on its way.
        SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => Trouble::Unknown(told),
    }
}

fn of_update(error: SdkError<UpdateItemError, HttpResponse>) -> Trouble {
    if let SdkError::ServiceError(service) = &error
        && let UpdateItemError::ConditionalCheckFailedException(failed) = service.err()
    {
        return Trouble::Condition(failed.item().cloned());
    }
    trouble(error)
}

fn of_transaction(error: SdkError<TransactWriteItemsError, HttpResponse>) -> Trouble {
    if let SdkError::ServiceError(service) = &error
        && let TransactWriteItemsError::TransactionCanceledException(canceled) = service.err()
    {
        return Trouble::Canceled(canceled.cancellation_reasons().iter().map(reason).collect());
    }
    trouble(error)
}

fn reason(reason: &CancellationReason) -> Reason {
    let code = match reason.code().unwrap_or("None") {
        "None" => Code::Sound,
        "ConditionalCheckFailed" => Code::Condition,
        "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded" => Code::NotNow,
        _ => Code::Refused,
    };
    Reason {
        code,
        message: format!(
            "{}: {}",
            reason.code().unwrap_or_default(),
            reason.message().unwrap_or_default()
        ),
        item: reason.item().cloned(),
    }
}

/// What was consumed, and what was sent again.
#[derive(Default, Debug)]
pub(super) struct Meter {
    consumed: Mutex<crate::store::Consumed>,
    not_now: AtomicU64,
    lost: AtomicU64,
}

impl Meter {
    pub(super) fn read(&self, capacity: Option<&ConsumedCapacity>) {
        self.count(|all, units| all.read_units += units, capacity);
    }

    /// Gives the units.
    pub(super) fn wrote<'c>(
        &self,
        capacity: impl IntoIterator<Item = &'c ConsumedCapacity>,
    ) -> f64 {
        let units = capacity.into_iter().map(units).sum();
        if let Ok(mut all) = self.consumed.lock() {
            all.requests += 1;
            all.write_units += units;
        }
        units
    }

    fn count(
        &self,
        add: impl FnOnce(&mut crate::store::Consumed, f64),
        capacity: Option<&ConsumedCapacity>,
    ) {
        if let Ok(mut all) = self.consumed.lock() {
            all.requests += 1;
            add(&mut all, capacity.map_or(0.0, units));
        }
    }

    pub(super) fn total(&self) -> crate::store::Consumed {
        self.consumed
            .lock()
            .map_or_else(|_| Default::default(), |all| *all)
    }

    fn repeated(&self, why: &Trouble) {
        let count = match why {
            Trouble::Unknown(_) => &self.lost,
            Trouble::NotNow(_)
            | Trouble::Canceled(_)
            | Trouble::Refused { .. }
            | Trouble::Condition(_) => &self.not_now,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn repeats(&self) -> Repeats {
        Repeats {
            not_now: self.not_now.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

fn units(capacity: &ConsumedCapacity) -> f64 {
    capacity.capacity_units().unwrap_or(0.0)
}

/// Asks for what a request consumed.
pub(super) const TOTAL: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

impl DynamodbStore {
    /// Sends a request until it is answered, for a while. `once` must do no harm when it is done twice.
    pub(super) async fn retrying<T, F>(&self, mut once: impl FnMut() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let deadline = Instant::now() + DEADLINE;
        let (mut wait, mut unknown) = (WAIT_MIN, None);
        loop {
            let error = match once().await {
                Err(error @ (Trouble::NotNow(_) | Trouble::Unknown(_))) => error,
                Err(Trouble::Canceled(reasons)) if is_not_now(&reasons) => {
                    Trouble::Canceled(reasons)
                }
                result => return result,
            };
            if matches!(error, Trouble::Unknown(_)) {
                unknown = Some(error.clone());
            }
            let pause = wait.mul_f64(fastrand::f64());
            if Instant::now() + pause >= deadline {
                // An earlier one may be written, whatever the last one was told.
                return Err(unknown.unwrap_or(error));
            }
            self.meter.repeated(&error);
            sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Writes one item, and gives the units.
    pub(super) async fn update(&self, key: Item, expression: &Expression) -> Result<f64, Trouble> {
        let written = self.updated(key, expression, ReturnValue::None).await?;
        Ok(written.0)
    }

    /// Writes one item, and gives all of it, also what this write left as it was.
    pub(super) async fn update_and_read(
        &self,
        key: Item,
        expression: &Expression,
    ) -> Result<Item, Trouble> {
        let written = self.updated(key, expression, ReturnValue::AllNew).await?;
        Ok(written.1)
    }

    async fn updated(
        &self,
        key: Item,
        expression: &Expression,
        wanted: ReturnValue,
    ) -> Result<(f64, Item), Trouble> {
        let client = self.client().await;
        let output = client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(key))
            .update_expression(expression.update_text())
            .set_condition_expression(expression.condition())
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .return_values(wanted)
            .return_values_on_condition_check_failure(super::expression::ALL_OLD)
            .return_consumed_capacity(TOTAL)
            .send()
            .await
            .map_err(of_update)?;
        let units = self.meter.wrote(output.consumed_capacity());
        Ok((units, output.attributes.unwrap_or_default()))
    }

    /// Writes all of these or none, and gives the units.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<f64, Trouble> {
        let client = self.client().await;
        let output = client
            .transact_write_items()
            .set_transact_items(Some(items))
            .return_consumed_capacity(TOTAL)
            .send()
            .await
            .map_err(of_transaction)?;
        Ok(self.meter.wrote(output.consumed_capacity()))
    }

    /// What a verb without words of its own says of a failure.
    pub(super) fn failed(&self, trouble: &Trouble) -> StoreError {
        let told = self.told(trouble);
        match trouble {
            Trouble::Refused { code, .. } if code == "ValidationException" => {
                StoreError::Damaged(told)
            }
            Trouble::Refused { .. }
            | Trouble::NotNow(_)
            | Trouble::Unknown(_)
            | Trouble::Condition(_)
            | Trouble::Canceled(_) => StoreError::OutOfReach(told),
        }
    }

    /// A failure with its place, and what to do about the ones that somebody can mend.
    pub(super) fn told(&self, trouble: &Trouble) -> String {
        let code = match trouble {
            Trouble::Refused { code, .. } => code.as_str(),
            Trouble::NotNow(_)
            | Trouble::Unknown(_)
            | Trouble::Condition(_)
            | Trouble::Canceled(_) => "",
        };
        let hint = match code {
            "ResourceNotFoundException" => {
                ": there is no such table in this region: `lanekeeper store init` creates it, or is `store.table` or the region another one?"
            }
            "AccessDeniedException" => {
                ": give the role the actions of deploy/iam; `lanekeeper check` names what is missing"
            }
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException" => {
                ": these credentials are not those of this account, or the clock is wrong"
            }
            "ExpiredTokenException" => ": log in again",
            _ => "",
        };
        format!("{}: {trouble}{hint}", self.place())
    }
}

/// Whether a canceled transaction is to be sent again: nothing of it fails for good, as far as can be
/// told. Where the first item was not looked at, the others say nothing: their conditions may fail
/// because this very transaction landed, by a request whose answer was lost.
fn is_not_now(reasons: &[Reason]) -> bool {
    let any = |code| reasons.iter().any(|reason| reason.code == code);
    let first = reasons.first().map(|reason| reason.code);
    first == Some(Code::NotNow) || any(Code::NotNow) && !any(Code::Condition) && !any(Code::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_again_is_counted_by_why() {
        let store = DynamodbStore::new("table", "app");
        let mut ends = vec![
            Ok(7),
            Err(Trouble::Unknown("lost".to_owned())),
            Err(Trouble::NotNow("throttled".to_owned())),
            Err(Trouble::NotNow("throttled".to_owned())),
        ];
        let end = store
            .retrying(|| std::future::ready(ends.pop().unwrap_or(Ok(0))))
            .await;
        assert_eq!(end, Ok(7));
        let (not_now, lost) = (2, 1);
        assert_eq!(store.meter.repeats(), Repeats { not_now, lost });
    }

    #[test]
    fn a_transaction_whose_first_item_was_not_looked_at_says_nothing_of_the_others() {
        let of = |codes: &[Code]| {
            let reason = |code: &Code| Reason {
                code: *code,
                message: String::new(),
                item: None,
            };
            is_not_now(&codes.iter().map(reason).collect::<Vec<_>>())
        };
        assert!(of(&[Code::NotNow, Code::Condition]));
        assert!(of(&[Code::NotNow, Code::Refused]));
        assert!(of(&[Code::Sound, Code::NotNow]));
        assert!(!of(&[Code::Sound, Code::NotNow, Code::Condition]));
        assert!(!of(&[Code::Condition, Code::NotNow]));
        assert!(!of(&[Code::Sound, Code::Refused]));
        assert!(!of(&[]));
    }
}
