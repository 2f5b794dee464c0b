//! `pyralog-agent serve`: from flags to a running agent and back.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pyralog_service::signals::Signals;
use pyralog_service::without_password;
use pyralog_supervision::Manager;

use super::{EXIT_USAGE, ServeArgs, fail, refuse, room, supervised};
use crate::app::{App, Endpoints, RELOADABLE};
use crate::config::{Config, FlagValue, Loaded, Log, LogStyle, Sources, changed_keys, format_size, load};

/// Threads that run network and timers. Ingest is memory work of microseconds, so two keep up with any board.
const MAX_WORKERS: usize = 2;
/// Stacks count against resident memory once touched; nothing here recurses.
const STACK_BYTES: usize = 512 << 10;
/// What ending may take beyond the grace that is configured.
const STOP_SLACK: Duration = Duration::from_secs(5);

pub(super) fn run(args: ServeArgs) -> ExitCode {
    let sources = args.sources();
    let loaded = match load(&sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            Manager::from_env().status(&format!("Configuration: {}", error.in_a_line()));
            return refuse(&error);
        }
    };
    start_logging(&loaded.config.log);
    let manager = Arc::new(Manager::from_env());
    for warning in loaded.warnings.iter().chain(&room::warnings(loaded.config.storage.max_memory)) {
        tracing::warn!("{warning}");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .max_blocking_threads(2)
        .thread_stack_size(STACK_BYTES)
        .thread_name("pyralog")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&manager, 1, format_args!("cannot start: {error}")),
    };
    let code = runtime.block_on(serve(loaded, &sources, &manager));
    // What still runs is stuck in a system call; the records are shipped or receipted, so nothing waits for it.
    runtime.shutdown_background();
    code
}

async fn serve(loaded: Loaded, sources: &Sources, manager: &Arc<Manager>) -> ExitCode {
    let Loaded { config, resolved, .. } = loaded;
    let grace = config.shutdown_grace;
    // Before anything is promised: a signal in between must not be lost, nor end us.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return not_started(manager, 1, format_args!("cannot listen for signals: {error}")),
    };
    let app = match App::start(config).await {
        Ok(app) => app,
        Err(error) => return not_started(manager, if error.is_configuration() { EXIT_USAGE } else { 1 }, error),
    };
    greet(app.config(), app.endpoints());
    manager.ready(&supervised::status(app.status()));
    let feeding = supervised::keep_fed(&app, manager);
    let look = || {
        manager.reloading();
        app.look_at_files();
        reload(&app, sources, &resolved);
        manager.ready(&supervised::status(app.status()));
    };
    let signal = signals.stop(look).await;
    tracing::info!("{signal}: stopping within {grace:?}; a second signal exits at once");
    if let Some(feeding) = feeding {
        feeding.abort();
    }
    manager.stopping("Stopping: shipping what is pending", grace + STOP_SLACK);
    tokio::select! {
        () = app.stop() => ExitCode::SUCCESS,
        signal = signals.stop(|| ()) => {
            tracing::warn!("{signal} again: exiting at once, pending records are lost");
            ExitCode::from(1)
        }
    }
}

/// Reads the configuration again, and takes over what can change while all runs; `resolved` is what it was started with. What
/// is wrong now changes nothing.
fn reload(app: &App, sources: &Sources, resolved: &str) {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            for problem in &error.problems {
                tracing::error!("SIGHUP: keeping the configuration from before: {problem}");
            }
            return;
        }
    };
    if let Err(error) = app.reload(&loaded.config) {
        return tracing::error!("SIGHUP: keeping the configuration from before: {error}");
    }
    let Config { mqtt, http, .. } = &loaded.config;
    let (routes, users, tokens) = (mqtt.routes.len(), mqtt.users.len(), http.tokens.len());
    tracing::info!("SIGHUP: configuration read again: {routes} routes, {users} MQTT users, {tokens} HTTP tokens");
    let mut fixed = changed_keys(resolved, &loaded.resolved);
    fixed.retain(|key| !RELOADABLE.contains(&key.as_str()));
    if !fixed.is_empty() {
        tracing::warn!("changed and not taken over: {}; it needs a restart", fixed.join(", "));
    }
}

/// Says why nothing runs: to people, and in the one line that `systemctl status` shows.
fn not_started(manager: &Manager, code: u8, why: impl std::fmt::Display) -> ExitCode {
    manager.status(&format!("Not started: {why}"));
    fail(code, why)
}

impl ServeArgs {
    pub(super) fn sources(self) -> Sources {
        let mut sources = self.config.sources();
        let flags = [
            ("--memory-only", "storage.mode", self.memory_only.then(|| "memory-only".to_owned())),
            ("--max-memory", "storage.max_memory", self.max_memory),
            ("--agent-id", "agent_id", self.agent_id),
            ("--upstream", "sync.upstream", (!self.upstream.is_empty()).then(|| self.upstream.join(","))),
            ("--mqtt-listen", "mqtt.listen", self.mqtt_listen),
            ("--http-listen", "http.listen", self.http_listen),
        ];
        for (flag, key, value) in flags {
            let given = value.map(|value| FlagValue { flag: flag.to_owned(), key: key.to_owned(), value });
            sources.flags.extend(given);
        }
        sources
    }
}

/// Where we listen and how to send a first reading: what a person needs next, and what a script reads the ports from.
fn greet(config: &Config, endpoints: Endpoints) {
    let http = format!("{}://{}", if config.http.tls.is_some() { "https" } else { "http" }, endpoints.http);
    let memory = format_size(config.storage.max_memory);
    let mut text = format!("pyralog-agent {} \"{}\"\n", env!("CARGO_PKG_VERSION"), config.agent_id);
    text += &format!("  http      {http}   (a browser shows the status)\n");
    if let Some(mqtt) = endpoints.mqtt {
        let scheme = if config.mqtt.tls.is_some() { "mqtts" } else { "mqtt" };
        text += &format!("  mqtt      {scheme}://{mqtt}\n");
    }
    for endpoint in &config.sidecar.listen {
        text += &format!("  sidecar   {endpoint}\n");
    }
    text += &format!("  memory    {memory} in RAM, nothing on disk\n");
    for upstream in &config.sync.upstream {
        text += &format!("  upstream  {}\n", without_password(upstream));
    }
    if config.sync.upstream.is_empty() {
        text += "  upstream  none: add --upstream http://HUB:7390 to ship records\n";
    }
    let token = if config.http.tokens.is_empty() { "" } else { "-H 'Authorization: Bearer TOKEN' " };
    text += "Send a first reading and read it back:\n";
    text += &format!("  curl {token}-d 'climate temp=21.5' {http}/write\n");
    text += &format!("  curl {token}{http}/v1/logs/climate/records\n");
    // Nobody reading is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn start_logging(log: &Log) {
    use tracing_subscriber::prelude::*;
    let filter: tracing_subscriber::filter::Targets = log.level.parse().unwrap_or_default();
    let journal = match log.style {
        LogStyle::Journal => true,
        LogStyle::Terminal => false,
        LogStyle::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).compact().with_target(false);
    let layer = layer.with_ansi(!journal && std::io::stderr().is_terminal());
    // The program starts once, but tests may start it twice in a process; the first logger stays.
    let _ = if journal {
        tracing_subscriber::registry().with(layer.without_time().with_filter(filter)).try_init()
    } else {
        tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
    };
}
