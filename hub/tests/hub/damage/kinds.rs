//! What can happen to an object at rest, and undoing it.

use std::path::Path;

use super::store::kind;

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// One bit of this byte is another.
    Flip(usize, u8),
    /// Only so many bytes are left.
    Truncate(usize),
    /// So many bytes were added.
    Append(usize),
    /// It is gone.
    Delete,
    /// It holds what the object of this name holds.
    Replace(String),
    /// It and the object of this name changed places.
    Swap(String),
    /// A folder is in its place.
    Folder,
    /// It cannot be read: whoever opens it gets an error of the system. (A link to itself; permissions do not bind root.)
    Unreadable,
}

/// Numbers that look random and are the same in every run.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Damages of the object `name`, `flips` of them flips.
pub fn damages(store: &Path, names: &[String], name: &str, flips: usize, random: &mut Seeded) -> Vec<Damage> {
    let len = std::fs::metadata(store.join(name)).unwrap().len() as usize;
    let mut found = vec![Damage::Delete, Damage::Append(1), Damage::Append(100), Damage::Folder, Damage::Unreadable];
    let mut cuts = vec![0, 1, len / 2, len.saturating_sub(9), len.saturating_sub(1)];
    cuts.retain(|cut| *cut < len);
    cuts.dedup();
    found.extend(cuts.into_iter().map(Damage::Truncate));
    found.extend([0, len - 1].map(|at| Damage::Flip(at, 1 << random.below(8))));
    found.extend((2..flips).map(|_| Damage::Flip(random.below(len), 1 << random.below(8))));
    let others: Vec<_> = names.iter().filter(|other| *other != name && kind(other) == kind(name)).collect();
    for _ in 0..2.min(others.len()) {
        found.push(Damage::Replace(others[random.below(others.len())].clone()));
        found.push(Damage::Swap(others[random.below(others.len())].clone()));
    }
    found
}

/// Damage that was done; `undo` mends it.
pub struct Done(Vec<(std::path::PathBuf, Vec<u8>)>);

/// Damages the object `name` of `store`.
pub fn damage(store: &Path, name: &str, damage: &Damage) -> Done {
    let path = store.join(name);
    let bytes = std::fs::read(&path).unwrap();
    let mut done = Done(vec![(path.clone(), bytes.clone())]);
    let mut changed = bytes.clone();
    match damage {
        Damage::Flip(at, bit) => changed[*at] ^= bit,
        Damage::Truncate(len) => changed.truncate(*len),
        Damage::Append(more) => changed.extend((0..*more).map(|at| at as u8)),
        Damage::Delete => return done.after(std::fs::remove_file(path)),
        Damage::Replace(other) => changed = std::fs::read(store.join(other)).unwrap(),
        Damage::Swap(other) => {
            let other = store.join(other);
            changed = std::fs::read(&other).unwrap();
            done.0.push((other.clone(), changed.clone()));
            std::fs::write(other, bytes).unwrap();
        }
        Damage::Folder => {
            std::fs::remove_file(&path).unwrap();
            return done.after(std::fs::create_dir(path));
        }
        Damage::Unreadable => {
            std::fs::remove_file(&path).unwrap();
            return done.after(std::os::unix::fs::symlink(&path, &path));
        }
    }
    let written = std::fs::write(path, changed);
    done.after(written)
}

impl Done {
    fn after(self, result: std::io::Result<()>) -> Self {
        result.unwrap();
        self
    }

    /// Puts back what was there.
    pub fn undo(self) {
        for (path, bytes) in self.0 {
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
            std::fs::write(path, bytes).unwrap();
        }
    }
}
