//! What every stored object ends with: a hash of its name and its bytes.
//!
//! ```text
//! object = bytes | first 8 bytes of BLAKE3(key context, length of name u64 little-endian, name, bytes)
//! ```
//! Formats inside have checksums of their own, but an object that is sound in itself may stand in the wrong place: entries do not
//! say of which log they are, and empty marks say nothing at all.

use bytes::Bytes;

/// Bytes that a seal adds.
pub(super) const LEN: usize = 8;

const CONTEXT: &str = "pyralog.org 2026-11 stored object v1";

/// `bytes` with their seal.
pub(super) fn put(name: &str, bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + LEN);
    out.extend_from_slice(bytes);
    out.extend_from_slice(&hash(name, bytes));
    out.into()
}

/// The bytes that were sealed under `name`; or what is wrong.
pub(super) fn open(name: &str, mut object: Bytes) -> Result<Bytes, &'static str> {
    let Some(len) = object.len().checked_sub(LEN) else { return Err("it was cut off, and ends before its seal") };
    let seal = object.split_off(len);
    match *seal == hash(name, &object) {
        true => Ok(object),
        false => Err("its seal does not match: bytes were changed, or it belongs elsewhere"),
    }
}

fn hash(name: &str, bytes: &[u8]) -> [u8; LEN] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(bytes);
    let mut seal = [0; LEN];
    seal.copy_from_slice(&hasher.finalize().as_bytes()[..LEN]);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_object_comes_back_under_its_name_alone_and_survives_no_damage() {
        for bytes in [&b""[..], b"x", b"some bytes"] {
            let sealed = put("agents/a", bytes);
            assert_eq!(open("agents/a", sealed.clone()).unwrap(), bytes);
            assert!(open("agents/b", sealed.clone()).is_err());
            assert!((0..sealed.len()).all(|cut| open("agents/a", sealed.slice(..cut)).is_err()));
            for at in 0..sealed.len() {
                let mut damaged = sealed.to_vec();
                damaged[at] ^= 1;
                assert!(open("agents/a", damaged.into()).is_err());
            }
        }
    }

    #[test]
    fn the_bytes_of_a_seal_are_these() {
        let sealed = put("agents/a/closed/0000000001", b"");
        assert_eq!(*sealed, *b"\x98\xd4S3;rV$");
    }
}
