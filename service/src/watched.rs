//! Files that may change while a service runs: read again when they do, and kept as they were when the new ones are no good.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often files are looked at when what they hold is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What some files hold, as far as they were good when they were read last.
pub struct Watched<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    value: Arc<T>,
    stamps: Vec<Option<Stamp>>,
    looked_at: Instant,
}

/// Changes with every write, and with every rename over the file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    length: u64,
}

impl<T> Watched<T> {
    /// Reads `files` by `read`, and keeps an eye on them; `what` names their content in logs.
    pub fn open<E: Display>(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the files are read: what is written meanwhile is then seen as a change.
        let stamps = stamps(&files);
        let known = Known { value: Arc::new(read()?), stamps, looked_at: Instant::now() };
        let read = Box::new(move || read().map_err(|error| error.to_string()));
        Ok(Self { what, files, read, known: Mutex::new(known) })
    }

    /// What the files hold; they are looked at every few seconds.
    pub fn get(&self) -> Arc<T> {
        let mut known = self.known.lock();
        if known.looked_at.elapsed() >= LOOK_EVERY {
            self.refresh(&mut known);
        }
        Arc::clone(&known.value)
    }

    /// Looks at the files now.
    pub fn look(&self) {
        self.refresh(&mut self.known.lock());
    }

    fn refresh(&self, known: &mut Known<T>) {
        known.looked_at = Instant::now();
        let stamps = stamps(&self.files);
        if stamps == known.stamps {
            return;
        }
        match (self.read)() {
            Ok(value) => {
                known.value = Arc::new(value);
                tracing::info!("{} read again: its files have changed", self.what);
            }
            // Nobody is locked out, or let in, by a typing mistake.
            Err(error) => tracing::error!("keeping the {} from before: {error}", self.what),
        }
        known.stamps = stamps;
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("what", &self.what).field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(file).ok()?;
    Some(Stamp {
        modified: (of.mtime(), of.mtime_nsec()),
        changed: (of.ctime(), of.ctime_nsec()),
        inode: of.ino(),
        length: of.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &Path) -> Watched<u32> {
        let path = file.to_owned();
        let read = move || match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u32>().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Watched::open("number", vec![file.to_owned()], read).unwrap()
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_or_missing_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let watched = number(&file);
        let expect = |text: Option<&str>, number| {
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            watched.look();
            assert_eq!(*watched.get(), number, "{text:?}");
        };
        expect(Some("22"), 22);
        expect(Some("oops"), 22);
        expect(None, 22);
        expect(Some("333"), 333);
    }

    #[test]
    fn a_file_put_in_the_place_of_another_of_the_same_age_and_length_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("number"), folder.path().join("other"));
        std::fs::write(&file, "1").unwrap();
        let watched = number(&file);
        std::fs::write(&other, "2").unwrap();
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&other, &file).unwrap();
        watched.look();
        assert_eq!(*watched.get(), 2);
    }
}
