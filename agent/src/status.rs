//! The status document: where every record is, and how the agent is doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::device_clock::{ClockView, DeviceClock};
use crate::ingest::sidecar::{SidecarStatus, SidecarView};
use crate::ring::{Account, Clock, LossReason, Ring};
use crate::sync::{HubReport, SyncShared};

/// Makes status documents.
#[derive(Debug)]
pub struct StatusSource {
    /// Name of the agent.
    pub agent_id: String,
    /// This lifetime of the ring's contents.
    pub incarnation: [u8; 16],
    /// When the agent started.
    pub started: Instant,
    /// The ring.
    pub ring: Ring,
    /// Its clock.
    pub clock: Clock,
    /// The way upstream.
    pub sync: Arc<SyncShared>,
    /// Links to firmware.
    pub sidecar: Arc<SidecarStatus>,
    /// What the device's clock does.
    pub device_clock: Arc<DeviceClock>,
}

/// The document of `GET /v1/status`. Times are seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Name of the agent.
    pub agent_id: String,
    /// This lifetime of the ring's contents, in hexadecimal.
    pub incarnation: String,
    /// What the hub calls it; `None` before the first answer.
    pub epoch: Option<u32>,
    /// Since the start.
    pub uptime_s: f64,
    /// Until the oldest pending record is evicted at the present rate; `None`: nothing is at risk.
    pub runway_s: Option<f64>,
    /// Bytes.
    pub memory: Memory,
    /// The way upstream.
    pub sync: SyncView,
    /// The device's clock.
    pub clock: ClockView,
    /// Links to firmware; left out if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarView>,
    /// Account of each log.
    pub logs: BTreeMap<String, LogView>,
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of the budget in use.
    pub used: u64,
    /// The budget.
    pub cap: u64,
    /// Of the process, as the kernel counts; 0 where it does not say.
    pub resident: u64,
}

/// How shipping goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncView {
    /// `idle`, `sending`, `backoff`, `fenced` or `off`.
    pub state: &'static str,
    /// Why the last exchange failed.
    pub last_error: Option<String>,
    /// Until the next attempt.
    pub next_attempt_s: Option<f64>,
    /// The hubs; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hubs: Vec<HubReport>,
}

/// One log: `accepted = committed + pending + sum of receipted`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogView {
    /// Records taken in.
    pub accepted: u64,
    /// Records durable at the hub.
    pub committed: u64,
    /// Records in the ring that the hub does not have.
    pub pending: u64,
    /// Records lost, by reason; reasons without any are left out.
    pub receipted: BTreeMap<&'static str, u64>,
    /// Next offset.
    pub head: u64,
    /// Lowest offset in the ring.
    pub tail: u64,
    /// Bytes of the budget.
    pub bytes: u64,
}

impl StatusSource {
    /// What is known of the device's clock.
    pub fn clock_view(&self) -> ClockView {
        let now = self.clock.now();
        self.device_clock.view(now.unix_ns, self.sync.report().hub_offset_ns(now))
    }

    /// The status now.
    pub fn status(&self) -> Status {
        let ring = self.ring.status();
        let report = self.sync.report();
        let clock = self.clock_view();
        let logs = self.ring.logs().into_iter().map(|log| {
            let Account { accepted, committed, pending, receipted: by_reason } = log.account;
            let receipted = receipted(by_reason);
            let (head, tail, bytes) = (log.head, log.tail, log.bytes);
            (log.name.to_string(), LogView { accepted, committed, pending, receipted, head, tail, bytes })
        });
        Status {
            agent_id: self.agent_id.clone(),
            incarnation: self.incarnation.iter().map(|byte| format!("{byte:02x}")).collect(),
            epoch: report.epoch,
            uptime_s: self.started.elapsed().as_secs_f64(),
            runway_s: self.ring.runway(self.clock.now()).map(|runway| runway.as_secs_f64()),
            memory: Memory { used: ring.used, cap: ring.cap, resident: resident_bytes() },
            sync: SyncView {
                state: report.state.word(),
                next_attempt_s: report.next_attempt_in().map(|wait| wait.as_secs_f64()),
                last_error: report.last_error,
                hubs: self.sync.hubs(),
            },
            clock,
            sidecar: self.sidecar.view(),
            logs: logs.collect(),
        }
    }
}

/// Counts by reason under their names, without the zeros.
pub fn receipted(counts: [u64; 4]) -> BTreeMap<&'static str, u64> {
    LossReason::ALL.iter().map(|reason| reason.name()).zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Resident memory of this process, in bytes; 0 where the kernel does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_memory_we_hold() {
        assert!(resident_bytes() > 1 << 20);
    }

    #[test]
    fn reasons_without_losses_are_left_out() {
        assert_eq!(receipted([3, 0, 0, 1]), BTreeMap::from([("evicted", 3), ("corrupt", 1)]));
    }
}
