//! Sessions: who is connected under which client identifier, and what outlives a connection.
//!
//! A publisher's session is no more than the packet identifiers of its QoS 2 messages between PUBREC and PUBREL: they
//! make a message that is sent again after a broken connection come in once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};

use super::{
    budget::{ConnectionBudget, Reserved},
    limits,
};
use crate::crowd::{Mark, Member};

/// Why a connection is called off from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOff {
    /// The client came back and goes on with the session.
    Resumed,
    /// The client came back and began anew.
    Replaced,
    /// The agent stops.
    Shutdown,
    /// There is no room, and this connection has been silent for longest.
    Crowded,
}

/// The string by which a connection can be pulled back. The first pull counts.
#[derive(Debug, Default)]
pub(super) struct Leash {
    pulled: AtomicU8,
    waker: AtomicWaker,
    mark: Mark,
}

impl Member for Leash {
    fn mark(&self) -> &Mark {
        &self.mark
    }
}

impl Leash {
    pub(super) fn pull(&self, why: CallOff) {
        let code = match why {
            CallOff::Resumed => 1,
            CallOff::Replaced => 2,
            CallOff::Shutdown => 3,
            CallOff::Crowded => 4,
        };
        let _ = self.pulled.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    pub(super) fn pulled(&self) -> Option<CallOff> {
        match self.pulled.load(Ordering::Acquire) {
            0 => None,
            1 => Some(CallOff::Resumed),
            2 => Some(CallOff::Replaced),
            3 => Some(CallOff::Shutdown),
            _ => Some(CallOff::Crowded),
        }
    }

    /// Wakes `waker` at the next pull.
    pub(super) fn watch(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

/// Packet identifiers of QoS 2 messages that were taken and not yet released. At most [`limits::QOS2_IDS`].
///
/// Invariant: a capacity over [`limits::FREE_QOS2_IDS`] is paid for by `charge`; below, the session's own charge covers it.
#[derive(Default)]
pub(super) struct Qos2Ids {
    ids: Vec<u16>,
    charge: Option<Reserved>,
}

impl Qos2Ids {
    pub(super) fn contains(&self, id: u16) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= limits::QOS2_IDS
    }

    /// Makes room for one more; `false`, and nothing changed, if there is no memory for it.
    pub(super) fn make_room(&mut self, budget: &dyn ConnectionBudget) -> bool {
        if self.ids.len() < self.ids.capacity() {
            return true;
        }
        let total = (2 * self.ids.capacity()).max(limits::FREE_QOS2_IDS);
        if total > limits::FREE_QOS2_IDS {
            let Some(charge) = budget.reserve((total * size_of::<u16>()) as u64) else { return false };
            self.charge = Some(charge);
        }
        self.ids.reserve_exact(total - self.ids.len());
        true
    }

    pub(super) fn insert(&mut self, id: u16) {
        self.ids.push(id);
    }

    /// Whether the identifier was there.
    pub(super) fn remove(&mut self, id: u16) -> bool {
        let at = self.ids.iter().position(|&have| have == id);
        let was_there = at.map(|at| self.ids.swap_remove(at)).is_some();
        if self.ids.is_empty() && self.charge.is_some() {
            *self = Self::default();
        }
        was_there
    }
}

/// One client's session.
pub(super) struct Session {
    id: Arc<str>,
    state: Mutex<State>,
    /// Pays for this session as long as anyone holds it.
    _charge: Reserved,
}

struct State {
    ids: Qos2Ids,
    owner: Option<Owner>,
    /// How long the session outlives its connection.
    expiry: Duration,
    /// Since when nobody is connected, and the place in the order of absence.
    away: Option<(Instant, u64)>,
}

impl State {
    fn is_expired(&self, now: Instant) -> bool {
        self.away.is_some_and(|(since, _)| now.saturating_duration_since(since) >= self.expiry)
    }
}

struct Owner {
    connection: u64,
    leash: Arc<Leash>,
}

impl Session {
    /// The QoS 2 state, if the session still belongs to `connection`. Holding it keeps a takeover waiting, so that a
    /// message and its identifier go in together.
    pub(super) fn qos2(&self, connection: u64) -> Option<impl std::ops::DerefMut<Target = Qos2Ids> + '_> {
        let state = self.state.lock();
        let mine = state.owner.as_ref().is_some_and(|owner| owner.connection == connection);
        mine.then(|| MutexGuard::map(state, |state| &mut state.ids))
    }

    pub(super) fn client_id(&self) -> &str {
        &self.id
    }
}

/// All sessions of an endpoint: one for each connected client, and up to a cap of absent ones.
///
/// Lock order: the table, then a session. Invariant: `away` holds exactly the sessions that nobody is connected to.
pub(super) struct Sessions {
    table: Mutex<Table>,
    max_away: usize,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<Arc<str>, Arc<Session>>,
    away: BTreeMap<u64, Arc<str>>,
    next: u64,
}

impl Table {
    /// Whether there was one.
    fn forget_longest_absent(&mut self) -> bool {
        self.away.pop_first().map(|(_, id)| self.by_id.remove(&id)).is_some()
    }

