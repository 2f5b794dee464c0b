//! Runs queries, within limits and on threads of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::object_store::memory::InMemory;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures_util::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::catalog::{Catalog, SourceError};
use crate::deep;
use crate::error::{SqlError, explained};
use crate::names::Names;
use crate::output::{Format, Writer};
use crate::table::{Counts, FILES_AT};

/// Longest query, in bytes.
pub const MAX_QUERY: usize = 64 << 10;

/// The name of the threads in which queries run; a panic there ends the query alone.
pub const THREADS: &str = "sql";

/// The names under which tables are found when none is said.
const CATALOG: (&str, &str) = ("pyralog", "public");

/// Pieces of an answer that wait for their reader.
const PIECES: usize = 2;

/// How often a query is begun again since what it read was put in order meanwhile.
const ATTEMPTS: usize = 5;

/// Room for expressions as deep as [`deep`] lets through: planners walk them by recursion. No memory is taken until it is used.
const STACK: usize = 64 << 20;

/// What queries may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all queries together may hold to sort, join and aggregate.
    pub memory: usize,
    /// Queries under way at once.
    pub queries: usize,
    /// How long one may take, its reader's time included.
    pub timeout: Duration,
    /// Threads for all of them.
    pub threads: usize,
}

/// Runs queries.
pub struct Engine {
    limits: Limits,
    env: Arc<RuntimeEnv>,
    permits: Arc<Semaphore>,
    /// Taken when the engine is dropped.
    runtime: Option<Runtime>,
}

/// What a query's tables consist of, and how much of it the query can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Files of the lake.
    pub files: usize,
    /// Those that are read.
    pub files_read: usize,
    /// Parts that are in no file.
    pub parts: usize,
    /// Those that are read.
    pub parts_read: usize,
}

/// An answer that begins to come.
#[derive(Debug)]
pub struct Answer {
    /// What is read for it.
    pub scanned: Scanned,
    /// None of them is the end; without one the query came to none.
    pieces: mpsc::Receiver<Piece>,
    deadline: Deadline,
}

/// When a query must have ended. Whoever waits keeps to it as well as the query itself, which notices between two steps only.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    async fn keep<T>(self, work: impl Future<Output = T>) -> Result<T, SqlError> {
        tokio::time::timeout_at(self.at, work).await.map_err(|_| SqlError::Time(self.limit))
    }
}

impl Answer {
    /// The next piece; `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, SqlError>> {
        let next = self.deadline.keep(self.pieces.recv()).await;
        match next.and_then(|piece| piece.unwrap_or_else(|| Err(died()))) {
            Ok(piece) => piece.map(Ok),
            Err(error) => {
                // Nothing more is taken, and the query ends if it has not.
                self.pieces.close();
                Some(Err(error))
            }
        }
    }
}

impl Engine {
    /// An engine with threads of its own.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(limits: Limits) -> std::io::Result<Self> {
        let threads = limits.threads.max(1);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).max_blocking_threads(threads * 4).thread_stack_size(STACK);
        let runtime = builder.thread_name(THREADS).enable_all().build()?;
        // Nothing is written to disk: a gateway's flash is not for temporary files.
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let env = RuntimeEnvBuilder::new().with_memory_limit(limits.memory, 1.0).with_disk_manager_builder(disk);
        let env = env.build_arc().map_err(std::io::Error::other)?;
        let files_at = url(FILES_AT).map_err(std::io::Error::other)?;
        env.register_object_store(files_at.as_ref(), Arc::new(InMemory::new()));
        let permits = Arc::new(Semaphore::new(limits.queries.max(1)));
        Ok(Self { limits, env, permits, runtime: Some(runtime) })
    }

    /// Begins to answer a query about `catalog`. What is wrong before the first row comes as an error of this call.
    pub async fn query(&self, catalog: Arc<dyn Catalog>, sql: &str, format: Format) -> Result<Answer, SqlError> {
        if sql.len() > MAX_QUERY {
            return Err(SqlError::Query(format!("the query has {} bytes; the most is {MAX_QUERY}", sql.len())));
        }
        deep::check(sql)?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| SqlError::Busy(self.limits.queries))?;
        let runtime = self.runtime.as_ref().ok_or_else(|| SqlError::Internal("the engine has ended".into()))?;
        let query =
            Query { env: Arc::clone(&self.env), limits: self.limits.clone(), catalog, sql: sql.to_owned(), format };
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (pieces, receiver) = mpsc::channel(PIECES);
        let limit = self.limits.timeout;
        let deadline = Deadline { at: Instant::now() + limit, limit };
        runtime.spawn(async move {
            let _permit = permit;
            let mut begun = Some(begun);
            let ended = tokio::select! {
                ended = deadline.keep(query.run(&mut begun, &pieces)) => ended.and_then(|ended| ended),
                // Whoever asked is gone, and with it the query.
                () = pieces.closed() => return,
            };
            match (ended, begun.take()) {
                (Ok(()), _) => drop(pieces.send(Ok(None)).await),
                (Err(error), Some(begun)) => drop(begun.send(Err(error))),
                (Err(error), None) => drop(pieces.send(Err(error)).await),
            }
        });
        let scanned = deadline.keep(begins).await?.map_err(|_| died())??;
        Ok(Answer { scanned, pieces: receiver, deadline })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

type Begun = tokio::sync::oneshot::Sender<Result<Scanned, SqlError>>;
/// A piece of an answer; `None` is its end.
type Piece = Result<Option<Bytes>, SqlError>;
type Pieces = mpsc::Sender<Piece>;

