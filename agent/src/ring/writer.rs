//! The in-process door for single records of fixed columns.

use pyralog_segment::ColumnType;
use thiserror::Error;

use super::append::AppendError;
use super::batch::{ColumnBatch, ColumnSlice};
use super::config::Now;
use super::ring::Ring;
use crate::records::Value;

/// Appends records of one log whose columns are fixed.
///
/// It stages a few rows and hands them to the ring together. A record counts as accepted when the ring has it: after
/// [`Self::flush`], or when the stage is full. Dropping a writer flushes it.
#[derive(Debug)]
pub struct Writer {
    ring: Ring,
    log: String,
    names: Vec<String>,
    times: Vec<i64>,
    columns: Vec<Stage>,
    /// The time of the last call, for a flush on drop.
    now: Now,
}

#[derive(Debug)]
enum Stage {
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
}

/// Why a writer does not take something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriterError {
    /// The ring refused the staged rows; they stay staged, and the record at hand was not taken.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The values are not those of the writer's columns.
    #[error("value {column} has another type than its column, or is missing; give one value a column, in order")]
    Row {
        /// Index of the column.
        column: usize,
    },
    /// A column of texts or tags was asked for.
    #[error("column {column} is not of a fixed width; append texts and tags as records")]
    Type {
        /// Index of the column.
        column: usize,
    },
}

/// Rows staged at most: enough to share the lock among many, few enough to stay in the nearest cache.
const STAGED: usize = 128;

impl Writer {
    pub(super) fn new(ring: Ring, log: &str, columns: &[(&str, ColumnType)]) -> Result<Self, WriterError> {
        let stage = |(column, (_, ty)): (usize, &(&str, ColumnType))| match ty {
            ColumnType::F64 => Ok(Stage::F64(Vec::with_capacity(STAGED))),
            ColumnType::I64 => Ok(Stage::I64(Vec::with_capacity(STAGED))),
            ColumnType::U64 => Ok(Stage::U64(Vec::with_capacity(STAGED))),
            ColumnType::Bool => Ok(Stage::Bool(Vec::with_capacity(STAGED))),
            ColumnType::Tag | ColumnType::Utf8 | ColumnType::Binary => Err(WriterError::Type { column }),
        };
        Ok(Self {
            ring,
            log: log.to_owned(),
            names: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            times: Vec::with_capacity(STAGED),
            columns: columns.iter().enumerate().map(stage).collect::<Result<_, _>>()?,
            now: Now::default(),
        })
    }

    /// Adds a record: one value a column, in order. On an error the record is not taken.
    #[inline]
    pub fn push(&mut self, time: i64, row: &[Value<'_>], now: Now) -> Result<(), WriterError> {
        if self.times.len() >= STAGED {
            self.flush(now)?;
        }
        if row.len() != self.columns.len() {
            return Err(WriterError::Row { column: row.len().min(self.columns.len()) });
        }
        for (column, (stage, value)) in self.columns.iter_mut().zip(row).enumerate() {
            match (stage, value) {
                (Stage::F64(v), Value::F64(x)) => v.push(*x),
                (Stage::I64(v), Value::I64(x)) => v.push(*x),
                (Stage::U64(v), Value::U64(x)) => v.push(*x),
                (Stage::Bool(v), Value::Bool(x)) => v.push(*x),
                _ => return self.take_back(column),
            }
        }
        self.times.push(time);
        self.now = now;
        Ok(())
    }

    /// Hands the staged records to the ring. On an error, those that it did not take stay staged.
    pub fn flush(&mut self, now: Now) -> Result<(), WriterError> {
        if self.times.is_empty() {
            return Ok(());
        }
        let slices = self.names.iter().map(String::as_str).zip(self.columns.iter().map(Stage::slice));
        let columns: Vec<_> = slices.collect();
        let batch = ColumnBatch { times: &self.times, columns: &columns };
        let appended = self.ring.append_columns(&self.log, &batch, now);
        let taken = match &appended {
            Ok(_) => self.times.len(),
            Err(AppendError::Full { done }) => (done.rows + done.rejected) as usize,
            Err(AppendError::Shape { .. }) => 0,
        };
        self.times.drain(..taken);
        self.columns.iter_mut().for_each(|stage| stage.drain(taken));
        Ok(appended.map(|_| ())?)
    }

    /// Removes what the unfinished row put into the columns before `column`.
    #[cold]
    fn take_back(&mut self, column: usize) -> Result<(), WriterError> {
        let rows = self.times.len();
        self.columns.iter_mut().for_each(|stage| stage.truncate(rows));
        Err(WriterError::Row { column })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let staged = self.times.len();
        if let Err(error) = self.flush(self.now) {
            tracing::warn!(log = self.log, staged, %error, "a writer was dropped with records that the ring did not take");
        }
    }
}

impl Stage {
    fn slice(&self) -> ColumnSlice<'_> {
        match self {
            Self::F64(v) => ColumnSlice::F64(v),
            Self::I64(v) => ColumnSlice::I64(v),
            Self::U64(v) => ColumnSlice::U64(v),
            Self::Bool(v) => ColumnSlice::Bool(v),
        }
    }

    fn drain(&mut self, rows: usize) {
        match self {
            Self::F64(v) => drop(v.drain(..rows)),
            Self::I64(v) => drop(v.drain(..rows)),
            Self::U64(v) => drop(v.drain(..rows)),
            Self::Bool(v) => drop(v.drain(..rows)),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::F64(v) => v.truncate(rows),
            Self::I64(v) => v.truncate(rows),
            Self::U64(v) => v.truncate(rows),
            Self::Bool(v) => v.truncate(rows),
        }
    }
}
