//! The hash chain that makes a stored log tamper-evident.
//!
//! Each segment's hash covers the hash before it, every field of its header that outlives the batch, and its body; so a
//! log whose last hash is known cannot be changed, reordered or shortened in the middle unnoticed. A receipt carries the hash of the last
//! segment that it stands for, from which the chain runs on.

use crate::frame::SegmentMeta;
use crate::ids::ChainHash;

/// BLAKE3 key derivation context: hashes of other uses can never be passed off as links.
const CONTEXT: &str = "pyralog.org 2026-11 segment chain v1";

/// The hash of a segment whose predecessor in the log has the hash `previous`.
pub fn link(previous: ChainHash, meta: &SegmentMeta, body: &[u8]) -> ChainHash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&previous.0);
    hasher.update(&meta.base.to_le_bytes());
    hasher.update(&meta.rows.to_le_bytes());
    hasher.update(&meta.min_time.to_le_bytes());
    hasher.update(&meta.max_time.to_le_bytes());
    hasher.update(&[meta.encoding]);
    hasher.update(&meta.schema.0);
    hasher.update(body);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    ChainHash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Fingerprint;

    #[test]
    fn every_input_changes_the_link() {
        let meta = SegmentMeta { base: 3, rows: 2, min_time: 1, max_time: 9, encoding: 1, schema: Fingerprint([1; 8]) };
        let same = link(ChainHash([0; 16]), &meta, b"body");
        assert_eq!(same, link(ChainHash([0; 16]), &meta, b"body"));
        let others = [
            link(ChainHash([1; 16]), &meta, b"body"),
            link(ChainHash([0; 16]), &meta, b"bodz"),
            link(ChainHash([0; 16]), &SegmentMeta { base: 4, ..meta }, b"body"),
            link(ChainHash([0; 16]), &SegmentMeta { rows: 3, ..meta }, b"body"),
            link(ChainHash([0; 16]), &SegmentMeta { min_time: 0, ..meta }, b"body"),
            link(ChainHash([0; 16]), &SegmentMeta { max_time: 8, ..meta }, b"body"),
            link(ChainHash([0; 16]), &SegmentMeta { encoding: 2, ..meta }, b"body"),
            link(ChainHash([0; 16]), &SegmentMeta { schema: Fingerprint([2; 8]), ..meta }, b"body"),
        ];
        assert!(others.iter().all(|other| *other != same));
    }
}
