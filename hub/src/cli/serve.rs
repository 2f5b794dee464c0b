//! `pyralog-hub serve`.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pyralog_service::signals::Signals;
use pyralog_supervision::Manager;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{CliError, ServeArgs};
use crate::config::Config;
use crate::run::{Running, StartError, start};
use crate::tls::ClientAuth;

/// What ending may take beyond the grace that is configured.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Serves until told to stop; what keeps it from starting is told to the service manager too.
pub(super) async fn serve(args: ServeArgs) -> Result<ExitCode, CliError> {
    let manager = Arc::new(Manager::from_env());
    let outcome = supervised(args, &manager).await;
    if let Err(error) = &outcome {
        let what = if error.code == 2 { "Configuration" } else { "Not started" };
        manager.status(&format!("{what}: {}", error.message));
    }
    outcome
}

async fn supervised(args: ServeArgs, manager: &Arc<Manager>) -> Result<ExitCode, CliError> {
    let mut config = config(&args)?;
    log_to_stderr(&config.log)?;
    // Before anything is promised: a signal in between must not be lost.
    let mut signals =
        Signals::new().map_err(|error| CliError::failed(format!("cannot listen for signals: {error}")))?;
    let running = start(&config).await.map_err(|error| match error {
        StartError::Tokens(_) | StartError::Tls(_) | StartError::Unfit(_) => CliError::configuration(error),
        _ => CliError::failed(error),
    })?;
    tracing::info!("entries are kept in {}", running.store());
    say_who_may(&config);
    tracing::info!("listening on {}", running.url());
    // For scripts, which may have asked for port 0.
    let _ = writeln!(std::io::stdout(), "listening on {}", running.url());
    let status = format!("Listening on {}, entries in {}", running.url(), running.store());
    manager.ready(&status);
    let feeding = keep_fed(&running, manager, status.clone());

    let grace = config.shutdown_grace;
    let look = || {
        manager.reloading();
        running.look_at_files();
        reload(&running, &args, &mut config);
        manager.ready(&status);
    };
    let signal = signals.stop(look).await;
    tracing::info!(?grace, "{signal}: no new requests; a second signal ends at once");
    if let Some(feeding) = feeding {
        feeding.abort();
    }
    manager.stopping("Stopping: requests in work come to their end", grace + STOP_SLACK);
    let orderly = tokio::select! {
        orderly = running.stop() => orderly,
        _ = signals.stop(|| ()) => false,
    };
    if !orderly {
        tracing::warn!("ended with requests in work: nothing that was acknowledged is lost");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration again, and takes over what can change while all runs; `running_by` is what the hub goes by. What is
/// wrong now changes nothing.
fn reload(running: &Running, args: &ServeArgs, running_by: &mut Config) {
    let outcome = config(args).map_err(|error| error.message).and_then(|new| {
        let (new, fixed) = running_by.reloaded(&new).map_err(|error| error.to_string())?;
        running.reload(running_by, &new).map_err(|error| error.to_string())?;
        *running_by = new;
        Ok(fixed)
    });
    match outcome {
        Err(error) => tracing::error!("SIGHUP: keeping the configuration from before: {error}"),
        Ok(fixed) => {
            tracing::info!("SIGHUP: configuration read again; files of tokens and certificates are looked at");
            say_who_may(running_by);
            if !fixed.is_empty() {
                tracing::warn!("changed and not taken over: {}; it needs a restart", fixed.join(", "));
            }
        }
    }
}

/// Feeds the watchdog for as long as the hub's loops live.
fn keep_fed(running: &Running, manager: &Arc<Manager>, status: String) -> Option<tokio::task::JoinHandle<()>> {
    if !manager.is_there() {
        return None;
    }
    let (manager, pulse, began) = (Arc::clone(manager), running.pulse().clone(), running.began());
    Some(tokio::spawn(async move {
        pyralog_supervision::keep_fed(&manager, &pulse, || began.elapsed(), || status.clone()).await;
    }))
}

fn say_who_may(config: &Config) {
    if let Some(file) = &config.tokens {
        tracing::info!(file = %file.display(), "agents and readers need tokens");
    }
    match (&config.tls.client_ca, config.tls.client_auth.unwrap_or_default()) {
        (Some(file), ClientAuth::Required) => {
            tracing::info!(file = %file.display(), "every client needs a certificate of these authorities");
        }
        (Some(file), ClientAuth::Optional) => {
            tracing::info!(file = %file.display(), "clients may show a certificate of these authorities");
        }
        (None, _) if config.tokens.is_some() => {
            if config.tls.cert.is_none() && !config.listen.ip().is_loopback() {
                tracing::warn!("tokens cross the network in the clear: set tls.cert and tls.key");
            }
        }
        (None, _) if config.allow_anonymous => tracing::warn!("everybody who can reach this hub may write and read"),
        (None, _) => tracing::info!("no tokens: everybody on this machine may write and read"),
    }
}

fn config(args: &ServeArgs) -> Result<Config, CliError> {
    let mut flags: Vec<(&str, String)> = Vec::new();
    for pair in &args.set {
        let Some((key, value)) = pair.split_once('=') else {
            let error = format!("--set {pair}: write KEY=VALUE, e.g. --set limits.max_batch=8MiB");
            return Err(CliError::configuration(error));
        };
        flags.push((key.trim(), value.trim().to_owned()));
    }
    let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    flags.extend(args.listen.clone().map(|listen| ("listen", listen)));
    flags.extend(args.store.clone().map(|store| ("store", store)));
    flags.extend(args.lake.clone().map(|lake| ("lake", lake)));
    let files = [
        ("tokens", &args.tokens),
        ("tls.cert", &args.tls_cert),
        ("tls.key", &args.tls_key),
        ("tls.client_ca", &args.tls_client_ca),
    ];
    flags.extend(files.into_iter().filter_map(|(key, file)| Some((key, path(file.as_ref()?)))));
    // Variables that are not UTF-8 are none of ours.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::resolve(args.config.as_deref(), environment, &flags).map_err(CliError::configuration)
}

pub(super) fn log_to_stderr(filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(quieter(filter)).map_err(CliError::configuration)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        .compact();
    // The journal stamps lines itself.
    let set = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => builder.without_time().try_init(),
        None => builder.try_init(),
    };
    set.map_err(|error| CliError::failed(format!("no logging: {error}")))
}

/// A filter by which the client of NATS, which tells of its connections as the store does, is heard by who names it; else its warnings
/// alone, and those only where others' are heard.
fn quieter(filter: &str) -> Cow<'_, str> {
    let mut levels = filter.split(',').filter_map(|directive| directive.trim().parse::<LevelFilter>().ok());
    match levels.next_back() {
        Some(level) if level > LevelFilter::WARN => format!("async_nats=warn,{filter}").into(),
        _ => filter.into(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Whether warnings and notes of the client of NATS are heard, and warnings of the hub.
    fn heard(filter: &str) -> (bool, bool, bool) {
        let filter = EnvFilter::try_new(quieter(filter)).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter), || {
            let client = |level| match level {
                Level::WARN => enabled!(target: "async_nats::connector", Level::WARN),
                _ => enabled!(target: "async_nats::connector", Level::INFO),
            };
            (client(Level::WARN), client(Level::INFO), enabled!(target: "pyralog_hub", Level::WARN))
        })
    }

    #[test]
    fn the_client_of_nats_is_heard_by_who_names_it_and_never_where_all_is_off() {
        for (filter, expected) in [
            ("off", (false, false, false)),
            ("error", (false, false, false)),
            ("warn", (true, false, true)),
            ("info", (true, false, true)),
            ("trace,pyralog_hub=error", (true, false, false)),
            ("pyralog_hub=debug", (false, false, true)),
            ("off,async_nats=info", (true, true, false)),
            ("info,async_nats=debug", (true, true, true)),
            ("info,async_nats=off", (false, false, true)),
        ] {
            assert_eq!(heard(filter), expected, "{filter}");
        }
    }
}
