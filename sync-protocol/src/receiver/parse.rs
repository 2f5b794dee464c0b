//! A batch taken apart: checked as a whole before anything of it is committed.

use crate::frame::{BatchHead, FrameError, Frames, Kind, LogHead, Receipt, SegmentFrame, SegmentMeta, read_schema};
use crate::ids::{ChainHash, Fingerprint};
use crate::limits::{MAX_FRAMES, MAX_LOGS};
use crate::wire::WireError;
use alloc::vec::Vec;
use core::ops::Range;

/// A batch's frames as ranges of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ParsedBatch {
    pub(super) head: BatchHead,
    pub(super) schemas: Vec<(Fingerprint, Range<usize>)>,
    pub(super) sections: Vec<Section>,
}

/// What a batch holds of one log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Section {
    pub(super) log: LogHead,
    pub(super) pieces: Vec<Piece>,
}

/// A frame that moves the cursor of its log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) content: PieceContent,
    /// The whole frame.
    pub(super) raw: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PieceContent {
    Segment { meta: SegmentMeta, hash: ChainHash, body: Range<usize> },
    Receipt(Receipt),
}

impl Piece {
    pub(super) fn from(&self) -> u64 {
        match &self.content {
            PieceContent::Segment { meta, .. } => meta.base,
            PieceContent::Receipt(receipt) => receipt.from,
        }
    }

    pub(super) fn to(&self) -> u64 {
        match &self.content {
            PieceContent::Segment { meta, .. } => meta.end(),
            PieceContent::Receipt(receipt) => receipt.to,
        }
    }
}

/// Reads a whole batch.
pub(super) fn parse(bytes: &[u8]) -> Result<ParsedBatch, FrameError> {
    let range_of = |part: &[u8]| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + part.len()
    };
    let mut frames = Frames::new(bytes)?;
    let truncated = WireError::Truncated { what: "batch", at: bytes.len(), missing: 1 };
    let head = BatchHead::read(&frames.next_frame()?.ok_or(truncated)?)?;
    let mut batch = ParsedBatch { head, schemas: Vec::new(), sections: Vec::new() };
    let mut count = 1usize;
    while let Some(frame) = frames.next_frame()? {
        count += 1;
        if count > MAX_FRAMES {
            let (len, limit) = (count as u64, MAX_FRAMES as u64);
            return Err(WireError::TooLong { what: "frames of a batch", len, limit }.into());
        }
        let content = match frame.kind {
            Kind::Log if batch.sections.len() < MAX_LOGS => {
                batch.sections.push(Section { log: LogHead::read_frame(&frame)?, pieces: Vec::new() });
                continue;
            }
            Kind::Schema => {
                let (fingerprint, schema) = read_schema(&frame)?;
                batch.schemas.push((fingerprint, range_of(schema)));
                continue;
            }
            Kind::Segment => {
                let SegmentFrame { meta, hash, body } = SegmentFrame::read(&frame)?;
                PieceContent::Segment { meta, hash, body: range_of(body) }
            }
            Kind::Receipt => PieceContent::Receipt(Receipt::read(&frame)?),
            found => return Err(FrameError::Unexpected { found, expected: "a log, schema, segment or receipt" }),
        };
        let piece = Piece { content, raw: range_of(frame.raw) };
        let log_first = FrameError::Unexpected { found: frame.kind, expected: "a log frame" };
        let section = batch.sections.last_mut().ok_or(log_first)?;
        if piece.to() > section.log.head {
            return Err(WireError::Invalid { what: "a frame beyond its log's head", at: piece.raw.start }.into());
        }
        section.pieces.push(piece);
    }
    Ok(batch)
}
