//! The schemas that a log's segments need.

use std::collections::VecDeque;

use hashbrown::HashMap;
use pyralog_segment::Schema;

use crate::account::AccountError;
use crate::store::{Chain, Store, StoreError};

/// Most columns of one answer. One segment has at most 512; a log may have had others in each epoch.
const MAX_UNION: usize = 4_096;

/// Schemas by their fingerprints.
pub type Schemas = HashMap<[u8; 8], Schema>;

/// The schemas of some epochs of a log, and one that covers them all.
pub(super) async fn schemas(
    store: &dyn Store,
    agent: &str,
    log: &str,
    epochs: &VecDeque<u32>,
) -> Result<(Schemas, Schema), AccountError> {
    let (mut known, mut union) = (HashMap::new(), Schema::empty());
    for epoch in epochs {
        let mut newer = Vec::new();
        for fingerprint in store.noted_schemas(Chain { agent, epoch: *epoch, log }).await? {
            if known.contains_key(&fingerprint) {
                continue;
            }
            // What is missing here is reported where a segment needs it.
            let stored = match store.schema(agent, fingerprint).await {
                Err(StoreError::Damaged { .. }) => None,
                other => other?,
            };
            if let Some(bytes) = stored
                && let Ok(schema) = Schema::from_bytes(&bytes)
                && schema.fingerprint() == fingerprint
            {
                newer.push((schema.columns().len(), fingerprint, schema.clone()));
                known.insert(fingerprint, schema);
            }
        }
        // Within an epoch schemas only widen, so the narrow ones came first.
        newer.sort_by_key(|(columns, fingerprint, _)| (*columns, *fingerprint));
        for (_, _, schema) in newer {
            union = union.union(&schema);
            let columns = union.columns().len();
            if columns > MAX_UNION {
                return Err(AccountError::TooWide { log: log.into(), limit: MAX_UNION });
            }
        }
    }
    Ok((known, union))
}
