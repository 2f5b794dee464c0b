//! Marks of what retention deleted, as readers need them.

use pyralog_sync_protocol::cursor::Cursor;
use pyralog_sync_protocol::entry::{Content, Entry};
use pyralog_sync_protocol::frame::Receipt;
use pyralog_sync_protocol::trim::TrimMark;

use crate::store::{Chain, MAX_PAGE, Place, Store, StoreError};

/// The newest mark of a chain; `None` when nothing was ever deleted from it.
pub async fn newest(store: &dyn Store, chain: Chain<'_>) -> Result<Option<TrimMark>, StoreError> {
    let Some((below, bytes)) = store.trimmed(chain).await? else { return Ok(None) };
    let damaged = |reason: String| {
        let name = store.object_name(Place::Trimmed(chain), below);
        Err(StoreError::Damaged { name, reason })
    };
    match TrimMark::decode(&bytes) {
        Ok(mark) if mark.below() == below => Ok(Some(mark)),
        Ok(mark) => damaged(format!("it holds the mark of offset {}", mark.below())),
        Err(error) => damaged(error.to_string()),
    }
}

/// What is left below a mark.
#[derive(Debug, Default)]
pub struct Below {
    /// The receipts, ascending; each begins where its entry does.
    pub receipts: Vec<Receipt>,
    /// Of the offsets below this, so many were receipted by receipts that are not there: none, if none is missing.
    pub missing: Cursor,
    /// Entries that cannot be read: their bases, and what is wrong.
    pub damaged: Vec<(u64, String)>,
    /// Bytes of the receipts' entries.
    pub bytes: u64,
}

/// Reads what is left below `mark`.
///
/// Receipts are never deleted, so their totals lead from the mark down to nothing. An entry whose totals do not fit was committed too
/// late by a hub that hung, where retention had passed already; nobody was told of it, and it is left out, as are segments that
/// are still to be deleted.
pub async fn below(store: &dyn Store, chain: Chain<'_>, mark: &TrimMark) -> Result<Below, StoreError> {
    let mut found = Below { missing: mark.tip.cursor, ..Below::default() };
    if found.missing.lost() == 0 {
        return Ok(found);
    }
    let mut bases = Vec::new();
    let mut from = Some(0);
    while let Some(next) = from.filter(|next| *next < mark.below()) {
        let mut page = store.bases(chain, next, MAX_PAGE).await?;
        from = page.last().and_then(|last| last.checked_add(1));
        page.retain(|base| *base < mark.below());
        bases.append(&mut page);
    }
    let mut gone = Vec::new();
    for base in bases.into_iter().rev() {
        if found.missing.lost() == 0 {
            break;
        }
        let bytes = match store.entry(chain, base).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                gone.push(base);
                continue;
            }
            Err(StoreError::Damaged { reason, .. }) => {
                found.damaged.push((base, reason));
                continue;
            }
            Err(error) => return Err(error),
        };
        match receipt(&bytes, base) {
            Err(reason) => found.damaged.push((base, reason)),
            Ok(None) => {}
            Ok(Some((cursor, receipt))) => {
                let left = found.missing.receipted;
                // What a damaged one above took is unknown.
                let within = cursor.receipted.iter().zip(left).all(|(of_entry, left)| *of_entry <= left);
                let fits = cursor.receipted == left || (within && !found.damaged.is_empty());
                if fits && receipt.to <= found.missing.next {
                    let count = &mut found.missing.receipted[receipt.reason as usize];
                    *count = count.saturating_sub(receipt.to.saturating_sub(base));
                    found.missing.next = base;
                    found.bytes += bytes.len() as u64;
                    found.receipts.push(receipt);
                }
            }
        }
    }
    // A segment that was deleted just now is no loss; where a receipt is missing, it may be what was in such a place.
    if found.missing.lost() > 0 && found.damaged.is_empty() {
        found.damaged.extend(gone.into_iter().map(|base| (base, "it is a folder, or was just removed".into())));
    }
    found.receipts.reverse();
    Ok(found)
}

fn receipt(bytes: &[u8], base: u64) -> Result<Option<(Cursor, Receipt)>, String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    if entry.base != base {
        return Err(format!("it holds the entry of offset {}", entry.base));
    }
    match entry.content().map_err(|error| error.to_string())? {
        Content::Segment(_) => Ok(None),
        Content::Receipt(receipt) => Ok(Some((entry.tip.cursor, receipt))),
    }
}
