//! Tables about the fleet: `_agents`, and `_receipts`.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use pyralog_sql::{Bounds, IpcStream, Part, Source, SourceError, Table, Wanted};

use super::{Notes, Tables, border, of_account, of_store};
use crate::account::{self, AccountError, AgentSummary, ReceiptAccount};
use crate::fleet;
use crate::store::{Chain, OwnedChain, SharedStore, StoreError};

/// Receipts of one chain that a query takes: they are in memory at once.
const MAX_RECEIPTS: usize = 1_000_000;

/// A table with a row for each agent that ever opened an epoch.
pub(super) async fn agents(tables: &Tables) -> Result<Table, SourceError> {
    let agents = fleet::agents(&*tables.store).await.map_err(of_store)?;
    let bounds = agents.iter().map(|agent| Bounds { agent: same(agent), ..Bounds::default() });
    let parts = bounds.map(|bounds| Part { bounds }).collect();
    let schema = border::schema(&agents_schema())?;
    let source = Agents { store: tables.store.clone(), agents: agents.into(), notes: Arc::clone(&tables.notes) };
    Ok(Table { schema, has_date: false, files: Vec::new(), parts, source: Arc::new(source) })
}

/// A table with a row for each receipt. They are never deleted from the store, so the lake has none that it has not.
pub(super) async fn receipts(tables: &Tables) -> Result<Table, SourceError> {
    let store = &*tables.store;
    let chains = fleet::all_chains(store).await.map_err(of_store)?;
    let parts = chains.iter().map(|OwnedChain { agent, epoch, log }| {
        let epoch = i64::from(*epoch);
        Part { bounds: Bounds { agent: same(agent), log: same(log), epoch: Some((epoch, epoch)), ..Bounds::default() } }
    });
    let parts = parts.collect();
    let schema = border::schema(&receipts_schema())?;
    let source = Receipts { store: tables.store.clone(), chains: chains.into(), notes: Arc::clone(&tables.notes) };
    Ok(Table { schema, has_date: false, files: Vec::new(), parts, source: Arc::new(source) })
}

fn same(name: &str) -> Option<(String, String)> {
    Some((name.to_owned(), name.to_owned()))
}

#[derive(Clone)]
struct Agents {
    store: SharedStore,
    agents: Arc<[String]>,
    notes: Arc<Notes>,
}

#[async_trait]
impl Source for Agents {
    async fn read(&self, _: &str, _: Range<u64>) -> Result<Bytes, SourceError> {
        Err(border::ours("agents are in no file"))
    }

    fn part(&self, index: usize, _: Wanted) -> IpcStream {
        let of = self.clone();
        let row = async move {
            let Some(agent) = of.agents.get(index) else { return Ok(None) };
            match account::summary(&*of.store, agent).await {
                Ok(Some(summary)) => border::batch(&agent_row(&summary).map_err(border::ours)?).map(Some),
                Ok(None) => Ok(None),
                Err(error) => met(&of.notes, error).map(|()| None),
            }
        };
        once(row)
    }
}

#[derive(Clone)]
struct Receipts {
    store: SharedStore,
    chains: Arc<[OwnedChain]>,
    notes: Arc<Notes>,
}

#[async_trait]
impl Source for Receipts {
    async fn read(&self, _: &str, _: Range<u64>) -> Result<Bytes, SourceError> {
        Err(border::ours("receipts are in no file"))
    }

    fn part(&self, index: usize, _: Wanted) -> IpcStream {
        let of = self.clone();
        let rows = async move {
            let Some(chain) = of.chains.get(index).map(OwnedChain::borrow) else { return Ok(None) };
            let account = match account::epoch_account(&*of.store, chain, 0, Some(MAX_RECEIPTS)).await {
                Err(error) => return met(&of.notes, error).map(|()| None),
                Ok(account) => account,
            };
            if account.receipts_omitted > 0 {
                let Chain { agent, epoch, log } = chain;
                let error =
                    format!("agent {agent:?}, epoch {epoch}, log {log:?} has more than {MAX_RECEIPTS} receipts");
                return Err(SourceError::Refused(format!("{error}; leave it out by WHERE, or read its account")));
            }
            match account.receipts.unwrap_or_default().as_slice() {
                [] => Ok(None),
                receipts => border::batch(&receipt_rows(chain, receipts).map_err(border::ours)?).map(Some),
            }
        };
        once(rows)
    }
}

/// Damage is noted or told; all else is told.
fn met(notes: &Notes, error: AccountError) -> Result<(), SourceError> {
    match &error {
        AccountError::Damaged { name, reason } | AccountError::Store(StoreError::Damaged { name, reason }) => {
            notes.meet(name, reason)
        }
        _ => Err(of_account(error)),
    }
}

fn once(rows: impl Future<Output = Result<Option<Bytes>, SourceError>> + Send + 'static) -> IpcStream {
    stream::once(rows).filter_map(|rows| async { rows.transpose() }).boxed()
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn agents_schema() -> Schema {
    Schema::new(vec![
        Field::new("agent", DataType::Utf8, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("opened_at", time(), false),
        Field::new("logs", DataType::Int64, false),
    ])
}

fn agent_row(agent: &AgentSummary) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let logs = i64::try_from(agent.log_count).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![agent.agent.as_str()])),
        Arc::new(Int64Array::from(vec![i64::from(agent.epoch)])),
        Arc::new(TimestampMicrosecondArray::from(vec![agent.opened_at.div_euclid(1_000)]).with_timezone("UTC")),
        Arc::new(Int64Array::from(vec![logs])),
    ];
    RecordBatch::try_new(Arc::new(agents_schema()), columns)
}

fn receipts_schema() -> Schema {
    Schema::new(vec![
        Field::new("agent", DataType::Utf8, false),
        Field::new("log", DataType::Utf8, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("from_offset", DataType::Int64, false),
        Field::new("to_offset", DataType::Int64, false),
        Field::new("records", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("min_time", time(), true),
        Field::new("max_time", time(), true),
    ])
}

fn receipt_rows(chain: Chain<'_>, receipts: &[ReceiptAccount]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; receipts.len()])) };
    let long = |of: &dyn Fn(&ReceiptAccount) -> u64| -> ArrayRef {
        let values = receipts.iter().map(|receipt| i64::try_from(of(receipt)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(values))
    };
    let time = |of: &dyn Fn(&ReceiptAccount) -> Option<i64>| -> ArrayRef {
        let times = receipts.iter().map(|receipt| of(receipt).map(|nanos| nanos.div_euclid(1_000)));
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let columns = vec![
        text(chain.agent),
        text(chain.log),
        long(&|_| chain.epoch.into()),
        long(&|receipt| receipt.from),
        long(&|receipt| receipt.to),
        long(&|receipt| receipt.to.saturating_sub(receipt.from)),
        Arc::new(StringArray::from_iter_values(receipts.iter().map(|receipt| receipt.reason))),
        time(&|receipt| receipt.min_time),
        time(&|receipt| receipt.max_time),
    ];
    RecordBatch::try_new(Arc::new(receipts_schema()), columns)
}
