//! Plans: what the next step of a table is, named before it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A step of a table. Created where none with its number may be; finished by whoever finds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Numbers of a table's plans are dense from 1.
    pub number: u64,
    /// Tells two plans that were made at once apart; part of the files' names.
    pub(crate) id: String,
    /// When it was made, Unix milliseconds.
    pub at: i64,
    /// The table's schema after it, as Delta writes it.
    pub(crate) schema: String,
    /// What is to be done.
    pub work: Work,
}

/// What a plan does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Adds records.
    Append {
        /// Where they come from.
        sources: Vec<Source>,
        /// Rows of each date, `YYYY-MM-DD`; each gets a file.
        dates: BTreeMap<String, u64>,
        /// What these parts of the chains say will never arrive.
        receipts: Vec<Receipt>,
    },
    /// Replaces files of one date by one with the same rows.
    Compact {
        /// The date, `YYYY-MM-DD`.
        date: String,
        /// The files, relative to the table.
        inputs: Vec<String>,
        /// Their rows.
        rows: u64,
    },
}

/// A part of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The agent.
    pub agent: String,
    /// Its epoch.
    pub epoch: u32,
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
    /// The lifetime that the epoch is of, as a number; tells two stores apart. `None` where it is not known.
    pub life: Option<u64>,
    /// Whether the chain has ended for good.
    pub closed: bool,
    /// Whether this was left out before, because it was damaged.
    pub mends: bool,
    /// What is left out now, because it is damaged: from, to.
    pub damaged: Vec<(u64, u64)>,
}

/// Offsets that will never arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The agent.
    pub agent: String,
    /// Its epoch.
    pub epoch: u32,
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
    /// Why.
    pub reason: String,
    /// Earliest and latest time of a record, Unix nanoseconds, where that is known.
    pub times: Option<(i64, i64)>,
    /// When the hub stored it, Unix nanoseconds.
    pub received_at: i64,
}

impl Plan {
    /// The file of a date, relative to the table.
    pub(crate) fn file(&self, date: &str) -> String {
        format!("date={date}/{:010}-{}.parquet", self.number, self.id)
    }

    /// All files that it writes, with their date and rows.
    pub(crate) fn files(&self) -> Vec<(String, String, u64)> {
        match &self.work {
            Work::Append { dates, .. } => {
                dates.iter().map(|(date, rows)| (self.file(date), date.clone(), *rows)).collect()
            }
            Work::Compact { date, rows, .. } => vec![(self.file(date), date.clone(), *rows)],
        }
    }
}

/// The number of the plan that wrote a file; `None` for a file that none wrote.
pub(crate) fn plan_of(file: &str) -> Option<u64> {
    let name = file.rsplit('/').next()?.strip_suffix(".parquet")?;
    let (number, id) = name.split_once('-')?;
    (number.len() == 10 && id.len() == 16).then(|| number.parse().ok()).flatten()
}
