//! Names over the whole fleet, listed a few at a time.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::store::{MAX_PAGE, Store, StoreError};

/// Agents that are asked about at once.
pub(crate) const AT_ONCE: usize = 16;

/// All agents, ascending.
pub(crate) async fn agents(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = store.agents(all.last().map(String::as_str), MAX_PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// All logs, with the agents that have them.
pub(crate) async fn logs(store: &dyn Store) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let agents = agents(store).await?;
    let asked = agents.into_iter().map(|agent| async move {
        let logs = store.logs(&agent, None, MAX_PAGE).await?;
        Ok::<_, StoreError>((agent, logs))
    });
    let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut answers = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE);
    while let Some((agent, of_agent)) = answers.try_next().await? {
        for log in of_agent {
            logs.entry(log).or_default().push(agent.clone());
        }
    }
    Ok(logs)
}

/// The epochs in which a log has entries, of all agents: agents ascending, epochs too.
#[cfg(feature = "sql")]
pub(crate) async fn chains(store: &dyn Store, log: &str) -> Result<Vec<(String, u32)>, StoreError> {
    let agents = agents(store).await?;
    let asked = agents.into_iter().map(|agent| async move {
        let epochs = store.log_epochs(&agent, log).await?;
        Ok::<_, StoreError>(epochs.into_iter().map(|epoch| (agent.clone(), epoch)).collect::<Vec<_>>())
    });
    let found: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
