//! What the runnable examples are made of.

pub mod quickstart;
