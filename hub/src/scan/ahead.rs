//! Entries read ahead, so that a store that takes its time for each is asked for several at once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::store::{Chain, SharedStore, StoreError};

/// Entries that are asked for at once, at most.
const MOST: usize = 64;

/// An entry with its base; `None` where nothing is.
pub(super) type Fetched = (u64, Result<Option<Bytes>, StoreError>);

type Fetch = Pin<Box<dyn Future<Output = Fetched> + Send>>;

/// The entries of one chain, in their order.
pub(super) struct Ahead {
    store: SharedStore,
    agent: Arc<str>,
    log: Arc<str>,
    epoch: u32,
    /// Not asked for yet.
    bases: VecDeque<u64>,
    asked: FuturesOrdered<Fetch>,
    /// How many to ask for at once: one at first, since a reader may want no more.
    window: usize,
    /// Bytes to read ahead, about: where entries are large, fewer are asked for.
    bytes: usize,
    /// Bytes of a large one of those that came lately.
    large: usize,
}

impl Ahead {
    pub(super) fn new(store: SharedStore, agent: Arc<str>, log: Arc<str>, epoch: u32, bytes: usize) -> Self {
        let (bases, asked) = (VecDeque::new(), FuturesOrdered::new());
        Self { store, agent, log, epoch, bases, asked, window: 1, bytes, large: 0 }
    }

    /// Adds bases above all that came before.
    pub(super) fn extend(&mut self, bases: Vec<u64>) {
        self.bases.extend(bases);
    }

    /// The next entry; `None` when all bases were used up.
    pub(super) async fn next(&mut self) -> Option<Fetched> {
        let room = (self.bytes / self.large.max(1)).clamp(1, MOST).min(self.window);
        while self.asked.len() < room
            && let Some(base) = self.bases.pop_front()
        {
            let (store, agent, log) = (Arc::clone(&self.store), Arc::clone(&self.agent), Arc::clone(&self.log));
            let epoch = self.epoch;
            self.asked.push_back(Box::pin(async move {
                let chain = Chain { agent: &agent, epoch, log: &log };
                (base, store.entry(chain, base).await)
            }));
        }
        let fetched = self.asked.next().await?;
        let len = fetched.1.as_ref().map_or(0, |entry| entry.as_ref().map_or(0, Bytes::len));
        self.large = len.max(self.large - self.large / 8);
        self.window = (self.window * 2).min(MOST);
        Some(fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open_directory;

    const BYTES: usize = 4 << 20;

    #[tokio::test]
    async fn entries_come_in_order_few_at_first_and_few_where_they_are_large() {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(open_directory(folder.path()).unwrap());
        let chain = Chain { agent: "a", epoch: 1, log: "x" };
        for base in 0..100 {
            let len = if base < 70 { 10 } else { BYTES / 3 };
            store.commit(chain, base, vec![base as u8; len].into()).await.unwrap();
        }
        let mut ahead = Ahead::new(store, "a".into(), "x".into(), 1, BYTES);
        ahead.extend((0..100).collect());
        let mut asked = Vec::new();
        for expected in 0..100 {
            let (base, entry) = ahead.next().await.unwrap();
            assert_eq!((base, entry.unwrap().unwrap()[0]), (expected, expected as u8));
            asked.push(ahead.asked.len());
        }
        assert_eq!((asked[0], asked[1], asked[6]), (0, 1, MOST - 1));
        assert!(asked[75..].iter().max() <= Some(&MOST) && asked[99 - 3] <= 3, "{asked:?}");
        assert!(ahead.next().await.is_none());
    }
}
