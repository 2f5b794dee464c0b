//! Why a query has no answer.

use std::time::Duration;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::parquet::errors::ParquetError;

use crate::catalog::SourceError;

/// Why a query has no answer, or not all of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SqlError {
    /// The query's own fault: syntax, an unknown name, a value that does not fit.
    #[error("{0}")]
    Query(String),
    /// As many queries are under way as may be.
    #[error("{0} queries are under way, as many as may be at once; try again soon")]
    Busy(usize),
    /// It needs more memory than all queries together may have, in bytes.
    #[error(
        "the query needs more memory than queries may have ({} MiB): narrow it by time or agent, or aggregate before sorting or joining",
        .0 >> 20
    )]
    Memory(usize),
    /// It took longer than queries may.
    #[error("the query took longer than {} s: narrow it by time or agent", .0.as_secs_f64())]
    Time(Duration),
    /// What it is about cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Our fault, or DataFusion's.
    #[error("the query met a bug: {0}; please report it")]
    Internal(String),
}

/// What became of an error of a source on its way through DataFusion, if it was one.
fn of_source(error: &DataFusionError) -> Option<SourceError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    // The chain is as deep as operators are nested.
    for _ in 0..1_000 {
        let error = next?;
        if let Some(found) = error.downcast_ref::<SourceError>() {
            return Some(found.clone());
        }
        next = match (error.downcast_ref::<DataFusionError>(), error.downcast_ref::<ParquetError>()) {
            (Some(DataFusionError::External(inner)), _) => Some(inner.as_ref()),
            (Some(DataFusionError::Shared(inner)), _) => Some(inner.as_ref()),
            (Some(DataFusionError::ArrowError(inner, _)), _) => match inner.as_ref() {
                ArrowError::ExternalError(inner) => Some(inner.as_ref()),
                other => Some(other),
            },
            (Some(DataFusionError::ParquetError(inner)), _) => Some(inner.as_ref()),
            (_, Some(ParquetError::External(inner))) => Some(inner.as_ref()),
            _ => error.source(),
        };
    }
    None
}

/// What went wrong, for whoever asked.
pub(crate) fn explained(error: &DataFusionError, memory: usize) -> SqlError {
    if let Some(error) = of_source(error) {
        return SqlError::Source(error);
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => SqlError::Memory(memory),
        DataFusionError::Internal(reason) => SqlError::Internal(reason.clone()),
        DataFusionError::ExecutionJoin(error) => SqlError::Internal(error.to_string()),
        DataFusionError::SchemaError(field, _) if matches!(**field, SchemaError::FieldNotFound { .. }) => {
            SqlError::Query(format!("{field} Names with capitals or signs need double quotes."))
        }
        root => SqlError::Query(root.strip_backtrace()),
    }
}
