//! Something on the way that changes what a batch says and makes its checksums right again: a proxy with bad memory, an agent with
//! a bug. Checksums of frames do not see it. The hub must.

use pyralog_sync_protocol::frame::{Frame, Frames, Kind, MAGIC, SegmentFrame};

use crate::random::Random;

/// What is done to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A segment's body, or what is said of it, is not what was hashed.
    Segment,
    /// No schema comes along.
    Schemas,
    /// The first segment or receipt of a log is left out.
    First,
}

/// `batch` with something wrong in it; `None` if there is nothing to change.
pub fn meddle(batch: &[u8], chance: &mut Random) -> Option<Vec<u8>> {
    let frames = frames(batch)?;
    let change = *chance.pick(&[Change::Segment, Change::Segment, Change::Schemas, Change::First]);
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
