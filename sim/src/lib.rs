//! Whole histories of agents and hubs, each from one number.
//!
//! The agent's ring and sync driver, and the hub's sessions and store, are the real ones. The clock, the network and the disk
//! under them are simulated, and as bad as the seed says: messages are lost, late, doubled, damaged; hubs and agents die
//! between any two steps; disks fill up, fail, and lie about what happened; clocks jump to 1970; hubs delete what is old or much. An [`oracle`] keeps every
//! record that an agent accepted. In the end it reads the store back through the hub's own read side, and every offset must
//! be there once: committed bit for bit, or in one receipt.
//!
//! What no agent can promise is allowed, exactly: records that a dead agent had accepted and that no hub had heard of are
//! gone with its memory, and are counted. A hub hears of records by the heads in hellos and batches; whatever it answered for
//! must be accounted for.
//!
//! What is not simulated: threads (a packer and an append never meet within one call), the HTTP layers on both sides, and
//! the files under the directory store. Other tests look at those.
//!
//! ```text
//! cargo xtask sim --histories 1000           a thousand histories from seed 0
//! cargo xtask sim --seed 4711 --trace        one of them, with every event
//! ```

pub mod agent;
pub mod backup;
pub mod clock;
pub mod disk;
pub mod history;
pub mod hubs;
pub mod intake;
pub mod ledger;
pub mod many;
pub mod meddler;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod readings;
pub mod rows;
pub mod sabotage;
pub mod storm;
pub mod trace;
pub mod trims;
pub mod watch;
pub mod weather;
pub mod world;

pub use history::{Options, Report, run};
pub use plan::Profile;
pub use sabotage::Sabotage;
