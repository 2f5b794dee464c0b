//! Readings of the host itself, so that an agent has real data from its first seconds: the log `host`.
//!
//! One sample is one record of `kind` `system`, and one per disk, network interface and temperature sensor, named by the
//! tag `device`; all carry the same time. Counters count since boot; sizes are bytes.

use std::time::Duration;

use sysinfo::{Components, CpuRefreshKind, Disk, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::records::{Records, Value};
use crate::ticks::{tick, ticks};

/// The log of host readings.
pub const LOG: &str = "host";

/// Disks, interfaces and sensors per sample, each: a host with more is cut, not trusted.
pub const MAX_DEVICES: usize = 64;

/// CPU use is a difference between two looks; nearer than this it is noise.
pub const WARM_UP: Duration = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;

/// Reads the host. It keeps what it needs to tell differences.
#[derive(Debug)]
pub struct Sampler {
    system: System,
    disks: Disks,
    networks: Networks,
    sensors: Components,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Takes the first look, from which the first sample's CPU use counts.
    pub fn new() -> Self {
        let mut system = System::new();
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
        Self { system, disks: Disks::new(), networks: Networks::new(), sensors: Components::new() }
    }

    /// Appends one sample with the time `now` (Unix nanoseconds) to `records`. It reads files under `/proc` and `/sys`
    /// and asks file systems for their space, which a dead network mount may delay: not for an async thread.
    pub fn sample(&mut self, now: i64, records: &mut Records) {
        self.system_record(now, records);
        self.disk_records(now, records);
        self.network_records(now, records);
        self.sensor_records(now, records);
    }

    fn system_record(&mut self, now: i64, records: &mut Records) {
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        let load = System::load_average();
        records.begin(LOG, Some(now));
        records.push("kind", Value::Tag("system"));
        records.push("cpu_percent", Value::F64(tidy(self.system.global_cpu_usage())));
        records.push("load_1m", Value::F64(load.one));
        records.push("load_5m", Value::F64(load.five));
        records.push("load_15m", Value::F64(load.fifteen));
        records.push("mem_total_bytes", Value::U64(self.system.total_memory()));
        records.push("mem_used_bytes", Value::U64(self.system.used_memory()));
        records.push("mem_available_bytes", Value::U64(self.system.available_memory()));
        records.push("swap_total_bytes", Value::U64(self.system.total_swap()));
        records.push("swap_used_bytes", Value::U64(self.system.used_swap()));
        records.push("uptime_s", Value::U64(System::uptime()));
        records.finish();
    }

    fn disk_records(&mut self, now: i64, records: &mut Records) {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        let mut seen: Vec<(&std::ffi::OsStr, u64)> = Vec::new();
        for disk in self.disks.list().iter().filter(|disk| disk.total_space() > 0).take(MAX_DEVICES) {
            // Bind mounts show one file system many times over.
            let key = (disk.name(), disk.total_space());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            device(now, "disk", &disk.mount_point().to_string_lossy(), records);
            disk_fields(disk, records);
            records.finish();
        }
    }

    fn network_records(&mut self, now: i64, records: &mut Records) {
        self.networks.refresh(true);
        let mut all: Vec<_> = self.networks.list().iter().collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        for (name, data) in all.into_iter().take(MAX_DEVICES) {
            device(now, "network", name, records);
            records.push("received_bytes", Value::U64(data.total_received()));
            records.push("sent_bytes", Value::U64(data.total_transmitted()));
            records.push("received_packets", Value::U64(data.total_packets_received()));
            records.push("sent_packets", Value::U64(data.total_packets_transmitted()));
            records.push("receive_errors", Value::U64(data.total_errors_on_received()));
            records.push("send_errors", Value::U64(data.total_errors_on_transmitted()));
            records.finish();
        }
    }

    fn sensor_records(&mut self, now: i64, records: &mut Records) {
        self.sensors.refresh(true);
        for sensor in self.sensors.list().iter().take(MAX_DEVICES) {
            let Some(celsius) = sensor.temperature().filter(|celsius| celsius.is_finite()) else { continue };
            device(now, "sensor", sensor.label(), records);
            records.push("temperature_c", Value::F64(tidy(celsius)));
            records.finish();
        }
    }
}

/// Samples every `interval` and hands each sample to `store`, until `stop` turns true or its sender is gone.
pub async fn run(interval: Duration, mut store: impl FnMut(&Records) + Send, mut stop: watch::Receiver<bool>) {
    let mut sampler = Sampler::new();
    let mut records = Records::new();
    // A zero interval would spin; the configuration refuses it, this only keeps the promise not to.
    let mut ticks = ticks(Instant::now() + WARM_UP, interval.max(WARM_UP));
    while tick(&mut ticks, &mut stop).await {
        let sampled = tokio::task::spawn_blocking(move || {
            records.clear();
            sampler.sample(unix_ns(), &mut records);
            (sampler, records)
        });
        match sampled.await {
            Ok(back) => (sampler, records) = back,
            Err(error) => {
                tracing::error!(%error, "host readings stop: the sampler failed");
                return;
            }
        }
        store(&records);
    }
}

fn device(now: i64, kind: &str, name: &str, records: &mut Records) {
    records.begin(LOG, Some(now));
    records.push("kind", Value::Tag(kind));
    records.push("device", Value::Tag(name));
}

fn disk_fields(disk: &Disk, records: &mut Records) {
    let total = disk.total_space();
    let used = total.saturating_sub(disk.available_space());
    records.push("total_bytes", Value::U64(total));
    records.push("used_bytes", Value::U64(used));
    records.push("used_percent", Value::F64((used as f64 / total as f64 * 1_000.0).round() / 10.0));
}

/// The kernel gives hundredths at best; more digits would only cost space.
fn tidy(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

fn unix_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_the_system_and_its_devices_at_one_time() {
        let mut sampler = Sampler::new();
        let mut records = Records::new();
        sampler.sample(42, &mut records);
        let all: Vec<_> = records.iter().collect();
        assert!(all.iter().all(|record| record.log() == LOG && record.time() == Some(42)));
        let value = |name: &str| all[0].values().find(|(found, _)| *found == name).map(|(_, value)| value);
        assert_eq!(value("kind"), Some(Value::Tag("system")));
        assert!(matches!(value("mem_total_bytes"), Some(Value::U64(bytes)) if bytes > 0));
        assert!(matches!(value("cpu_percent"), Some(Value::F64(percent)) if (0.0..=100.0).contains(&percent)));
        for record in &all[1..] {
            let tags = record.values().filter(|(_, value)| matches!(value, Value::Tag(_))).count();
            assert_eq!(tags, 2, "every device has kind and name");
        }
    }

    #[tokio::test]
    async fn the_task_samples_until_it_is_told_to_stop() {
        let (stop, stopped) = watch::channel(false);
        let (sender, mut samples) = tokio::sync::mpsc::channel(4);
        let store = move |records: &Records| {
            let _ = sender.try_send(records.len());
        };
        let task = tokio::spawn(run(Duration::from_millis(1), store, stopped));
        for _ in 0..2 {
            let sample = tokio::time::timeout(Duration::from_secs(60), samples.recv()).await;
            assert!(matches!(sample, Ok(Some(1..))));
        }
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    }
}
