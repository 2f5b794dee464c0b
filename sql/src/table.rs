//! A table as DataFusion plans with it: the files and parts that a query can be about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::ObjectMeta;
use datafusion::object_store::path::Path;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;

use crate::border;
use crate::catalog::{DataFile, SourceError, Table, Wanted};
use crate::files::Files;
use crate::parts::Parts;
use crate::{prune, times};

/// Where files are said to be: nothing is read there, [`Files`] has its own ways.
pub(crate) const FILES_AT: &str = "lake://lake";

/// How much a query reads, over all its tables.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) files: AtomicUsize,
    pub(crate) files_read: AtomicUsize,
    pub(crate) parts: AtomicUsize,
    pub(crate) parts_read: AtomicUsize,
}

/// A table of a catalog.
#[derive(Debug)]
pub(crate) struct Provider {
    table: Table,
    in_files: SchemaRef,
    schema: SchemaRef,
    counts: Arc<Counts>,
}

impl Provider {
    pub(crate) fn new(table: Table, counts: Arc<Counts>) -> Result<Self> {
        let in_files = border::file_schema(&table)?;
        let schema = border::table_schema(&table, &in_files);
        Ok(Self { table, in_files, schema, counts })
    }

    fn files(
        &self,
        state: &dyn Session,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let kept = prune::kept(predicate, &self.schema, self.table.files.iter().map(|file| &file.bounds))?;
        let files: Vec<_> = self.table.files.iter().zip(kept).filter(|(_, kept)| *kept).map(|(file, _)| file).collect();
        self.counts.files.fetch_add(self.table.files.len(), Ordering::Relaxed);
        self.counts.files_read.fetch_add(files.len(), Ordering::Relaxed);
        if files.is_empty() {
            return Ok(None);
        }
        let by = if self.table.has_date { vec![Arc::new(border::date_field())] } else { Vec::new() };
        let schema = TableSchema::builder(Arc::clone(&self.in_files)).with_table_partition_cols(by).build();
        let mut source = ParquetSource::new(schema)
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(Files(Arc::clone(&self.table.source))));
        if let Some(predicate) = predicate {
            source = source.with_predicate(Arc::clone(predicate));
        }
        let files = files.into_iter().map(|file| self.partitioned(file)).collect::<Result<Vec<_>>>()?;
        let groups = spread(files.into_iter(), partitions(state));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(FILES_AT)?, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    fn partitioned(&self, file: &DataFile) -> Result<PartitionedFile> {
        let date = self.table.has_date.then_some(ScalarValue::Date32(file.bounds.date));
        let meta = ObjectMeta {
            location: Path::parse(&file.name)
                .map_err(|error| border::external(SourceError::Ours(error.to_string())))?,
            last_modified: Default::default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        Ok(PartitionedFile::new_from_meta(meta).with_partition_values(date.into_iter().collect()))
    }

    fn parts(
        &self,
        state: &dyn Session,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        projection: Option<&Vec<usize>>,
        wanted: Wanted,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let kept = prune::kept(predicate, &self.schema, self.table.parts.iter().map(|part| &part.bounds))?;
        let indexes: Vec<_> = kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(index, _)| index).collect();
        self.counts.parts.fetch_add(self.table.parts.len(), Ordering::Relaxed);
        self.counts.parts_read.fetch_add(indexes.len(), Ordering::Relaxed);
        if indexes.is_empty() {
            return Ok(None);
        }
        let partition = |indexes| -> Arc<dyn PartitionStream> {
            let (source, schema) = (Arc::clone(&self.table.source), Arc::clone(&self.schema));
            Arc::new(Parts { source, schema, indexes, wanted })
        };
        let partitions = spread(indexes.into_iter(), partitions(state)).into_iter().map(partition).collect();
        let limit = wanted.limit.and_then(|limit| usize::try_from(limit).ok());
        let schema = Arc::clone(&self.schema);
        Ok(Some(Arc::new(StreamingTableExec::try_new(schema, partitions, projection, [], false, limit)?)))
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters leave out what they can by bounds; each row that is left is looked at by DataFusion itself.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let (from, to) = times::range(filters);
        let wanted = Wanted { from, to, limit: limit.and_then(|limit| u64::try_from(limit).ok()) };
        let files = self.files(state, predicate.as_ref(), projection, limit)?;
        let parts = self.parts(state, predicate.as_ref(), projection, wanted)?;
        match (files, parts) {
            (Some(files), Some(parts)) => UnionExec::try_new(vec![files, parts]),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => {
                let schema = match projection {
                    Some(projection) => Arc::new(self.schema.project(projection)?),
                    None => Arc::clone(&self.schema),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
        }
    }
}

fn partitions(state: &dyn Session) -> usize {
    state.config().target_partitions().max(1)
}

/// Deals `all` out to at most `hands`, none of them empty.
fn spread<T>(all: impl Iterator<Item = T>, hands: usize) -> Vec<Vec<T>> {
    let mut dealt: Vec<Vec<T>> = (0..hands).map(|_| Vec::new()).collect();
    for (index, one) in all.enumerate() {
        dealt[index % hands].push(one);
    }
    dealt.retain(|hand| !hand.is_empty());
    dealt
}
