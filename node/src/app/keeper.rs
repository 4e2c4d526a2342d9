//! Writes what the machine wants kept into the data directory, away from the machine's task: each
//! write waits for the disk.

use std::sync::Arc;

use mesh::id::Epoch;
use mesh::proto::KeptMember;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::data_dir::{DataDir, DataDirError};

/// What is to be kept; only the newest of each counts, so nothing queues up.
#[derive(Debug, Clone, Default)]
struct Wanted {
    members: Option<Vec<KeptMember>>,
    epoch: Option<Epoch>,
}

/// The writer.
#[derive(Debug)]
pub(super) struct Keeper {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(data: DataDir) -> Self {
        let (wanted, wants) = watch::channel(Wanted::default());
        Self {
            wanted,
            task: tokio::spawn(keep(Arc::new(data), wants)),
        }
    }

    pub(super) fn members(&self, members: Vec<KeptMember>) {
        self.wanted
            .send_modify(|wanted| wanted.members = Some(members));
    }

    pub(super) fn epoch(&self, epoch: Epoch) {
        self.wanted.send_modify(|wanted| wanted.epoch = Some(epoch));
    }

    /// Writes what is left and gives the data directory free.
    pub(super) async fn close(self) {
        drop(self.wanted);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the data directory was not written to the end");
        }
    }
}

async fn keep(data: Arc<DataDir>, mut wants: watch::Receiver<Wanted>) {
    while wants.changed().await.is_ok() {
        let wanted = wants.borrow_and_update().clone();
        let data = data.clone();
        let kept = spawn_blocking(move || write(&data, &wanted)).await;
        if let Err(error) = kept
            .map_err(|error| error.to_string())
            .and_then(|kept| kept.map_err(|error| error.to_string()))
        {
            tracing::error!(
                error,
                "what was learned cannot be kept: the next start may not find its peers"
            );
        }
    }
}

fn write(data: &DataDir, wanted: &Wanted) -> Result<(), DataDirError> {
    if let Some(epoch) = wanted.epoch {
        data.keep_epoch(epoch)?;
    }
    wanted
        .members
        .as_deref()
        .map_or(Ok(()), |members| data.keep_members(members))
}
