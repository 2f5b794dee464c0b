//! Request bodies: received whole under a limit and within the ring's budget, so that a body that breaks off, or whose
//! packing is damaged, stores nothing.

use std::time::Duration;

use axum::body::Body;
use bytes::Buf;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::Api;
use super::error::ApiError;
use crate::ingest::body::{BodyError, Coding, Unpacker};
use crate::ring::{Reservation, Ring};

/// Blocks grow with the body, so that a small one costs little and a large one few reservations.
const FIRST_BLOCK: usize = 4 << 10;
const LARGEST_BLOCK: usize = 64 << 10;

/// A received body, still packed. Its bytes are charged to the ring's budget until it is dropped.
pub(super) struct Received {
    blocks: Vec<Vec<u8>>,
    held: Vec<Reservation>,
    len: u64,
    coding: Coding,
    limit: u64,
}

impl Received {
    /// Receives the body of a request.
    ///
    /// # Errors
    /// 413 over the limit, 408 when it pauses for too long, 503 when the budget has no room, 400 when it breaks off.
    pub(super) async fn of(api: &Api, headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let coding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
        let coding = Coding::from_header(coding).map_err(|error| unpack_error(&error))?;
        let limit = api.limits.max_body;
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|len| len > limit) {
            return Err(ApiError::too_large(limit));
        }
        let mut received = Self { blocks: Vec::new(), held: Vec::new(), len: 0, coding, limit };
        received.receive(&api.ring, body, api.limits.body_timeout).await?;
        api.counters.body(received.len as usize);
        Ok(received)
    }

    async fn receive(&mut self, ring: &Ring, mut body: Body, patience: Duration) -> Result<(), ApiError> {
        loop {
            let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| {
                let waited = crate::config::format_duration(patience);
                ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("the body paused for {waited} (http.body_timeout)"))
            })?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| ApiError::bad(format!("the body broke off: {error}")))?;
            let Ok(mut data) = frame.into_data() else { continue };
            self.len += data.len() as u64;
            if self.len > self.limit {
                return Err(ApiError::too_large(self.limit));
            }
            while data.has_remaining() {
                self.copy(ring, &mut data)?;
            }
        }
    }

    /// Copies what fits the last block. Copied, since a slice of hyper's buffer would keep all of it alive.
    fn copy(&mut self, ring: &Ring, data: &mut impl Buf) -> Result<(), ApiError> {
        if self.blocks.last().is_none_or(|block| block.len() == block.capacity()) {
            let size = self.blocks.last().map_or(FIRST_BLOCK, |last| (last.capacity() * 4).min(LARGEST_BLOCK));
            self.held.push(ring.reserve(size as u64)?);
            self.blocks.push(Vec::with_capacity(size));
        }
        let Some(block) = self.blocks.last_mut() else { return Ok(()) };
        let taken = data.remaining().min(block.capacity() - block.len());
        block.extend_from_slice(data.copy_to_bytes(taken).as_ref());
        Ok(())
    }

    /// Hands the unpacked body to `take`, piece by piece, and gives up the thread now and then. A packed body is unpacked
    /// once before, so that nothing is taken from a damaged one.
    ///
    /// # Errors
    /// 400 for a damaged body, 413 for one over the limit once unpacked, and what `take` says.
    pub(super) async fn pieces(
        self,
        ring: &Ring,
        mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let _held = ring.reserve(self.coding.memory())?;
        if self.coding != Coding::Identity {
            self.run(|_| Ok(())).await?;
        }
        self.run(&mut take).await
    }

    /// Length of the body once it is unpacked.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub(super) async fn unpacked_len(&self, ring: &Ring) -> Result<u64, ApiError> {
        if self.coding == Coding::Identity {
            return Ok(self.len);
        }
        let _held = ring.reserve(self.coding.memory())?;
        let mut len = 0;
        self.run(|piece| {
            len += piece.len() as u64;
            Ok(())
        })
        .await?;
        Ok(len)
    }

    async fn run(&self, mut take: impl FnMut(&[u8]) -> Result<(), ApiError>) -> Result<(), ApiError> {
        let mut unpacker = Unpacker::new(self.coding, self.limit).map_err(|error| unpack_error(&error))?;
        let mut result = Ok(());
        let mut pass = |piece: &[u8]| {
            if result.is_ok() {
                result = take(piece);
            }
        };
        for block in &self.blocks {
            unpacker.feed(block, &mut pass).map_err(|error| unpack_error(&error))?;
            tokio::task::yield_now().await;
        }
        unpacker.finish(&mut pass).map_err(|error| unpack_error(&error))?;
        result
    }
}

fn unpack_error(error: &BodyError) -> ApiError {
    match error {
        BodyError::Unknown(_) => ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()),
        BodyError::TooLarge { limit } => ApiError::too_large(*limit),
        BodyError::Truncated(_) | BodyError::Corrupt { .. } => {
            ApiError::bad(format!("{error}; nothing of it was stored"))
        }
    }
}
