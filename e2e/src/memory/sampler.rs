//! The resident memory of a process over time.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Between two looks.
const STEP: Duration = Duration::from_millis(50);
/// More samples than any case takes.
const MOST: usize = 20_000;

/// What was resident at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds since the sampler started.
    pub seconds: f64,
    /// Bytes (`VmRSS`).
    pub resident: u64,
}

/// Watches a process until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Starts to watch the process `pid`.
    pub fn start(pid: u32) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            let mut samples = Vec::new();
            let mut ticks = tokio::time::interval(STEP);
            while samples.len() < MOST {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = ticks.tick() => {}
                }
                let Some(resident) = resident(pid) else { break };
                samples.push(Sample { seconds: begun.elapsed().as_secs_f64(), resident });
            }
            samples
        });
        Self { stop, task }
    }

    /// Stops, and gives what was seen.
    pub async fn stop(self) -> Vec<Sample> {
        // Without a receiver the process is gone, and the task with it.
        let _ = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

/// `VmRSS` of a process, `None` when it is gone.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_process_takes_is_seen() {
        let sampler = Sampler::start(std::process::id());
        tokio::time::sleep(STEP * 2).await;
        let block = vec![7_u8; 32 << 20];
        tokio::time::sleep(STEP * 3).await;
        let samples = sampler.stop().await;
        assert_eq!(block[1 << 20], 7);
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        assert!(last.resident > first.resident + (24 << 20), "{first:?} {last:?}");
    }
}
