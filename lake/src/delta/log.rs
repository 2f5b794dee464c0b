//! Reads a table's state from its Delta log.

use std::collections::{BTreeMap, HashMap};

use super::action::{Action, Add, Metadata, Protocol, Txn, lines};
use super::checkpoint;
use crate::lake::{Lake, LakeError, Put};

/// Most versions read behind a checkpoint: we write one every [`checkpoint::EVERY`] versions.
const MAX_TAIL: u64 = 1_000_000;

/// A table's state at one version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// `None` for a table that is not there yet.
    pub(crate) version: Option<u64>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) files: BTreeMap<String, Add>,
    pub(crate) txns: HashMap<String, Txn>,
}

impl Snapshot {
    /// The version that the next commit makes.
    pub(crate) fn next_version(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    pub(crate) fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).map(|txn| txn.version)
    }

    /// Reads what was committed since; whole, when nothing was read yet.
    pub(crate) async fn refresh(&mut self, lake: &Lake, folder: &str) -> Result<(), LakeError> {
        for _ in 0..MAX_TAIL {
            let next = self.next_version();
            let name = commit_name(folder, next);
            let Some(bytes) = lake.read(&name).await? else { return Ok(()) };
            self.apply(&bytes).map_err(|reason| LakeError::Foreign { name, reason })?;
            self.version = Some(next);
        }
        Ok(())
    }

    /// Takes over the lines of a commit or checkpoint.
    pub(super) fn apply(&mut self, lines: &[u8]) -> Result<(), String> {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let action: Action = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            self.take(action)?;
        }
        Ok(())
    }

    fn take(&mut self, action: Action) -> Result<(), String> {
        if let Some(protocol) = action.protocol
            && (protocol.min_reader_version, protocol.min_writer_version) != (1, 2)
        {
            let Protocol { min_reader_version, min_writer_version } = protocol;
            return Err(format!(
                "something else has upgraded the table to reader version {min_reader_version} and writer version \
                 {min_writer_version}, which this build does not write; archive into another lake"
            ));
        }
        if let Some(metadata) = action.meta_data {
            self.metadata = Some(metadata);
        }
        if let Some(txn) = action.txn {
            self.txns.insert(txn.app_id.clone(), txn);
        }
        if let Some(remove) = action.remove {
            self.files.remove(&remove.path);
        }
        if let Some(add) = action.add {
            self.files.insert(add.path.clone(), add);
        }
        Ok(())
    }

    /// The state as actions, for a checkpoint.
    pub(super) fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        let head = self.metadata.iter().flat_map(|meta| [Action::protocol(), Action::metadata(meta.clone())]);
        let txns = self.txns.values().map(|txn| Action { txn: Some(txn.clone()), ..Action::default() });
        head.chain(txns).chain(self.files.values().cloned().map(Action::add))
    }
}

/// `<folder>/_delta_log/<version>.json`
pub(super) fn commit_name(folder: &str, version: u64) -> String {
    format!("{folder}/_delta_log/{version:020}.json")
}

/// Commits the version after `state`, which is then the state with it; says whether that version was still free.
pub(crate) async fn commit(
    lake: &Lake,
    folder: &str,
    state: &mut Snapshot,
    actions: &[Action],
) -> Result<bool, LakeError> {
    let name = commit_name(folder, state.next_version());
    let bytes = lines(actions).map_err(LakeError::ours)?;
    // The folders of its files before it speaks of them, and its own before anybody relies on it.
    lake.settle_folder(folder).await?;
    let put = lake.create(&name, bytes.into()).await?;
    lake.settle_folder(folder).await?;
    state.refresh(lake, folder).await?;
    if put == Put::Created {
        checkpoint::write(lake, folder, state).await?;
    }
    Ok(put == Put::Created)
}

/// The newest state of the table in `folder`.
pub(crate) async fn load(lake: &Lake, folder: &str) -> Result<Snapshot, LakeError> {
    let mut snapshot = checkpoint::read(lake, folder).await?.unwrap_or_default();
    snapshot.refresh(lake, folder).await?;
    Ok(snapshot)
}
