//! Something on the way that changes what a batch says and makes its checksums right again: a proxy with bad memory, an agent with
//! a bug. Checksums of frames do not see it. The hub must.

use pyralog_sync_protocol::frame::{Frame, Frames, Kind, MAGIC, SegmentFrame};

use crate::random::Random;

/// Batches in a row that it changes in one way, at most: enough for an agent to give a segment up.
const IN_A_ROW: u64 = 5;

/// What is done to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A segment's body, or what is said of it, is not what was hashed.
    Segment,
    /// No schema comes along.
    Schemas,
    /// The first segment or receipt of a log is left out.
    First,
}

/// What it is at: once it has begun, it changes some batches in a row.
#[derive(Debug, Default)]
pub struct Meddler {
    now: Option<(Change, u64)>,
}

impl Meddler {
    /// What it does to the next batch, if it begins with a chance of `begin` in 1,000.
    pub fn next(&mut self, begin: u64, chance: &mut Random) -> Option<Change> {
        let begins = chance.chance(begin);
        if begins && self.now.is_none() {
            let change = *chance.pick(&[Change::Segment, Change::Segment, Change::Schemas, Change::First]);
            self.now = Some((change, chance.between(1, IN_A_ROW)));
        }
        // In fair weather it stops in the midst.
        let (change, left) = self.now.take().filter(|_| begin > 0)?;
        self.now = (left > 1).then_some((change, left - 1));
        Some(change)
    }
}

/// `batch` with something wrong in it; `None` if there is nothing to change.
pub fn meddle(batch: &[u8], change: Change, chance: &mut Random) -> Option<Vec<u8>> {
    let frames = frames(batch)?;
    let is_victim = |frame: &Frame<'_>| match change {
        Change::Segment => frame.kind == Kind::Segment,
        Change::Schemas => frame.kind == Kind::Schema,
        Change::First => matches!(frame.kind, Kind::Segment | Kind::Receipt),
    };
    let victims: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| is_victim(frame)).map(|(at, _)| at).collect();
    if victims.is_empty() {
        return None;
    }
    let victim = *chance.pick(&victims);
    let mut out = MAGIC.to_vec();
    for (at, frame) in frames.iter().enumerate() {
        let is_first =
            || at == victims.iter().copied().find(|first| same_log(&frames, *first, victim)).unwrap_or(victim);
        match change {
            Change::Schemas if frame.kind == Kind::Schema => {}
            Change::First if is_first() => {}
            Change::Segment if at == victim => spoil(frame, chance, &mut out),
            _ => out.extend_from_slice(frame.raw),
        }
    }
    Some(out)
}

fn frames(batch: &[u8]) -> Option<Vec<Frame<'_>>> {
    let mut frames = Frames::new(batch).ok()?;
    let mut all = Vec::new();
    while let Some(frame) = frames.next_frame().ok()? {
        all.push(frame);
    }
    Some(all)
}

/// Whether two frames of a batch belong to one log.
fn same_log(frames: &[Frame<'_>], one: usize, other: usize) -> bool {
    let (low, high) = (one.min(other), one.max(other));
    !frames[low..=high].iter().any(|frame| frame.kind == Kind::Log)
}

/// Writes a segment that is not what its hash says, in a frame whose checksum is right.
fn spoil(frame: &Frame<'_>, chance: &mut Random, out: &mut Vec<u8>) {
    let Ok(mut segment) = SegmentFrame::read(frame) else { return out.extend_from_slice(frame.raw) };
    let mut body = segment.body.to_vec();
    if body.is_empty() || chance.chance(300) {
        segment.meta.max_time = segment.meta.max_time.wrapping_add(1 + chance.below(1_000) as i64);
    } else {
        let at = chance.below(body.len() as u64) as usize;
        body[at] ^= chance.between(1, 255) as u8;
    }
    SegmentFrame { body: &body, ..segment }.put(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_meddles_with_some_batches_in_a_row_and_with_none_in_fair_weather() {
        let (mut chance, mut it) = (Random::new(1, "meddler"), Meddler::default());
        let met = (0..10_000).filter(|_| it.next(10, &mut chance).is_some()).count();
        assert!((100..1_000).contains(&met), "{met}");
        assert!((0..1_000).all(|_| it.next(0, &mut chance).is_none()));
    }
}
