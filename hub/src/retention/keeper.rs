//! The hub's own rounds through its store.

use std::time::Duration;

use super::{Budget, RetentionConfig, Trim, Trimmed};
use crate::http::App;
use crate::store::{SharedStore, StoreError};

/// Work of one round at most: a store that is larger is gone through in several, with a rest between them.
const WORK: usize = 20_000;

/// Between two rounds where the first did not come to the end.
const REST: Duration = Duration::from_secs(5);

/// Logs that may fail in one round: then the store is away, and there is no use in asking on.
const MAX_FAILURES: usize = 8;

/// Agents or logs listed at once.
const PAGE: usize = 256;

/// Keeps the store within its limits until the hub stops. What the limits are is asked for before each round.
pub(crate) async fn keep(app: App) {
    let mut rounds = Rounds::new(app.store());
    loop {
        let config = app.retention();
        let pause = if rounds.at.is_some() { REST.min(config.interval) } else { config.interval };
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            // New limits may be wanted at once, by somebody who is looking.
            () = app.retention_changed() => continue,
        }
        if config.keep_all() {
            rounds.at = None;
            continue;
        }
        let done = rounds.round(&config, crate::clock::unix_nanos(), WORK).await;
        app.deleted(&done);
        if done.trimmed.entries > 0 {
            let Trimmed { records, entries, bytes, .. } = done.trimmed;
            tracing::info!(records, entries, bytes, "retention deleted what is beyond its limits");
        }
        for (name, reason) in done.trimmed.stuck.iter().take(1) {
            let more = done.trimmed.stuck.len() - 1;
            tracing::error!(
                object = name,
                more,
                "retention goes no further in this log: {reason}; run pyralog-hub verify"
            );
        }
        if let Some(error) = &done.failure {
            pyralog_service::every_10s!(skipped => tracing::warn!(skipped, "retention could not go on: {error}"));
        }
    }
}

/// Between three and five quarters of a time, so that many hubs do not all work at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without randomness they may meet, which is no harm.
    let _ = getrandom::fill(&mut byte);
    pause * 3 / 4 + pause * u32::from(byte[0]) / 512
}

/// What a round did.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) trimmed: Trimmed,
    /// Why it ended early.
    pub(crate) failure: Option<StoreError>,
}

/// Rounds through all logs of a store, each going on where the one before ended.
pub(crate) struct Rounds {
    store: SharedStore,
    /// The log that was done last; `None` at the beginning.
    at: Option<(String, String)>,
}

impl Rounds {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, at: None }
    }

    /// Brings logs within their limits, up to the last one or until so much work is done.
    pub(crate) async fn round(&mut self, config: &RetentionConfig, now: i64, work: usize) -> Round {
        let mut pass = Pass { config, now, budget: Budget(work), failures: 0, round: Round::default() };
        if let Err(error) = self.go(&mut pass).await {
            pass.round.failure = Some(error);
        }
        pass.round
    }

    async fn go(&mut self, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        if let Some((agent, log)) = self.at.clone()
            && !self.agent(&agent, Some(log), pass).await?
        {
            return Ok(());
        }
        let mut after = self.at.take().map(|(agent, _)| agent);
        loop {
            let agents = self.store.agents(after.as_deref(), PAGE).await?;
            let Some(last) = agents.last().cloned() else { return Ok(()) };
            for agent in agents {
                if !self.agent(&agent, None, pass).await? {
                    return Ok(());
                }
            }
            after = Some(last);
        }
    }

    /// Says whether the agent's logs were all looked at.
    async fn agent(&mut self, agent: &str, mut after: Option<String>, pass: &mut Pass<'_>) -> Result<bool, StoreError> {
        let store = SharedStore::clone(&self.store);
        loop {
            let logs = store.logs(agent, after.as_deref(), PAGE).await?;
            pass.budget.spend(1);
            let Some(last) = logs.last().cloned() else { return Ok(true) };
            for log in logs {
                let limits = pass.config.limits_of(&log);
                let trim = Trim { store: &*store, agent, log: &log, limits, now: pass.now, dry_run: false };
                match trim.run(&mut pass.budget).await {
                    Ok(trimmed) if trimmed.unfinished => {
                        // It is begun again with a new budget.
                        pass.round.trimmed.add(trimmed);
                        return Ok(false);
                    }
                    Ok(trimmed) => pass.round.trimmed.add(trimmed),
                    // One log that cannot be listed must not keep the others from their turn.
                    Err(error) => {
                        pass.failures += 1;
                        pass.round.failure = Some(error);
                    }
                }
                self.at = Some((agent.to_owned(), log));
                if pass.budget.is_spent() || pass.failures == MAX_FAILURES {
                    return Ok(false);
                }
            }
            after = Some(last);
        }
    }
}

/// A round as it goes on.
struct Pass<'a> {
    config: &'a RetentionConfig,
    now: i64,
    budget: Budget,
    failures: usize,
    round: Round,
}
