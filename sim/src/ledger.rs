//! The oracle's own books: every record that an agent accepted, and what hubs said and stored of it.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use pyralog_hub::session::Outcome;
use pyralog_sync_protocol::epoch::EpochRecord;
use pyralog_sync_protocol::frame::{BatchHead, Frames, Hello, Kind, LogHead, Reply};

use crate::disk::Disk;
use crate::hubs::AGENT_ID;
use crate::rows::Kept;
use crate::world::World;

/// Names one lifetime of a ring's contents.
pub type Incarnation = [u8; 16];

/// What is known of everything.
#[derive(Debug, Default)]
pub struct Ledger {
    lives: BTreeMap<Incarnation, Life>,
    /// Epochs whose record is stored: who opened them.
    epochs: BTreeMap<u32, Incarnation>,
    /// Epochs whose record was stored and not looked at yet.
    new_epochs: Vec<u32>,
    restores: u64,
}

/// What hubs had promised at one moment: who opened which epoch, and of each log what they heard of and acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    epochs: BTreeMap<u32, Incarnation>,
    logs: BTreeMap<(Incarnation, String), (u64, u64)>,
    flushed: Vec<Incarnation>,
}

/// One incarnation of the agent.
#[derive(Debug, Default)]
pub struct Life {
    /// Its number, for people.
    pub number: u32,
    /// Its logs.
    pub logs: BTreeMap<String, LogLife>,
    /// It ended after a flush that came to its end: nothing of it may be missing.
    pub flushed: bool,
}

/// One log of one incarnation.
#[derive(Debug, Default)]
pub struct LogLife {
    /// Each accepted record; `None` where only the count is known.
    pub rows: Vec<Option<Kept>>,
    /// The highest head that a hub heard of, and answered for, while the epoch was the newest.
    pub heard: u64,
    /// The highest cursor that a hub acknowledged.
    pub acknowledged: u64,
    /// What hubs had acknowledged when the store was last put back: no cursor may ever be below.
    pub floor: u64,
    /// What hubs had acknowledged or heard of before the store was put back: none of them answers for it since.
    pub forgotten: u64,
}

impl Ledger {
    /// A new incarnation.
    pub fn begin(&mut self, incarnation: Incarnation, number: u32) {
        self.lives.insert(incarnation, Life { number, ..Life::default() });
    }

    /// How many incarnations there were.
    pub fn incarnations(&self) -> usize {
        self.lives.len()
    }

    /// A life.
    pub fn life(&self, incarnation: &Incarnation) -> Option<&Life> {
        self.lives.get(incarnation)
    }

    /// What was accepted at an offset of a log.
    pub fn accepted(&self, incarnation: &Incarnation, log: &str, offset: u64) -> Option<Kept> {
        self.lives.get(incarnation)?.logs.get(log)?.rows.get(usize::try_from(offset).ok()?).copied().flatten()
    }

    /// A life, to be written to.
    pub fn life_mut(&mut self, incarnation: Incarnation) -> &mut Life {
        self.lives.entry(incarnation).or_default()
    }

    /// All lives.
    pub fn lives(&self) -> impl Iterator<Item = (&Incarnation, &Life)> {
        self.lives.iter()
    }

    /// Who opened an epoch.
    pub fn opener(&self, epoch: u32) -> Option<Incarnation> {
        self.epochs.get(&epoch).copied()
    }

    /// Who opened the newest epoch.
    pub fn newest_opener(&self) -> Option<Incarnation> {
        self.epochs.last_key_value().map(|(_, opener)| *opener)
    }

    /// What hubs have promised so far.
    pub fn mark(&self) -> Mark {
        let logs = self.lives.iter().flat_map(|(who, life)| {
            life.logs.iter().map(|(name, log)| ((*who, name.clone()), (log.heard, log.acknowledged)))
        });
        let flushed = self.lives.iter().filter(|(_, life)| life.flushed).map(|(who, _)| *who);
        Mark { epochs: self.epochs.clone(), logs: logs.collect(), flushed: flushed.collect() }
    }

    /// Forgets what was promised since the mark: the store that it rested on is gone.
    pub fn put_back(&mut self, mark: &Mark) {
        self.restores += 1;
        self.epochs.clone_from(&mark.epochs);
        for (who, life) in &mut self.lives {
            life.flushed = mark.flushed.contains(who);
            for (name, log) in &mut life.logs {
                let (heard, acknowledged) = mark.logs.get(&(*who, name.clone())).copied().unwrap_or_default();
                log.forgotten = log.forgotten.max(log.heard).max(log.acknowledged);
                (log.heard, log.acknowledged, log.floor) = (heard, acknowledged, acknowledged);
            }
        }
    }

    /// How often the store was put back.
    pub fn restores(&self) -> u64 {
        self.restores
    }

    /// An object was stored.
    pub fn stored(&mut self, name: &str) {
        let epoch = name.split_once("/epochs/").and_then(|(_, epoch)| epoch.parse::<u32>().ok());
        self.new_epochs.extend(epoch);
    }

