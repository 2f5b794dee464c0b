//! What is in no file yet, as DataFusion reads it.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::border;
use crate::catalog::{Source, Wanted};

/// Parts that one thread has open at once, so that a source that takes its time is asked for several.
const OPEN: usize = 16;

/// Parts that are read as one partition of a plan.
pub(crate) struct Parts {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) schema: SchemaRef,
    pub(crate) indexes: Vec<usize>,
    pub(crate) wanted: Wanted,
}

impl PartitionStream for Parts {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (source, wanted) = (Arc::clone(&self.source), self.wanted);
        let parts = stream::iter(self.indexes.clone()).map(move |index| source.part(index, wanted));
        let schema = Arc::clone(&self.schema);
        let batches = parts.flatten_unordered(OPEN).map_err(border::external).and_then(move |bytes| {
            let batches = border::batches(&bytes, &schema);
            async move { batches.map(|batches| stream::iter(batches).map(Result::Ok)) }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches.try_flatten()))
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Wanted { from, to, limit } = self.wanted;
        write!(out, "fresh: {} parts, from={from:?}, to={to:?}, limit={limit:?}", self.indexes.len())
    }
}
