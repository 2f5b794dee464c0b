//! What the service manager hears of a running agent.

use std::sync::Arc;

use pyralog_supervision::Manager;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::format_size;
use crate::status::StatusSource;

/// Feeds the watchdog for as long as the agent's loops live.
pub(super) fn keep_fed(app: &App, manager: &Arc<Manager>) -> Option<JoinHandle<()>> {
    if !manager.is_there() {
        return None;
    }
    let (manager, pulse, clock) = (Arc::clone(manager), app.pulse().clone(), app.clock());
    let source = Arc::clone(app.status());
    let feeding = async move {
        pyralog_supervision::keep_fed(&manager, &pulse, || clock.now().mono, || status(&source)).await;
    };
    Some(tokio::spawn(feeding))
}

/// The agent in one line, for `systemctl status`.
pub(super) fn status(source: &StatusSource) -> String {
    let (ring, sync) = (source.ring.status(), source.sync.report());
    let totals = ring.totals;
    let lost: u64 = totals.receipted.iter().sum();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let mut line = format!(
        "{} records accepted, {} pending, {lost} receipted; {} MiB of {} used; sync {}",
        totals.accepted,
        totals.pending,
        mib(ring.used),
        format_size(ring.cap),
        sync.state.word()
    );
    if source.clock_view().state == "unset" {
        line += "; the clock was never set";
    }
    if let Some(error) = sync.last_error {
        line += &format!(": {error}");
    }
    if let Some(trouble) = source.sidecar.trouble() {
        line += &format!("; sidecar {trouble}");
    }
    line
}
