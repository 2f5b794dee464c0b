//! Worlds that are broken on purpose, so that we know that the oracle sees it.

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// The store forgets some of what it acknowledged.
    ForgetfulStore,
    /// What is deleted takes the entry behind it along.
    GreedyDeletion,
    /// The store's create-if-absent overwrites.
    OverwritingStore,
    /// Reading back leaves a record out.
    ShortReader,
    /// Reading back changes a value.
    LyingReader,
    /// The link damages a third of all messages. This one must do no harm.
    DamagingLink,
    /// The agent takes a record that it does not own up to.
    SecretRecord,
}
