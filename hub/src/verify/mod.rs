//! Walks a store offline: is every object whole, are offsets dense, does every hash follow from the one before, and is everything
//! there that something else in the store speaks of?
//!
//! What cannot be seen from the store alone: that the last entries of a chain of an agent's newest epoch were removed, or that
//! heads were, which only say how far ahead an agent was; nor that the one entry was removed of a log of an older epoch that was
//! heard of and never written to. In older epochs both ends of every other chain are known, since each ends with a closing entry.
//! Of what retention deleted, the mark and the receipts are checked: they are all that is left of it.

use crate::store::{MAX_PAGE, Place, Store, StoreError};

mod agent;
mod chain;

use agent::AgentWalk;

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// This agent alone.
    pub agent: Option<String>,
    /// Of the logs, this one alone.
    pub log: Option<String>,
    /// Whether to decode every segment too, which takes longer and finds nothing that hashes do not, unless the agent
    /// itself sent something wrong.
    pub decode: bool,
}

/// One chain as found, or something faulty beside the chains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// The agent.
    pub agent: String,
    /// The log; empty for what concerns all of the agent's.
    pub log: String,
    /// The epoch; 0 for what concerns all of them.
    pub epoch: u32,
    /// Entries that are in order.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Records receipted by them.
    pub receipted: u64,
    /// Records that were committed, and that retention deleted.
    pub deleted: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the object, or of where it should be.
    pub name: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Fault {
    /// The object of `place` with this `number` is wrong or missing.
    fn of(store: &dyn Store, place: Place<'_>, number: u64, reason: impl Into<String>) -> Self {
        Self { name: store.object_name(place, number), reason: reason.into(), remedy: remedy(place) }
    }

    /// The object could not be read.
    fn unread(store: &dyn Store, place: Place<'_>, number: u64, error: StoreError) -> Self {
        Self::of(store, place, number, reason(error))
    }

    /// Something could not be listed.
    fn unlisted(error: StoreError) -> Self {
        let name = match &error {
            StoreError::Unavailable { name, .. } | StoreError::Damaged { name, .. } => name.clone(),
        };
        let remedy =
            "see that it is a folder which this user may read, and verify again: what is in it was not looked at";
        Self { name, reason: reason(error), remedy }
    }
}

fn reason(error: StoreError) -> String {
    match error {
        StoreError::Unavailable { action, reason, .. } => format!("the system cannot {action} it: {reason}"),
        StoreError::Damaged { reason, .. } => reason,
    }
}

fn remedy(place: Place<'_>) -> &'static str {
    match place {
        Place::Epochs(_) => "restore it from a backup; until then the hub turns the agent away, which keeps its data",
        Place::Closed(_) => "restore it from a backup, or leave it: no record depends on it",
        Place::Register(..) => {
            "restore it from a backup; until then the epoch takes no new logs and cannot be ended, and the agent keeps its data"
        }
        Place::Heads(..) => "move it away: it only says how far ahead the agent was, and the agent says so again",
        Place::Schemas(_) => {
            "restore it from a backup, unless an agent still uses it: then it sends it again by itself"
        }
        Place::Notes(_) => {
            "restore it from a backup; or move it away and restart the hub: it is written again with the log's next segment \
             that has these columns"
        }
        Place::Entries(_) => {
            "restore it from a backup; until then readers go past it with ?damaged=skip or `pyralog-hub read --skip-damaged`"
        }
        Place::Trimmed(_) => {
            "restore it from a backup; until then what retention deleted of the log passes for missing, and nothing more is deleted"
        }
    }
}

/// Verifies what `scope` names, and hands each finding to `report`. The result counts faults. Fails only when the agents cannot be
/// listed; whatever else cannot be read is a fault.
pub async fn verify(store: &dyn Store, scope: &Scope, mut report: impl FnMut(&Finding)) -> Result<u64, StoreError> {
    let mut faults = 0;
    let mut counted = |finding: &Finding| {
        faults += u64::from(finding.fault.is_some());
        report(finding);
    };
    let mut after: Option<String> = None;
    loop {
        let agents = match &scope.agent {
            Some(agent) if after.is_none() => vec![agent.clone()],
            Some(_) => Vec::new(),
            None => store.agents(after.as_deref(), MAX_PAGE).await?,
        };
        let Some(last) = agents.last().cloned() else { return Ok(faults) };
        for agent in agents {
            AgentWalk::new(store, &agent, scope, &mut counted).run().await;
        }
        after = Some(last);
    }
}
