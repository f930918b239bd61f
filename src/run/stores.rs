//! The stores that a configuration names: the app's own, and those of its replays.

use super::RunError;
#[cfg(feature = "dynamodb")]
use crate::store::dynamodb::DynamodbStore;
use crate::{
    config::{Config, StoreKind},
    sqlite::Access,
    store::{Store, sqlite::SqliteStore},
};
use std::sync::Arc;

/// Opens the store that a configuration names. A table is not asked for anything yet, and never
/// created: that is `lanekeeper store init`.
///
/// # Errors
/// When its file cannot be opened or is not ours, or this build has no such store.
pub fn open_store(config: &Config, access: Access) -> Result<Arc<dyn Store>, RunError> {
    match &config.store.kind {
        StoreKind::Local { path } => {
            if access != Access::Create && !path.exists() {
                return Err(RunError::NoStore(path.clone()));
            }
            let store = SqliteStore::open(path, access, &config.app)?;
            Ok(Arc::new(store))
        }
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => Ok(Arc::new(DynamodbStore::new(table, &config.app))),
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => Err(NOT_BUILT),
    }
}

#[cfg(not(feature = "dynamodb"))]
const NOT_BUILT: RunError = RunError::NotBuilt {
    what: "store.type",
    feature: "dynamodb",
};

/// Asks a table and the brokers for something, so that what is out of reach is told of before anything
/// starts: a worker would ask again for ever. A file is looked at when it is opened.
///
/// # Errors
/// When it does not answer, or the configuration is wrong.
pub(crate) async fn reach(config: &Config) -> Result<(), RunError> {
    config.validate()?;
    #[cfg(feature = "kafka")]
    super::kafka::reach(config).await?;
    match &config.store.kind {
        StoreKind::Local { .. } => Ok(()),
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => {
            let store = DynamodbStore::new(table, &config.app);
            store.reach().await.map_err(RunError::Table)
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => Err(NOT_BUILT),
    }
}

/// The replays' namespace by itself: what is written to it as a value is its own.
#[cfg(feature = "cli")]
pub(crate) fn namespace_store(config: &Config, access: Access) -> Result<Arc<dyn Store>, RunError> {
    let name = super::replay::namespace(&config.app);
    match &config.store.kind {
        StoreKind::Local { path } => Ok(Arc::new(SqliteStore::open(path, access, &name)?)),
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => Ok(Arc::new(DynamodbStore::new(table, &name))),
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => Err(NOT_BUILT),
    }
}

/// The replays' namespace with the app's values, so that a replay's checkpoints and its effects are one
/// transaction.
#[cfg(feature = "cli")]
pub(super) fn replay_store(config: &Config, generation: u64) -> Result<Arc<dyn Store>, RunError> {
    let name = super::replay::namespace(&config.app);
    match &config.store.kind {
        StoreKind::Local { path } => {
            let store = SqliteStore::open(path, Access::Create, &config.app)?;
            Ok(Arc::new(store.apart(&name, generation)))
        }
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => {
            let store = DynamodbStore::new(table, &config.app);
            Ok(Arc::new(store.apart(&name, generation)))
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => Err(NOT_BUILT),
    }
}
