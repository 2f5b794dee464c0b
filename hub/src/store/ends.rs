//! Where folders ended when they were last looked at: a hint that spares searching, never relied on.

use std::sync::{Mutex, PoisonError};

use object_store::path::Path;

use crate::recent::Recent;

/// Folders remembered at most; some 150 bytes each.
const CAPACITY: usize = 32_768;

/// The greatest numbers that were seen.
#[derive(Default)]
pub(super) struct Ends(Mutex<Recent<Box<str>, u64, CAPACITY>>);

impl Ends {
    pub(super) fn get(&self, folder: &Path) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(folder.as_ref()).copied()
    }

    pub(super) fn set(&self, folder: &Path, end: Option<u64>) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(end) => ends.put(folder.as_ref().into(), end),
            None => ends.remove(folder.as_ref()),
        }
    }
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Ends")
    }
}
