//! Region and credentials, asked for before a request without them would be repeated in vain.

use super::DynamodbStore;
use crate::{
    aws::{self, causes},
    store::{Store as _, StoreError},
};
use aws_sdk_dynamodb::{Client, config::ProvideCredentials as _};

impl DynamodbStore {
    /// Asks the table for something: whether it is there and answers.
    ///
    /// # Errors
    /// What is missing: region, credentials, the table, the permission to read it.
    pub async fn reach(&self) -> Result<(), StoreError> {
        self.credentials()
            .await
            .map_err(|told| StoreError::OutOfReach(format!("{}: {told}", self.place())))?;
        self.partitions().await.map(drop)
    }

    /// Finds region and credentials, and keeps the client that has them.
    pub(super) async fn credentials(&self) -> Result<(), String> {
        if self.client.initialized() {
            return Ok(());
        }
        let found = aws::loader().load().await;
        if found.region().is_none() {
            return Err("no region is configured: set `AWS_REGION`, or `region` of the profile in `~/.aws/config`".to_owned());
        }
        let hint = "set `AWS_PROFILE`, log in (`aws sso login`), or give the machine, container or function a role";
        let Some(provider) = found.credentials_provider() else {
            return Err(format!("no credentials are configured: {hint}"));
        };
        if let Err(error) = provider.provide_credentials().await {
            let told = causes(&error);
            return Err(format!("no credentials: {told}: {hint}"));
        }
        // Another call may have been quicker: its client is as good.
        let _ = self.client.set(Client::new(&found));
        Ok(())
    }

    /// Where requests go, for messages.
    pub(super) async fn region(&self) -> String {
        let client = self.client().await;
        let region = client.config().region();
        region.map_or_else(|| "none".to_owned(), ToString::to_string)
    }
}
