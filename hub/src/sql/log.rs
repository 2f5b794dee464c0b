//! A log's table: which of it is in the lake, and which in the store alone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use pyralog_lake::{DataFile, Lake, Mark, Shape};
use pyralog_segment::Schema;
use pyralog_sql::{Bounds, IpcStream, Part, Source, SourceError, Table, Wanted};

use super::chain::Reading;
use super::{Notes, Tables, border, of_lake, of_store};
use crate::fleet;
use crate::scan::Schemas;
use crate::store::{Chain, OwnedChain, SharedStore, Store, StoreError};

/// Most chains of one table: what is known of each is in memory.
const MAX_CHAINS: usize = 1_000_000;

/// Most columns of one table, as of one answer of records.
const MAX_COLUMNS: usize = 4_096;

/// A chain that the lake has not, or not all of.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub(super) agent: String,
    pub(super) epoch: u32,
    /// What the lake has of it.
    pub(super) mark: Mark,
}

/// Offsets that the lake lacks since they were damaged when it came to them.
#[derive(Debug, Clone)]
struct Hole {
    agent: String,
    epoch: u32,
    offsets: Range<u64>,
}

/// Reads a log's table.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) store: SharedStore,
    pub(super) lake: Option<Lake>,
    pub(super) log: String,
    /// The log's table in the lake, as it was when the query began.
    pub(super) archived: Option<Arc<pyralog_lake::Table>>,
    pub(super) chains: Arc<[Fresh]>,
    holes: Arc<[Hole]>,
    pub(super) shape: Arc<Shape>,
    /// All that its chains have noted.
    pub(super) schemas: Arc<Schemas>,
    pub(super) notes: Arc<Notes>,
}

/// The table of a log; `None` when no agent has it.
pub(super) async fn table(tables: &Tables, log: &str) -> Result<Option<Table>, SourceError> {
    let archived = match &tables.lake {
        Some(lake) => Some(Arc::new(pyralog_lake::Table::open(lake, log).await.map_err(of_lake)?)),
        None => None,
    };
    let chains = fleet::chains(&*tables.store, log).await.map_err(of_store)?;
    let files = archived.as_ref().map(|table| table.files()).unwrap_or_default();
    if chains.is_empty() && files.is_empty() {
        return Ok(None);
    }
    if chains.len() > MAX_CHAINS {
        let error =
            format!("log {log:?} has {} chains (agents and their epochs); SQL takes {MAX_CHAINS}", chains.len());
        return Err(SourceError::Refused(error));
    }
    let mark = |agent: &str, epoch| archived.as_ref().map(|table| table.mark(agent, epoch)).unwrap_or_default();
    let fresh =
        chains.into_iter().map(|OwnedChain { agent, epoch, .. }| Fresh { mark: mark(&agent, epoch), agent, epoch });
    let fresh: Vec<_> = fresh.filter(|chain| !chain.mark.closed).collect();
    let holes = archived.as_ref().map(|table| table.damaged()).unwrap_or_default();
    let holes: Vec<_> =
        holes.into_iter().map(|(agent, epoch, from, to)| Hole { agent, epoch, offsets: from..to }).collect();
    let shape = archived.as_ref().map(|table| table.shape()).unwrap_or_default();
    let (shape, schemas) = widened(tables, log, shape, &fresh).await?;
    let of_chains = fresh.iter().map(|chain| part(&chain.agent, chain.epoch));
    let parts = of_chains.chain(holes.iter().map(|hole| part(&hole.agent, hole.epoch))).collect();
    let schema = border::schema(&shape.schema())?;
    let source = Log {
        store: tables.store.clone(),
        lake: tables.lake.clone(),
        log: log.to_owned(),
        archived,
        chains: fresh.into(),
        holes: holes.into(),
        shape: Arc::new(shape),
        schemas: Arc::new(schemas),
        notes: Arc::clone(&tables.notes),
    };
    let files = files.into_iter().map(file).collect();
    Ok(Some(Table { schema, has_date: true, files, parts, source: Arc::new(source) }))
}

