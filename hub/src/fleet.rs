//! Names over the whole fleet, listed a few at a time.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::store::{MAX_PAGE, OwnedChain, Store, StoreError};

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

/// All logs, with the agents that have them, ascending.
pub(crate) async fn logs(store: &dyn Store) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Some(mut chains) = store.all_chains(None).await? {
        chains.sort_unstable();
        for OwnedChain { agent, log, .. } in chains {
            logs.entry(log).or_default().push(agent);
        }
        logs.values_mut().for_each(Vec::dedup);
        return Ok(logs);
    }
    let agents = agents(store).await?;
    let asked = agents.into_iter().map(|agent| async move {
        let logs = store.logs(&agent, None, MAX_PAGE).await?;
        Ok::<_, StoreError>((agent, logs))
    });
    let mut answers = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE);
    while let Some((agent, of_agent)) = answers.try_next().await? {
        for log in of_agent {
            logs.entry(log).or_default().push(agent.clone());
        }
    }
    Ok(logs)
}

/// The chains of a log, of all agents: agents ascending, epochs too.
#[cfg(feature = "sql")]
pub(crate) async fn chains(store: &dyn Store, log: &str) -> Result<Vec<OwnedChain>, StoreError> {
    if let Some(mut chains) = store.all_chains(Some(log)).await? {
        chains.sort_unstable();
        return Ok(chains);
    }
    let agents = agents(store).await?;
    asked(store, agents.into_iter().map(|agent| (agent, log.to_owned()))).await
}

/// All chains there are.
#[cfg(feature = "sql")]
pub(crate) async fn all_chains(store: &dyn Store) -> Result<Vec<OwnedChain>, StoreError> {
    if let Some(chains) = store.all_chains(None).await? {
        return Ok(chains);
    }
    let logs = logs(store).await?;
    let pairs = logs.into_iter().flat_map(|(log, agents)| agents.into_iter().map(move |agent| (agent, log.clone())));
    asked(store, pairs).await
}

/// The chains of these agents and logs.
#[cfg(feature = "sql")]
async fn asked(
    store: &dyn Store,
    pairs: impl Iterator<Item = (String, String)>,
) -> Result<Vec<OwnedChain>, StoreError> {
    let asked = pairs.map(|(agent, log)| async move {
        let epochs = store.log_epochs(&agent, &log).await?;
        let chain = |epoch| OwnedChain { agent: agent.clone(), epoch, log: log.clone() };
        Ok::<_, StoreError>(epochs.into_iter().map(chain).collect::<Vec<_>>())
    });
    let found: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