    /// A hub answered a request. Checks what can be checked of the answer alone.
    pub fn answered(&mut self, hello: bool, body: &[u8], outcome: &Outcome) -> Result<(), String> {
        let (heads, incarnation) = match hello {
            true => match Hello::decode(body) {
                Ok(hello) => (hello.logs, hello.incarnation.0),
                Err(_) => return damaged_is_refused(outcome),
            },
            false => match batch(body) {
                Some(batch) => batch,
                None => return damaged_is_refused(outcome),
            },
        };
        let (cursors, took_all) = match &outcome.reply {
            Reply::Hello(ack) => (&ack.cursors, true),
            Reply::Batch(ack) => (&ack.cursors, false),
            Reply::Refusal(refusal) => (&refusal.cursors, false),
        };
        let newest = self.newest_opener() == Some(incarnation);
        let Some(life) = self.lives.get_mut(&incarnation) else { return Err("a hub answered to nobody".into()) };
        for (log, cursor) in cursors {
            let life = life.logs.entry(log.as_str().to_owned()).or_default();
            if cursor.next > life.rows.len() as u64 {
                return Err(format!("a hub acknowledged {log} up to {}, accepted {}", cursor.next, life.rows.len()));
            }
            life.acknowledged = life.acknowledged.max(cursor.next);
        }
        // A batch's heads are stored with what it commits, a hello's in any case.
        let took_all = took_all || matches!(outcome.reply, Reply::Batch(_)) && all_new(body, outcome);
        for head in heads.iter().filter(|_| newest && took_all) {
            if let Some(log) = life.logs.get_mut(head.log.as_str()) {
                log.heard = log.heard.max(head.head);
            }
        }
        Ok(())
    }
}

/// Learns who opened the epochs that were stored since the last call.
pub fn learn_epochs(world: &World) {
    let new = std::mem::take(&mut world.ledger.lock().new_epochs);
    if new.is_empty() {
        return;
    }
    let store = Disk::store(world, None);
    for epoch in new {
        // The onlooker's store answers at once.
        let record = store.epoch(AGENT_ID, epoch).now_or_never().and_then(Result::ok).flatten();
        match record.as_deref().map(EpochRecord::decode) {
            Some(Ok(record)) => drop(world.ledger.lock().epochs.insert(epoch, record.incarnation.0)),
            other => world.fail(format!("the record of epoch {epoch} cannot be read: {other:?}")),
        }
    }
}

fn damaged_is_refused(outcome: &Outcome) -> Result<(), String> {
    match &outcome.reply {
        Reply::Refusal(_) if outcome.done.entries == 0 => Ok(()),
        reply => Err(format!("a damaged message was answered by {}", word(reply))),
    }
}

/// The logs of which a batch brings something, and its sender; `None` if it is damaged anywhere.
fn batch(body: &[u8]) -> Option<(Vec<LogHead>, Incarnation)> {
    let mut frames = Frames::new(body).ok()?;
    let head = BatchHead::read(&frames.next_frame().ok()??).ok()?;
    let (mut logs, mut last) = (Vec::new(), None);
    while let Some(frame) = frames.next_frame().ok()? {
        match frame.kind {
            Kind::Log => last = Some(LogHead::read_frame(&frame).ok()?),
            Kind::Segment | Kind::Receipt => logs.extend(last.take()),
            _ => {}
        }
    }
    Some((logs, head.incarnation.0))
}

/// Whether every piece of a batch was committed by this very request.
fn all_new(body: &[u8], outcome: &Outcome) -> bool {
    let Ok(mut frames) = Frames::new(body) else { return false };
    let mut pieces = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        pieces += u64::from(matches!(frame.kind, Kind::Segment | Kind::Receipt));
    }
    pieces == outcome.done.entries
}

/// An answer in words.
pub fn word(reply: &Reply) -> String {
    match reply {
        Reply::Hello(ack) => format!("epoch {}", ack.epoch),
        Reply::Batch(ack) => {
            let cursors: Vec<_> = ack.cursors.iter().map(|(log, cursor)| format!("{log} {}", cursor.next)).collect();
            format!("taken up to {}", cursors.join(", "))
        }
        Reply::Refusal(refusal) => format!("{}: {}", refusal.kind.word(), refusal.detail),
    }
}

/// An answer's kind, for the tally.
pub fn kind(reply: &Reply) -> &'static str {
    match reply {
        Reply::Hello(_) => "answered hellos",
        Reply::Batch(_) => "answered batches",
        Reply::Refusal(refusal) => match refusal.kind.word() {
            "fenced" => "fences",
            "newest-epoch" => "refused: newest-epoch",
            "unknown-session" => "refused: unknown-session",
            "need-schema" => "refused: need-schema",
            "expected" => "refused: expected",
            "corrupt" => "refused: corrupt",
            "malformed" => "refused: malformed",
            "too-large" => "refused: too-large",
            _ => "refused: busy",
        },
    }
}
