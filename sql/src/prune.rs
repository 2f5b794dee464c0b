//! Which files and parts a query can be about at all, by their bounds.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::border::DATE;
use crate::catalog::Bounds;

/// For each of `bounds` whether a row within them may fulfil the predicate.
pub(crate) fn kept<'a>(
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    schema: &SchemaRef,
    bounds: impl Iterator<Item = &'a Bounds>,
) -> Result<Vec<bool>> {
    let all = Containers(bounds.collect());
    match predicate {
        Some(predicate) if !all.0.is_empty() => {
            let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
            builder.try_build(Arc::clone(predicate))?.prune(&all)
        }
        _ => Ok(vec![true; all.0.len()]),
    }
}

struct Containers<'a>(Vec<&'a Bounds>);

#[derive(Clone, Copy)]
enum End {
    Least,
    Most,
}

impl End {
    fn of<T: Clone>(self, bounds: Option<&(T, T)>) -> Option<T> {
        bounds.map(|(least, most)| match self {
            Self::Least => least.clone(),
            Self::Most => most.clone(),
        })
    }
}

impl Containers<'_> {
    fn values(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let all = self.0.iter();
        Some(match column.name() {
            "agent" => Arc::new(all.map(|bounds| end.of(bounds.agent.as_ref())).collect::<StringArray>()),
            "log" => Arc::new(all.map(|bounds| end.of(bounds.log.as_ref())).collect::<StringArray>()),
            "epoch" => Arc::new(all.map(|bounds| end.of(bounds.epoch.as_ref())).collect::<Int64Array>()),
            "offset" => Arc::new(all.map(|bounds| end.of(bounds.offset.as_ref())).collect::<Int64Array>()),
            "time" => {
                let times = all.map(|bounds| end.of(bounds.time.as_ref())).collect::<TimestampMicrosecondArray>();
                Arc::new(times.with_timezone("UTC"))
            }
            DATE => Arc::new(all.map(|bounds| bounds.date).collect::<Date32Array>()),
            _ => return None,
        })
    }
}

impl PruningStatistics for Containers<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, End::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, End::Most)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
