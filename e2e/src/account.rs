//! The accounts of agent and hub, read and checked: accepted = committed + pending + receipted, whoever is asked.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use crate::Result;

/// The account of one log at the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Records taken from sensors.
    pub accepted: u64,
    /// Records that the hub has.
    pub committed: u64,
    /// Records in the ring that the hub does not have yet.
    pub pending: u64,
    /// Records that will never arrive, by reason.
    pub receipted: BTreeMap<String, u64>,
    /// The next offset.
    pub head: u64,
    /// The lowest offset in the ring.
    pub tail: u64,
}

/// The account of one epoch of a log at the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochAccount {
    /// The hub's number.
    pub epoch: u64,
    /// The life of the agent that it belongs to, in hex.
    pub incarnation: String,
    /// Whether it has ended.
    pub closed: bool,
    /// The next offset that the hub expects.
    pub next_offset: u64,
    /// The highest head that the agent told.
    pub head_seen: u64,
    /// Records stored.
    pub committed: u64,
    /// Ranges that will never arrive, in order.
    pub receipts: Vec<Receipt>,
}

/// A range of offsets that will never arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The offsets.
    pub range: Range<u64>,
    /// Why they were lost.
    pub reason: String,
    /// Times of the first and last record lost, in Unix ns, where the hub could know them.
    pub times: Option<(i64, i64)>,
}

impl LogStatus {
    /// Reads the account from the status; a log that is not there has accepted nothing.
    ///
    /// # Errors
    /// When a number is missing, or the sum is wrong.
    pub fn read(json: &Value) -> Result<Self> {
        if json.is_null() {
            return Ok(Self::default());
        }
        let mut receipted = BTreeMap::new();
        for (reason, count) in json["receipted"].as_object().ok_or_else(|| format!("no receipted in {json}"))? {
            receipted.insert(reason.clone(), count.as_u64().ok_or_else(|| format!("{reason} is no number in {json}"))?);
        }
        let account = Self {
            accepted: number(json, "accepted")?,
            committed: number(json, "committed")?,
            pending: number(json, "pending")?,
            receipted,
            head: number(json, "head")?,
            tail: number(json, "tail")?,
        };
        if account.committed + account.pending + account.lost() != account.accepted {
            return Err(format!("committed + pending + receipted is not accepted: {account:?}").into());
        }
        Ok(account)
    }

    /// Records receipted, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.receipted.values().sum()
    }
}

impl EpochAccount {
    /// Reads all epochs of an account and checks each: what is below the next offset is stored or receipted, once.
    ///
    /// # Errors
    /// When a number is missing, receipts overlap or leave the log, or the sum is wrong.
    pub fn read_all(json: &Value) -> Result<Vec<Self>> {
        let epochs = json["epochs"].as_array().ok_or_else(|| format!("no epochs in {json}"))?;
        epochs.iter().map(Self::read).collect()
    }

    fn read(json: &Value) -> Result<Self> {
        let receipts = json["receipts"].as_array().ok_or_else(|| format!("no receipts in {json}"))?;
        let account = Self {
            epoch: number(json, "epoch")?,
            incarnation: json["incarnation"].as_str().unwrap_or_default().to_owned(),
            closed: json["closed"].as_bool().unwrap_or_default(),
            next_offset: number(json, "next_offset")?,
            head_seen: number(json, "head_seen")?,
            committed: number(json, "committed")?,
            receipts: receipts.iter().map(Receipt::read).collect::<Result<_>>()?,
        };
        let mut end = 0;
        for receipt in &account.receipts {
            if receipt.range.start < end || receipt.range.is_empty() || receipt.range.end > account.next_offset {
                return Err(format!("receipts overlap, are empty or leave the log: {account:?}").into());
            }
            end = receipt.range.end;
        }
        if account.committed + account.lost() != account.next_offset {
            return Err(format!("committed + receipted is not the next offset: {account:?}").into());
        }
        Ok(account)
    }

    /// Records receipted, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.receipts.iter().map(|receipt| receipt.range.end - receipt.range.start).sum()
    }

    /// How many of the offsets `range` are named by receipts.
    pub fn receipted_within(&self, range: Range<u64>) -> u64 {
        let first = self.receipts.partition_point(|receipt| receipt.range.end <= range.start);
        let within = |receipt: &Receipt| receipt.range.end.min(range.end) - receipt.range.start.max(range.start);
        let touching = self.receipts.iter().skip(first).take_while(|receipt| receipt.range.start < range.end);
        touching.map(within).sum()
    }

    /// Whether a receipt names this offset.
    pub fn has_receipt_for(&self, offset: u64) -> bool {
        let next = self.receipts.partition_point(|receipt| receipt.range.start <= offset);
        next.checked_sub(1).and_then(|index| self.receipts.get(index)).is_some_and(|r| r.range.contains(&offset))
    }
}

impl Receipt {
    fn read(json: &Value) -> Result<Self> {
        let (from, to) = (number(json, "from")?, number(json, "to")?);
        let reason = json["reason"].as_str().ok_or_else(|| format!("no reason in {json}"))?.to_owned();
        let times = json["min_time"].as_i64().zip(json["max_time"].as_i64());
        Ok(Self { range: from..to, reason, times })
    }
}

fn number(json: &Value, key: &str) -> Result<u64> {
    json[key].as_u64().ok_or_else(|| format!("no number {key} in {json}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn epoch(committed: u64, receipts: &[(u64, u64)]) -> Value {
        let receipts: Vec<_> =
            receipts.iter().map(|(from, to)| json!({"from": from, "to": to, "reason": "lost"})).collect();
        json!({"epochs": [{"epoch": 1, "next_offset": 10, "head_seen": 12, "committed": committed, "receipts": receipts}]})
    }

    #[test]
    fn an_account_whose_sum_is_wrong_is_an_error() {
        assert!(EpochAccount::read_all(&epoch(9, &[(3, 4)])).is_ok());
        assert!(EpochAccount::read_all(&epoch(10, &[(3, 4)])).is_err());
        assert!(EpochAccount::read_all(&epoch(8, &[(3, 4), (3, 4)])).is_err());
        assert!(EpochAccount::read_all(&epoch(9, &[(10, 11)])).is_err());
    }

    #[test]
    fn a_receipt_names_its_offsets_and_no_others() {
        let account = EpochAccount::read_all(&epoch(7, &[(0, 1), (3, 5)])).unwrap().remove(0);
        let named: Vec<u64> = (0..10).filter(|offset| account.has_receipt_for(*offset)).collect();
        assert_eq!(named, [0, 3, 4]);
        let within = [0..10, 0..1, 1..3, 2..4, 4..5, 5..10].map(|range| account.receipted_within(range));
        assert_eq!(within, [3, 1, 0, 1, 1, 0]);
    }
}
