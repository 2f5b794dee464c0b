//! Arrow IPC streams into a log, batch by batch.

use bytes::Bytes;
use http::StatusCode;

use super::Api;
use super::appender::Tally;
use super::error::ApiError;
use super::intake::Received;
use crate::ingest::decode::arrow_stream::{ArrowStream, Columns, Need, StreamError, StreamOptions};
use crate::ring::{AppendError, Appended, ColumnBatch, ColumnSlice, Reservation, Ring};

/// Stores a whole stream.
///
/// # Errors
/// 400 for a stream that cannot be read, 503 without memory. Batches before the fault are in the ring; the message says how
/// many records they were.
pub(super) async fn store(
    api: &Api,
    log: &str,
    options: StreamOptions,
    received: Received,
) -> Result<Tally, ApiError> {
    let (body, _held) = received.whole(&api.ring).await?;
    let mut stream = ArrowStream::new(body, options);
    let mut dictionaries = Vec::new();
    let mut tally = Tally::default();
    loop {
        let mut batch: Option<Reservation> = None;
        let mut room = |need: Need| match need {
            Need::Batch(bytes) => api.ring.reserve(bytes).map(|held| batch = Some(held)).is_ok(),
            Need::Dictionary(bytes) => api.ring.reserve(bytes).map(|held| dictionaries.push(held)).is_ok(),
        };
        let now = api.clock.now();
        match stream.next_batch(now.unix_ns, &mut room) {
            Ok(Some(columns)) => append(api, log, &columns, &mut tally)?,
            Ok(None) => break,
            Err(error) => return Err(refusal(api, log, &error, tally.stored)),
        }
        // The memory of a batch is given back with it.
        drop(batch);
        tokio::task::yield_now().await;
    }
    tally.checked()
}

fn append(api: &Api, log: &str, columns: &Columns, tally: &mut Tally) -> Result<(), ApiError> {
    let slices: Vec<_> =
        columns.columns.iter().map(|(name, array)| (name.as_str(), ColumnSlice::Array(array))).collect();
    let batch = ColumnBatch { times: &columns.times, columns: &slices };
    match api.ring.append_columns(log, &batch, api.clock.now()) {
        Ok(done) => {
            tally.stored += done.rows;
            tally.refused += done.rejected + done.rejected_cells;
            Ok(())
        }
        Err(AppendError::Full { done }) => {
            let rows = tally.stored + done.rows;
            Err(AppendError::Full { done: Appended { rows, ..done } }.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn refusal(api: &Api, log: &str, error: &StreamError, stored: u64) -> ApiError {
    let message = format!("{error}; {stored} records before it were stored");
    match error {
        StreamError::NoMemory { .. } => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message),
        StreamError::Truncated { .. } | StreamError::Invalid { .. } | StreamError::Unsupported { .. } => {
            api.counters.bad_lines(1);
            // Half a stream of columns is of use to nobody; that it came is.
            api.ring.reject(log, &error.to_string(), &[], api.clock.now());
            ApiError::bad(message)
        }
    }
}

impl Received {
    /// The unpacked body in one piece, with the memory that it takes.
    async fn whole(self, ring: &Ring) -> Result<(Bytes, Reservation), ApiError> {
        // Measured first, so that it is charged before it is allocated, once.
        let size = self.unpacked_len(ring).await?;
        let held = ring.reserve(size)?;
        let mut whole = Vec::new();
        whole.reserve_exact(size as usize);
        self.pieces(ring, |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        Ok((whole.into(), held))
    }
}
