//! Packing: off the lock, in order, one segment at a time.

use std::sync::Arc;

use bytes::Bytes;
use pyralog_segment::{Encoding, encode, scratch_bytes};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::SegmentMeta;
use pyralog_sync_protocol::{ChainHash, Fingerprint};

use super::budget::{Budget, Reservation};
use super::loss::LossReason;
use super::open::SEGMENT_BYTES;
use super::ring::Ring;
use super::segment::{Body, Charged, Sealed};
use super::state::State;

/// What the packer keeps between segments: the buffer that it packs into.
#[derive(Debug)]
pub(super) struct Packer {
    out: Vec<u8>,
    held: Reservation,
}

impl Packer {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { out: Vec::new(), held: budget.force(0) }
    }
}

/// A sealed segment on its way through the packer.
struct Job {
    at: usize,
    seq: u64,
    /// What is said of it beside its bytes, all of which the chain covers.
    meta: SegmentMeta,
    /// The log's chain before the segment. It stays: segments of a log are packed one after the other.
    chain: [u8; 16],
    sealed: Arc<Sealed>,
    scratch: Reservation,
    encoding: Encoding,
}

impl Ring {
    /// Whether segments wait to be packed, and how often the packer was through with one: it lives when the latter grows while the
    /// former holds.
    pub fn packing(&self) -> (bool, u64) {
        let state = self.shared.state.lock();
        (state.packing.is_some() || !state.unpacked.is_empty(), state.totals.packings_ended)
    }

    /// Packs the oldest sealed segment and puts the bytes in its place; false when none waits. Several callers take turns.
    pub fn pack_next(&self) -> bool {
        let mut packer = self.shared.packer.lock();
        let Some(mut job) = self.shared.state.lock().next_job() else { return false };
        let Packer { out, held } = &mut *packer;
        out.clear();
        let encoded = match job.sealed.batch() {
            Some(batch) => encode(batch, job.encoding, out).map_err(|error| error.to_string()),
            None => Err("its builders are broken".to_owned()),
        };
        held.force_to(out.capacity() as u64);
        if let Err(error) = encoded {
            tracing::error!(base = job.meta.base, error, "a segment cannot be packed and is given up");
            let dropped = self.shared.state.lock().give_up(&job);
            drop(dropped);
            return true;
        }
        let hash = link(ChainHash(job.chain), &job.meta, out).0;
        let charge = (out.len() + SEGMENT_BYTES) as u64;
        let mut held = job.scratch.split(charge);
        held.force_to(charge);
        let bytes = Bytes::from_owner(Charged { bytes: out.as_slice().into(), _held: held });
        let body = Body::Packed { bytes, before: job.chain, hash, encoding: job.encoding };
        let (replaced, pending) = self.shared.state.lock().install(&job, body, hash, charge);
        // What was replaced is freed here, off the lock.
        drop((replaced, job));
        self.shared.events.note_pending(pending);
        true
    }
}

impl State {
    /// The next sealed segment, with memory charged for packing it: beyond the cap if need be, since packing frees more.
    fn next_job(&mut self) -> Option<Job> {
        loop {
            let (seq, at) = self.unpacked.pop_front()?;
            let at = at as usize;
            let Some(index) = self.segment_index(at, seq) else { continue };
            let (log, encoding) = (&self.logs[at], self.config.encoding);
            let segment = &log.segments[index];
            let Body::Sealed(sealed) = &segment.body else { continue };
            let (sealed, chain) = (Arc::clone(sealed), log.chain);
            let meta = SegmentMeta {
                base: segment.base,
                rows: segment.rows,
                min_time: segment.min_time,
                max_time: segment.max_time,
                encoding: encoding as u8,
                schema: Fingerprint(segment.schema.fingerprint),
            };
            // The buffer that it packs into, and the bytes cut to size, are smaller together than this.
            // Scratch that does not grow with the data is the process's own, as one segment is packed at a time.
            let schema = &segment.schema.schema;
            let grows = scratch_bytes(segment.rows as usize, schema).saturating_sub(scratch_bytes(0, schema));
            let bytes = grows as u64 + u64::from(segment.raw_bytes);
            let scratch = self.reserve(bytes).unwrap_or_else(|_| self.budget.force(bytes));
            self.packing = Some((seq, at as u32));
            return Some(Job { at, seq, meta, chain, sealed, scratch, encoding });
        }
    }

    /// Puts packed bytes in the place of the sealed segment; gives back what is to be dropped, and the pending packed bytes.
    fn install(&mut self, job: &Job, body: Body, hash: [u8; 16], charge: u64) -> (Option<Body>, u64) {
        self.end_packing();
        let Some(index) = self.segment_index(job.at, job.seq) else {
            // Evicted meanwhile: nobody saw these bytes, so the chain goes on without them.
            return (Some(body), self.pending_packed);
        };
        let packed = match &body {
            Body::Packed { bytes, .. } => bytes.len() as u64,
            Body::Sealed(_) => 0,
        };
        let log = &mut self.logs[job.at];
        log.chain = hash;
        let segment = &mut log.segments[index];
        self.evictable = self.evictable - u64::from(segment.charge) + charge;
        segment.charge = charge as u32;
        self.totals.packed_segments += 1;
        self.totals.packed_bytes += packed;
        self.totals.raw_bytes_packed += u64::from(segment.raw_bytes);
        let replaced = std::mem::replace(&mut segment.body, body);
        if !self.committed.contains(&(job.seq, job.at as u32)) {
            self.pending_packed += packed;
        }
        (Some(replaced), self.pending_packed)
    }

    fn end_packing(&mut self) {
        self.packing = None;
        self.totals.packings_ended += 1;
    }

    /// Drops a segment that cannot be packed.
    fn give_up(&mut self, job: &Job) -> Option<super::segment::Segment> {
        self.end_packing();
        let index = self.segment_index(job.at, job.seq)?;
        self.drop_segment(job.at, index, LossReason::Corrupt)
    }
}
