//! The hook by which connections are charged to the memory cap.

use std::any::Any;

/// Holds reserved bytes; dropping it gives them back.
pub type Reserved = Box<dyn Any + Send + Sync>;

/// Where memory is reserved before it is used. The agent wires this to its ring, which evicts to make room if its
/// policy allows.
pub trait ConnectionBudget: Send + Sync + 'static {
    /// Reserves `bytes`, or says by `None` that there is no room for them now.
    fn reserve(&self, bytes: u64) -> Option<Reserved>;
}

/// A closure will do: `move |bytes| ring.reserve(bytes).ok().map(|held| Box::new(held) as Reserved)`.
impl<F: Fn(u64) -> Option<Reserved> + Send + Sync + 'static> ConnectionBudget for F {
    fn reserve(&self, bytes: u64) -> Option<Reserved> {
        self(bytes)
    }
}

/// A budget without a cap, for tests and for runs without a ring.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl ConnectionBudget for Unlimited {
    fn reserve(&self, _bytes: u64) -> Option<Reserved> {
        // A boxed unit takes no memory.
        Some(Box::new(()))
    }
}
