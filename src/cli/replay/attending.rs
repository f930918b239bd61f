//! The word of a replay that is under way: of a stream no lock says so.

use super::super::{exit::CommandError, machine::host, output};
use crate::{
    config::Config,
    run::namespace_store,
    sqlite::Access,
    store::{WorkerId, WorkerItem},
};
use std::future::Future;
use tokio::time::sleep;
use uuid::Uuid;

/// Runs it, and says as long as it runs that it does; before that it has to be found that nobody else does.
///
/// # Errors
/// When the store does not take the first word.
pub(super) async fn told<T>(
    config: &Config,
    run: impl Future<Output = T>,
) -> Result<T, CommandError> {
    let store = namespace_store(config, Access::Create).map_err(CommandError::Run)?;
    let mut item = item();
    store.beat(&item).await?;
    let worker = WorkerId(item.worker);
    let beats = async {
        loop {
            sleep(store.beats_every()).await;
            item.beat = output::now();
            if let Err(error) = store.beat(&item).await {
                tracing::warn!(%error, "that the replay is under way was not written");
            }
        }
    };
    let ended = tokio::select! { biased;
        ended = run => ended,
        () = beats => return Err(CommandError::Internal("the word of the replay ended".to_owned())),
    };
    // What is left of it is silent in two and a half minutes.
    if let Err(error) = store.leave(worker).await {
        tracing::warn!(%error, "that the replay has ended was not written");
    }
    Ok(ended)
}

fn item() -> WorkerItem {
    let now = output::now();
    WorkerItem {
        worker: Uuid::new_v4(),
        pid: std::process::id(),
        host: host(),
        started: now,
        beat: now,
        in_flight: 0,
        waiting: 0,
        buffered: 0,
        paused: Vec::new(),
        sick_since: None,
        fenced: 0,
        behind: Vec::new(),
        consumed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::unfinished::Unfinished, *};
    use std::path::Path;

    #[tokio::test]
    async fn while_a_replay_of_a_stream_runs_no_other_one_is_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lanekeeper.db");
        let text = format!(
            "app = \"a\"\ncap = 1\n[store]\npath = {:?}\n[sources.s]\ntype = \"kinesis\"\narn = \"arn:aws:kinesis:eu-west-1:1:stream/s\"\n",
            path.display().to_string()
        );
        let config = Config::from_toml(&text, Path::new("lanekeeper.toml")).expect("sound");
        let within = told(&config, Unfinished::is_alone(&config)).await;
        let error = within.expect("it runs").expect_err("another one");
        assert!(error.to_string().contains("under way"), "{error}");
        assert!(Unfinished::is_alone(&config).await.is_ok());
    }
}