/// The columns of the lake's table and those that are in the store alone, with the schemas of the latter.
async fn widened(
    tables: &Tables,
    log: &str,
    mut shape: Shape,
    fresh: &[Fresh],
) -> Result<(Shape, Schemas), SourceError> {
    let store = &*tables.store;
    let mut known = Schemas::new();
    for (agent, noted) in noted(store, log, fresh).await.map_err(of_store)? {
        for fingerprint in noted {
            if known.contains_key(&fingerprint) {
                continue;
            }
            // What is missing here is reported where a segment needs it.
            let stored = match store.schema(agent, fingerprint).await {
                Err(StoreError::Damaged { .. }) => None,
                other => other.map_err(of_store)?,
            };
            let schema = stored.and_then(|bytes| Schema::from_bytes(&bytes).ok());
            if let Some(schema) = schema.filter(|schema| schema.fingerprint() == fingerprint) {
                known.insert(fingerprint, schema);
            }
        }
    }
    // Schemas of an epoch only widen, so the narrow ones came first; and the order must not depend on who is asked first.
    let mut ordered: Vec<_> = known.iter().collect();
    ordered.sort_by_key(|(fingerprint, schema)| (schema.columns().len(), **fingerprint));
    for (_, schema) in ordered {
        shape.widen(&schema.arrow());
        let columns = shape.schema().fields().len();
        if columns > MAX_COLUMNS {
            let error = format!("log {log:?} had more than {MAX_COLUMNS} columns over its agents and epochs");
            return Err(SourceError::Refused(format!("{error}; read it agent by agent (`pyralog-hub read`)")));
        }
    }
    Ok((shape, known))
}

/// The schemas noted for chains of a log, with an agent that has them.
async fn noted<'a>(
    store: &dyn Store,
    log: &str,
    chains: &'a [Fresh],
) -> Result<Vec<(&'a str, Vec<[u8; 8]>)>, StoreError> {
    if let Some(noted) = store.all_notes(log).await? {
        let agents = chains.iter().map(|Fresh { agent, epoch, .. }| ((agent.as_str(), *epoch), agent.as_str()));
        let agents: HashMap<_, _> = agents.collect();
        let found = noted.iter().filter_map(|(chain, schema)| {
            let agent = agents.get(&(chain.agent.as_str(), chain.epoch))?;
            Some((*agent, vec![*schema]))
        });
        return Ok(found.collect());
    }
    let noted = chains.iter().map(|Fresh { agent, epoch, .. }| async move {
        let noted = store.noted_schemas(Chain { agent, epoch: *epoch, log }).await?;
        Ok((agent.as_str(), noted))
    });
    stream::iter(noted.collect::<Vec<_>>()).buffered(fleet::AT_ONCE).try_collect().await
}

fn part(agent: &str, epoch: u32) -> Part {
    let (agent, epoch) = (agent.to_owned(), i64::from(epoch));
    Part { bounds: Bounds { agent: Some((agent.clone(), agent)), epoch: Some((epoch, epoch)), ..Bounds::default() } }
}

fn file(file: DataFile) -> pyralog_sql::DataFile {
    let DataFile { name, size, date, agents, epochs, offsets, times } = file;
    let bounds = Bounds { agent: agents, log: None, epoch: epochs, offset: offsets, time: times, date };
    pyralog_sql::DataFile { name, size, bounds }
}

#[async_trait]
impl Source for Log {
    async fn read(&self, file: &str, range: Range<u64>) -> Result<Bytes, SourceError> {
        match &self.lake {
            Some(lake) => lake.read_range(file, range).await.map_err(of_lake),
            None => Err(border::ours("a file without a lake")),
        }
    }

    fn part(&self, index: usize, wanted: Wanted) -> IpcStream {
        match (self.chains.get(index), self.holes.get(index.wrapping_sub(self.chains.len()))) {
            (Some(chain), _) => Reading::stream(self.clone(), chain.clone(), wanted),
            (None, Some(hole)) => {
                let Hole { agent, epoch, offsets } = hole;
                let (log, Range { start, end }) = (&self.log, offsets);
                let name = format!("what agent {agent:?}, epoch {epoch}, log {log:?} has from offset {start} to {end}");
                let met = self.notes.meet(&name, "the lake lacks it, since it could not be archived");
                stream::iter(met.err().map(Err)).boxed()
            }
            (None, None) => stream::iter([Err(border::ours("a part that is not there"))]).boxed(),
        }
    }
}
