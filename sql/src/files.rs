//! The lake's files as DataFusion reads them: ranges of bytes, asked of the table's source.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::catalog::{Source, SourceError};

/// Bytes at a file's end that are read at once: its footer and page index, as a rule.
const TAIL: usize = 64 << 10;

/// Ranges of one file that are asked for at once.
const AT_ONCE: usize = 8;

/// Ranges with less than this between them are read as one.
const GAP: u64 = 256 << 10;

/// Opens a table's files.
pub(crate) struct Files(pub(crate) Arc<dyn Source>);

impl ParquetFileReaderFactory for Files {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let name: Arc<str> = file.object_meta.location.as_ref().into();
        Ok(Box::new(File { source: Arc::clone(&self.0), name, size: file.object_meta.size }))
    }
}

struct File {
    source: Arc<dyn Source>,
    name: Arc<str>,
    size: u64,
}

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let (source, name) = (Arc::clone(&self.source), Arc::clone(&self.name));
        async move { source.read(&name, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let (source, name) = (Arc::clone(&self.source), Arc::clone(&self.name));
        async move {
            let runs = merged(&ranges);
            let reads = runs.iter().cloned().map(|run| {
                let (source, name) = (Arc::clone(&source), Arc::clone(&name));
                async move { source.read(&name, run).await.map_err(external) }
            });
            let read: Vec<Bytes> = stream::iter(reads.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
            ranges.iter().map(|range| part_of(&runs, &read, range)).collect()
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new()
                .with_metadata_options(options.map(|options| options.metadata_options().clone()))
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(TAIL));
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}

/// Ranges that cover all of `ranges`, ascending.
fn merged(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(run) if range.start <= run.end.saturating_add(GAP) => run.end = run.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

fn part_of(runs: &[Range<u64>], read: &[Bytes], range: &Range<u64>) -> ParquetResult<Bytes> {
    let found = runs.iter().zip(read).find(|(run, _)| run.start <= range.start && range.end <= run.end);
    let within = found.and_then(|(run, bytes)| {
        let from = usize::try_from(range.start - run.start).ok()?;
        let to = usize::try_from(range.end - run.start).ok()?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    });
    within.ok_or_else(|| external(SourceError::Damaged("a file of the lake is shorter than it should be".into())))
}

fn external(error: SourceError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl std::fmt::Debug for Files {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Files")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_read_as_one_and_given_out_apart() {
        let ranges = [500_000..500_010, 0..10, 20..30];
        let runs = merged(&ranges);
        assert_eq!(runs, [0..30, 500_000..500_010]);
        let read = [Bytes::from_iter(0..30), Bytes::from_iter(100..110)];
        let parts: Vec<_> = ranges.iter().map(|range| part_of(&runs, &read, range).unwrap()).collect();
        assert_eq!((parts[0][0], parts[1][0], parts[2][0]), (100, 0, 20));
        assert!(part_of(&runs, &[Bytes::new(), Bytes::new()], &(0..10)).is_err());
    }
}
