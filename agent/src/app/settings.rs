//! From the configuration to what each part is started with.

use std::sync::Arc;
use std::time::Duration;

use pyralog_sync_protocol::AgentId;

use crate::config::{Mqtt, Sync as SyncSection};
use crate::ingest::mqtt::{Access, ConnectionBudget, MqttEndpoint, MqttServerConfig, Reserved, User};
use crate::ingest::sidecar::{Counter, SidecarStatus};
use crate::ingest::subscriber::{Snapshot, SubscriberStatus};
use crate::metrics::Extra;
use crate::ring::{Ring, Use};
use crate::sync::SyncConfig;
use crate::tls::TlsError;
use crate::tls::door::Door;

/// Charges MQTT connections to the ring, which evicts for them if its policy allows.
pub(super) struct RingBudget(pub(super) Ring);

impl ConnectionBudget for RingBudget {
    fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let held = self.0.reserve_for(Use::Mqtt, bytes).ok()?;
        Some(Box::new(held))
    }
}

pub(super) fn mqtt_config(mqtt: &Mqtt) -> Result<MqttServerConfig, TlsError> {
    Ok(MqttServerConfig {
        tls: mqtt.tls.as_ref().map(|tls| Door::open(tls, &[])).transpose()?,
        access: mqtt_access(mqtt),
        max_connections: mqtt.max_connections as usize,
        max_packet: usize::try_from(mqtt.max_packet).unwrap_or(usize::MAX),
        ..MqttServerConfig::new(mqtt.listen)
    })
}

/// Who may publish.
pub(super) fn mqtt_access(mqtt: &Mqtt) -> Access {
    let users: Vec<User> = mqtt.users.iter().map(|user| User::new(&user.name, user.password.expose())).collect();
    if users.is_empty() { Access::Anonymous } else { Access::Users(users) }
}

pub(super) fn sync_config(sync: &SyncSection, agent_id: AgentId) -> SyncConfig {
    SyncConfig {
        interval: sync.interval,
        max_batch: u32::try_from(sync.max_batch).unwrap_or(u32::MAX),
        threshold: sync.size_threshold,
        token_file: sync.token_file.clone(),
        tls: sync.tls.clone(),
        timeout: sync.timeout.max(Duration::from_millis(1)),
        policy: sync.upstream_policy,
        ..SyncConfig::new(sync.upstream.clone(), agent_id)
    }
}

pub(super) fn mqtt_counters(endpoint: &MqttEndpoint) -> Vec<Extra> {
    use crate::ingest::mqtt::MqttCounters;
    type Row = (&'static str, &'static str, bool, fn(&MqttCounters) -> u64);
    let rows: [Row; 9] = [
        ("mqtt_connections", "Open MQTT connections", false, MqttCounters::connections),
        ("mqtt_accepted", "MQTT connections let in", true, MqttCounters::accepted),
        ("mqtt_turned_away", "MQTT connections closed at once", true, MqttCounters::turned_away),
        ("mqtt_unauthorized", "MQTT logins with a wrong name or password", true, MqttCounters::unauthorized),
        (
            "mqtt_shut_out",
            "MQTT logins not looked at, since too many wrong ones came from their host",
            true,
            MqttCounters::shut_out,
        ),
        ("mqtt_received", "MQTT messages taken", true, MqttCounters::received),
        ("mqtt_acked", "MQTT messages acknowledged", true, MqttCounters::acked),
        ("mqtt_refused", "MQTT messages not taken", true, MqttCounters::refused),
        ("mqtt_malformed", "MQTT connections closed for breaking the protocol", true, MqttCounters::malformed),
    ];
    let extra = rows.into_iter().map(|(name, help, counter, read)| {
        let endpoint = endpoint.clone();
        Extra { name, help, counter, read: Box::new(move || read(endpoint.counters())) }
    });
    extra.collect()
}

pub(super) fn sidecar_counters(status: &Arc<SidecarStatus>) -> Vec<Extra> {
    type Row = (&'static str, &'static str, bool, fn(&SidecarStatus) -> u64);
    let rows: [Row; 10] = [
        ("sidecar_links", "Open links to firmware", false, |s| s.links() as u64),
        ("sidecar_records", "Records from firmware that the ring has", true, |s| s.totals()[0]),
        ("sidecar_duplicates", "Records from firmware that came again", true, |s| s.totals()[1]),
        ("sidecar_dropped", "Records that firmware dropped before they were acknowledged", true, |s| s.totals()[2]),
        ("sidecar_frames", "Good frames from firmware", true, |s| s.count(Counter::Frames)),
        ("sidecar_damaged", "Frames from firmware that were damaged, or none", true, |s| s.count(Counter::Damaged)),
        ("sidecar_unknown", "Frames from firmware of another version or kind", true, |s| s.count(Counter::Unknown)),
        ("sidecar_gaps", "Gaps after which firmware was asked to go back", true, |s| s.count(Counter::Gaps)),
        ("sidecar_full", "Records from firmware for which there was no room", true, |s| s.count(Counter::Full)),
        ("sidecar_turned_away", "Connections to the sidecar closed at once", true, |s| s.count(Counter::TurnedAway)),
    ];
    let extra = rows.into_iter().map(|(name, help, counter, read)| {
        let status = Arc::clone(status);
        Extra { name, help, counter, read: Box::new(move || read(&status)) }
    });
    extra.collect()
}

pub(super) fn subscriber_counters(states: Vec<Arc<SubscriberStatus>>) -> Vec<Extra> {
    if states.is_empty() {
        return Vec::new();
    }
    type Row = (&'static str, &'static str, bool, fn(&Snapshot) -> u64);
    let rows: [Row; 3] = [
        ("subscriber_connected", "Brokers that a subscriber is connected to", false, |s| u64::from(s.connected)),
        ("subscriber_stored", "Messages from brokers that the ring has", true, |s| s.stored),
        ("subscriber_refused", "Messages from brokers that the ring cannot take", true, |s| s.refused),
    ];
    let extra = rows.into_iter().map(|(name, help, counter, read)| {
        let states = states.clone();
        let sum = move || states.iter().map(|state| read(&state.snapshot())).sum();
        Extra { name, help, counter, read: Box::new(sum) }
    });
    extra.collect()
}
