//! Behaviour of the whole ring.
