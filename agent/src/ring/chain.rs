//! The one place where the ring links segments into a log's BLAKE3 chain.

/// Links a segment to the chain of its log: the value after it, from the value `prev` before it.
pub(super) fn link(prev: [u8; 16], base: u64, rows: u32, body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev);
    hasher.update(&base.to_le_bytes());
    hasher.update(&rows.to_le_bytes());
    hasher.update(body);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}
