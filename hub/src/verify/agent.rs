//! What an agent has beside its chains: epochs, their marks and registers, heads, schemas.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use pyralog_segment::Schema;
use pyralog_sync_protocol::epoch::{EpochRecord, HeadsRecord, RegisterRecord};

use super::{Fault, Finding, Scope};
use crate::store::{MAX_PAGE, Place, Store, StoreError};

/// An epoch's register, as far as it is sound.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// The logs that it names.
    pub(super) logs: BTreeSet<String>,
    /// How many records it has, if they all are sound and dense.
    pub(super) len: Option<u64>,
    /// Whether it has been closed.
    closed: bool,
}

/// A walk over one agent.
pub(super) struct AgentWalk<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) agent: &'a str,
    pub(super) scope: &'a Scope,
    report: &'a mut dyn FnMut(&Finding),
    /// Sound schemas by fingerprint.
    pub(super) schemas: HashMap<[u8; 8], Schema>,
    /// Epochs that are marked as ended.
    pub(super) closed: BTreeSet<u32>,
    pub(super) registers: BTreeMap<u32, Register>,
    /// Every chain that is there or should be.
    chains: BTreeSet<(u32, String)>,
}

impl<'a> AgentWalk<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        agent: &'a str,
        scope: &'a Scope,
        report: &'a mut dyn FnMut(&Finding),
    ) -> Self {
        let (schemas, closed, registers) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { store, agent, scope, report, schemas, closed, registers, chains: BTreeSet::new() }
    }

    pub(super) async fn run(&mut self) {
        self.find_chains().await;
        for mark in self.objects(Place::Closed(self.agent)).await {
            self.closed.insert(epoch_of(mark));
            self.empty(epoch_of(mark), "", Place::Closed(self.agent), mark).await;
        }
        let recorded = self.objects(Place::Epochs(self.agent)).await;
        let newest = self.newest(recorded.last().copied().map(epoch_of).unwrap_or_default()).await;
        self.epochs(&recorded, newest).await;
        for epoch in recorded.into_iter().map(epoch_of).chain([newest]).collect::<BTreeSet<_>>() {
            self.register(epoch).await;
            self.heads(epoch).await;
        }
        self.marks(newest).await;
        self.stored_schemas().await;
        for (epoch, log) in std::mem::take(&mut self.chains) {
            if self.scope.log.as_ref().is_none_or(|only| *only == log) {
                self.chain(epoch, &log).await;
            }
        }
    }

    /// Tells of something faulty.
    pub(super) fn fault(&mut self, epoch: u32, log: &str, fault: Fault) {
        let fault = Some(fault);
        (self.report)(&Finding { agent: self.agent.into(), log: log.into(), epoch, fault, ..Finding::default() });
    }

    /// Tells of a chain.
    pub(super) fn found(&mut self, finding: &Finding) {
        (self.report)(finding);
    }

    /// The numbers of a place's objects; a place that cannot be listed is a fault.
    pub(super) async fn objects(&mut self, place: Place<'_>) -> Vec<u64> {
        let listed = self.store.numbers(place, 0, MAX_PAGE).await;
        self.listed(listed)
    }

    fn listed<T: Default>(&mut self, listed: Result<T, StoreError>) -> T {
        listed.unwrap_or_else(|error| {
            self.fault(0, "", Fault::unlisted(error));
            T::default()
        })
    }

    /// The bytes of an object that is listed.
    async fn read(&self, place: Place<'_>, number: u64) -> Result<bytes::Bytes, Fault> {
        match self.store.object(place, number).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Fault::of(self.store, place, number, "it is a folder, or was just removed")),
            Err(error) => Err(Fault::unread(self.store, place, number, error)),
        }
    }

    /// Checks a mark, which says by its name all that there is to say.
    pub(super) async fn empty(&mut self, epoch: u32, log: &str, place: Place<'_>, number: u64) {
        let fault = match self.read(place, number).await {
            Ok(bytes) if bytes.is_empty() => return,
            Ok(_) => Fault::of(self.store, place, number, "something is in it, and nothing should be"),
            Err(fault) => fault,
        };
        self.fault(epoch, log, fault);
    }

    async fn find_chains(&mut self) {
        let listed = self.store.logs(self.agent, None, MAX_PAGE).await;
        for log in self.listed(listed) {
            let epochs = self.store.log_epochs(self.agent, &log).await;
            let epochs = self.listed(epochs);
            self.chains.extend(epochs.into_iter().map(|epoch| (epoch, log.clone())));
        }
    }

    /// The newest epoch, which others speak of even when its own record is gone.
    async fn newest(&mut self, recorded: u32) -> u32 {
        let of_chains = self.chains.last().map(|(epoch, _)| *epoch).unwrap_or_default();
        // An epoch ends when the next one has been created.
        let of_marks = self.closed.last().map(|ended| ended.saturating_add(1)).unwrap_or_default();
        let newest = recorded.max(of_chains).max(of_marks);
        let next = newest.saturating_add(1);
        let (register, heads) = (Place::Register(self.agent, next), Place::Heads(self.agent, next));
        let begun = !self.objects(register).await.is_empty() || !self.objects(heads).await.is_empty();
        if begun { next } else { newest }
    }

    async fn epochs(&mut self, recorded: &[u64], newest: u32) {
        let (mut expected, mut past) = (1, None);
        let place = Place::Epochs(self.agent);
        for number in recorded.iter().copied() {
            if number != expected {
                // Of a gap the first is named.
                let reason = format!("it is missing: there is an epoch {number}");
                self.fault(epoch_of(expected), "", Fault::of(self.store, place, expected, reason));
                past = None;
            }
            let read = self.read(place, number).await.and_then(|bytes| {
                let record = EpochRecord::decode(&bytes)
                    .map_err(|error| Fault::of(self.store, place, number, error.to_string()))?;
                if past.is_some() && record.past.first().copied() != past {
                    let reason = "it does not name the incarnation of the epoch before";
                    return Err(Fault::of(self.store, place, number, reason));
                }
                Ok(record.incarnation)
            });
            past = match read {
                Ok(incarnation) => Some(incarnation),
                Err(fault) => {
                    self.fault(epoch_of(number), "", fault);
                    None
                }
            };
            expected = number.saturating_add(1);
        }
        if expected <= u64::from(newest) {
            let reason = format!("it is missing: other objects speak of epoch {newest}");
            self.fault(epoch_of(expected), "", Fault::of(self.store, place, expected, reason));
        }
    }

    /// Every epoch below one that is marked, or that an agent was let into, is marked.
    async fn marks(&mut self, newest: u32) {
        let heads = self.objects(Place::Heads(self.agent, newest)).await;
        let used = !heads.is_empty()
            || self.chains.last().is_some_and(|(epoch, _)| *epoch == newest)
            || self.registers.get(&newest).is_some_and(|register| register.len != Some(0));
        let below = if used { newest } else { self.closed.last().copied().unwrap_or_default() };
        // Of a gap the first is named; so a number from nowhere cannot make this long.
        let mut expected = 1;
        for mark in self.closed.iter().copied().chain([below]).collect::<Vec<_>>() {
            if mark > expected {
                let place = Place::Closed(self.agent);
                let fault = Fault::of(self.store, place, expected.into(), "it is missing: a later epoch was begun");
                self.fault(expected, "", fault);
            }
            expected = mark.max(expected).saturating_add(1);
        }
    }

    async fn register(&mut self, epoch: u32) {
        let place = Place::Register(self.agent, epoch);
        let mut register = Register { len: Some(0), ..Register::default() };
        for position in self.objects(place).await {
            let expected = register.len;
            let read = self.read(place, position).await.and_then(|bytes| {
                RegisterRecord::decode(&bytes)
                    .map_err(|error| Fault::of(self.store, place, position, error.to_string()))
            });
            let fault = match read {
                _ if expected.is_some_and(|expected| expected < position) => {
                    let expected = expected.unwrap_or_default();
                    let reason = format!("it is missing: there is one at position {position}");
                    Some(Fault::of(self.store, place, expected, reason))
                }
                Ok(_) if register.closed => {
                    Some(Fault::of(self.store, place, position, "it follows the record that closes the register"))
                }
                Ok(RegisterRecord::Closed) => {
                    register.closed = true;
                    None
                }
                Ok(RegisterRecord::Log(log)) => {
                    register.logs.insert(log.as_str().to_owned());
                    None
                }
                Err(fault) => Some(fault),
            };
            register.len = match &fault {
                None => register.len.map(|len| len + 1),
                Some(_) => None,
            };
            if let Some(fault) = fault {
                self.fault(epoch, "", fault);
            }
        }
        if self.closed.contains(&epoch) {
            self.chains.extend(register.logs.iter().map(|log| (epoch, log.clone())));
            if let Some(len) = register.len.filter(|_| !register.closed) {
                let reason = "it is missing: the epoch has ended, and its register is not closed";
                self.fault(epoch, "", Fault::of(self.store, place, len, reason));
                register.len = None;
            }
        }
        self.registers.insert(epoch, register);
    }

    /// Heads are whole. They prove no chain, even of an epoch that has ended: a hub that hung may leave them after the end,
    /// and then fences whoever told of them.
    async fn heads(&mut self, epoch: u32) {
        let place = Place::Heads(self.agent, epoch);
        for sum in self.objects(place).await {
            let read = self.read(place, sum).await.and_then(|bytes| match HeadsRecord::decode(&bytes) {
                Ok(record) if record.sum() == sum => Ok(()),
                Ok(record) => {
                    let reason = format!("it holds heads that add up to {}", record.sum());
                    Err(Fault::of(self.store, place, sum, reason))
                }
                Err(error) => Err(Fault::of(self.store, place, sum, error.to_string())),
            });
            if let Err(fault) = read {
                self.fault(epoch, "", fault);
            }
        }
    }

    async fn stored_schemas(&mut self) {
        let place = Place::Schemas(self.agent);
        for number in self.objects(place).await {
            let read = self.read(place, number).await.and_then(|bytes| match Schema::from_bytes(&bytes) {
                Ok(schema) if schema.fingerprint() == number.to_be_bytes() => Ok(schema),
                Ok(_) => Err(Fault::of(self.store, place, number, "it holds another schema")),
                Err(error) => Err(Fault::of(self.store, place, number, error.to_string())),
            });
            match read {
                Ok(schema) => drop(self.schemas.insert(number.to_be_bytes(), schema)),
                Err(fault) => self.fault(0, "", fault),
            }
        }
    }
}

fn epoch_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