struct Query {
    env: Arc<RuntimeEnv>,
    limits: Limits,
    catalog: Arc<dyn Catalog>,
    sql: String,
    format: Format,
}

impl Query {
    async fn run(&self, begun: &mut Option<Begun>, pieces: &Pieces) -> Result<(), SqlError> {
        let mut attempt = 1;
        let (mut batches, first, scanned) = loop {
            match self.begin().await {
                Err(SqlError::Source(SourceError::Stale(_))) if attempt < ATTEMPTS => attempt += 1,
                other => break other?,
            }
        };
        let mut writer = Writer::new(self.format, &batches.schema()).map_err(|error| self.failed(error))?;
        let mut next = first;
        while let Some(batch) = next {
            let batch = batch.map_err(|error| explained(&error, self.limits.memory))?;
            let written = writer.batch(&batch).map_err(|error| self.failed(error))?;
            if !self.give(written, scanned, begun, pieces).await {
                return Ok(());
            }
            next = batches.next().await;
        }
        let written = writer.finish().map_err(|error| self.failed(error))?;
        self.give(written, scanned, begun, pieces).await;
        Ok(())
    }

    /// Hands a piece over; says whether somebody still takes them.
    async fn give(&self, written: Vec<u8>, scanned: Scanned, begun: &mut Option<Begun>, pieces: &Pieces) -> bool {
        if let Some(begun) = begun.take()
            && begun.send(Ok(scanned)).is_err()
        {
            return false;
        }
        written.is_empty() || pieces.send(Ok(Some(written.into()))).await.is_ok()
    }

    /// Plans, and waits for the first batch.
    async fn begin(&self) -> Result<(SendableRecordBatchStream, Option<First>, Scanned), SqlError> {
        let explain = |error: DataFusionError| explained(&error, self.limits.memory);
        let counts = Arc::new(Counts::default());
        let context = self.context(&counts).await?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = context.sql_with_options(&self.sql, read_only).await.map_err(explain);
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err(self.nearest(error).await),
        };
        let mut batches = frame.execute_stream().await.map_err(explain)?;
        let first = match batches.next().await {
            Some(Err(error)) => return Err(explain(error)),
            other => other,
        };
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
        let scanned = Scanned {
            files: count(&counts.files),
            files_read: count(&counts.files_read),
            parts: count(&counts.parts),
            parts_read: count(&counts.parts_read),
        };
        Ok((batches, first, scanned))
    }

    async fn context(&self, counts: &Arc<Counts>) -> Result<SessionContext, SqlError> {
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(self.limits.threads.max(1))
            .with_default_catalog_and_schema(CATALOG.0, CATALOG.1)
            .with_create_default_catalog_and_schema(false);
        let parquet = &mut config.options_mut().execution.parquet;
        // Strings stay what the tables say that they are, and rows that a filter leaves out are not decoded.
        (parquet.schema_force_view_types, parquet.pushdown_filters) = (false, true);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.env));
        let listed = match self.lists_tables(&context)? {
            true => self.catalog.names().await?,
            false => Vec::new(),
        };
        let names = Names::new(Arc::clone(&self.catalog), listed, Arc::clone(counts));
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(CATALOG.1, Arc::new(names)).map_err(|error| explained(&error, self.limits.memory))?;
        context.register_catalog(CATALOG.0, Arc::new(catalog));
        Ok(context)
    }

    /// Whether the query asks which tables there are.
    fn lists_tables(&self, context: &SessionContext) -> Result<bool, SqlError> {
        let explain = |error: DataFusionError| explained(&error, self.limits.memory);
        let state = context.state();
        let dialect = state.config_options().sql_parser.dialect;
        let statement = state.sql_to_statement(&self.sql, &dialect).map_err(explain)?;
        if let Statement::Statement(statement) = &statement
            && statement.to_string().to_ascii_lowercase().starts_with("show ")
        {
            return Ok(true);
        }
        let references = state.resolve_table_references(&statement).map_err(explain)?;
        Ok(references.iter().any(|table| table.schema() == Some("information_schema")))
    }

    /// An error, with the table that was meant when it is about one that there is not.
    async fn nearest(&self, error: SqlError) -> SqlError {
        let SqlError::Query(reason) = &error else { return error };
        let prefix = format!("{}.{}.", CATALOG.0, CATALOG.1);
        let Some(name) = reason.split(prefix.as_str()).nth(1).and_then(|rest| rest.split('\'').next()) else {
            return error;
        };
        let Ok(mut names) = self.catalog.names().await else { return error };
        let score = |known: &str| strsim::normalized_damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
        names.sort_by(|a, b| score(b).total_cmp(&score(a)));
        let quoted: Vec<_> = names.iter().take(8).map(|name| quoted(name)).collect();
        let more = if names.len() > quoted.len() { ", …; SHOW TABLES lists all" } else { "" };
        SqlError::Query(format!(
            "there is no table {name:?}: each log is one, as are _agents and _receipts. Here: {}{more}",
            quoted.join(", ")
        ))
    }

    fn failed(&self, error: datafusion::arrow::error::ArrowError) -> SqlError {
        SqlError::Internal(error.to_string())
    }
}

type First = Result<datafusion::arrow::array::RecordBatch, DataFusionError>;

fn died() -> SqlError {
    SqlError::Internal("the query's thread ended without a word; the log says why".into())
}

fn url(text: &str) -> Result<datafusion::execution::object_store::ObjectStoreUrl, DataFusionError> {
    datafusion::execution::object_store::ObjectStoreUrl::parse(text)
}

/// A name as a query must write it.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