    /// Who is here comes before who is away.
    fn reserve(&mut self, bytes: u64, budget: &dyn ConnectionBudget) -> Option<Reserved> {
        loop {
            match budget.reserve(bytes) {
                Some(charge) => return Some(charge),
                None if self.forget_longest_absent() => {}
                None => return None,
            }
        }
    }

    /// Forgets sessions past their time, a few at once. One that outstays its time behind a longer one is not resumed
    /// either: connecting looks at the time again.
    fn forget_expired(&mut self, now: Instant) {
        for _ in 0..4 {
            let first = self.away.first_key_value().and_then(|(_, id)| self.by_id.get(id));
            let expired = first.is_some_and(|session| session.state.lock().is_expired(now));
            if !expired || !self.forget_longest_absent() {
                break;
            }
        }
    }
}

/// What a client gets when it connects.
pub(super) struct Attached {
    pub(super) session: Arc<Session>,
    /// Whether it goes on with what it left.
    pub(super) present: bool,
}

/// What a client wants of its session.
pub(super) struct Wanted<'a> {
    pub(super) client_id: &'a str,
    pub(super) clean: bool,
    pub(super) expiry: Duration,
    pub(super) connection: u64,
    pub(super) leash: Arc<Leash>,
    /// [`limits::SESSION_COST`], for the case that it is a new one.
    pub(super) room: Reserved,
}

impl Sessions {
    pub(super) fn new(max_away: usize) -> Self {
        Self { table: Mutex::default(), max_away }
    }

    /// Reserves `bytes`; clients who are away are forgotten for it if need be, the longest absent first.
    pub(super) fn reserve(&self, bytes: u64, budget: &dyn ConnectionBudget) -> Option<Reserved> {
        budget.reserve(bytes).or_else(|| self.table.lock().reserve(bytes, budget))
    }

    /// Gives the session of a client to a connection, and calls off the connection that had it.
    pub(super) fn attach(&self, wanted: Wanted<'_>, now: Instant) -> Attached {
        let owner = Owner { connection: wanted.connection, leash: wanted.leash };
        let mut table = self.table.lock();
        if let Some(session) = table.by_id.get(wanted.client_id).cloned() {
            let mut state = session.state.lock();
            if let Some((_, place)) = state.away {
                table.away.remove(&place);
            }
            let present = !wanted.clean && !state.is_expired(now) && !state.expiry.is_zero();
            if let Some(old) = state.owner.take() {
                old.leash.pull(if present { CallOff::Resumed } else { CallOff::Replaced });
            }
            if present {
                (state.owner, state.away, state.expiry) = (Some(owner), None, wanted.expiry);
                drop(state);
                return Attached { session, present };
            }
            drop(state);
            table.by_id.remove(wanted.client_id);
        }
        let id: Arc<str> = wanted.client_id.into();
        let state = State { ids: Qos2Ids::default(), owner: Some(owner), expiry: wanted.expiry, away: None };
        let session = Arc::new(Session { id: Arc::clone(&id), state: Mutex::new(state), _charge: wanted.room });
        table.by_id.insert(id, Arc::clone(&session));
        Attached { session, present: false }
    }

    /// Takes note that `connection` is gone; its session stays for `expiry` unless another has it by now.
    pub(super) fn detach(&self, session: &Session, connection: u64, expiry: Duration, now: Instant) {
        let mut table = self.table.lock();
        let place = table.next;
        let mut state = session.state.lock();
        if state.owner.as_ref().is_none_or(|owner| owner.connection != connection) {
            return;
        }
        state.owner = None;
        if expiry.is_zero() {
            table.by_id.remove(&session.id);
            return;
        }
        (state.expiry, state.away) = (expiry, Some((now, place)));
        drop(state);
        table.next += 1;
        table.away.insert(place, Arc::clone(&session.id));
        while table.away.len() > self.max_away && table.forget_longest_absent() {}
        table.forget_expired(now);
    }

    /// Sessions held, of connected and of absent clients.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().by_id.len()
    }
}
