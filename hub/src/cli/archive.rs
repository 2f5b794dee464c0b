//! `pyralog-hub archive`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use pyralog_lake::LakeError;
use pyralog_service::signals::Signals;

use super::table::grouped;
use super::waiting::Waiting;
use super::{ArchiveArgs, CliError, offline, serve};
use crate::archive::{Archiver, Patience, Round, open_lake};
use crate::store::StoreUrl;

/// Moves records into a lake once, or again and again until told to stop.
pub(super) async fn archive(args: ArchiveArgs) -> Result<ExitCode, CliError> {
    serve::log_to_stderr(&args.log)?;
    let store = offline::open(args.store.as_deref()).await?;
    let url: StoreUrl = args.lake.parse().map_err(|error| CliError::configuration(format!("--lake: {error}")))?;
    let lake = open_lake(&url).await.map_err(|error| match error {
        LakeError::Unfit(_) => CliError::configuration(error),
        _ => CliError::failed(error),
    })?;
    let patience = (!args.once).then_some(Patience { min_rows: args.min_rows, max_delay: args.max_delay.into() });
    let mut archiver = Archiver::new(store, lake.clone(), patience);
    if args.once {
        let round = shown(&mut archiver).await.map_err(CliError::failed)?;
        return told(&round, lake.address());
    }
    let mut signals =
        Signals::new().map_err(|error| CliError::failed(format!("cannot listen for signals: {error}")))?;
    tracing::info!("archiving into {} every {}", lake.address(), args.interval);
    tokio::select! {
        () = forever(&mut archiver, args.interval.into()) => Ok(ExitCode::SUCCESS),
        // Whatever is under way is finished by the next archiver, as after a crash.
        signal = signals.stop(|| {}) => {
            tracing::info!("{signal}: ended");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn forever(archiver: &mut Archiver, interval: Duration) {
    loop {
        match archiver.round().await {
            Ok(round) => {
                for what in round.damaged.iter().chain(&round.failed) {
                    tracing::error!("left out: {what}");
                }
                if round.records + round.receipts + round.compacted.0 > 0 || !round.is_clean() {
                    tracing::info!("{}", summary(&round));
                }
            }
            Err(error) => tracing::error!("nothing archived: {error}; trying again in {interval:?}"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// A round whose progress is seen on a terminal.
async fn shown(archiver: &mut Archiver) -> Result<Round, crate::store::StoreError> {
    let progress = archiver.progress();
    let _waiting = Waiting::begin(move || progress.line());
    archiver.round().await
}

fn told(round: &Round, lake: &str) -> Result<ExitCode, CliError> {
    let mut err = std::io::stderr();
    for damaged in &round.damaged {
        let _ = writeln!(err, "left out: {damaged}");
    }
    for failed in &round.failed {
        let _ = writeln!(err, "not archived: {failed}");
    }
    writeln!(std::io::stdout(), "{} in {lake}", summary(round)).map_err(CliError::failed)?;
    if round.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::failed(format!(
        "{} damaged entries were left out and {} logs failed; all else is in the lake. `pyralog-hub verify` says what to do; what \
         is repaired is archived by the next run",
        grouped(round.damaged_count),
        round.failed.len()
    )))
}

fn summary(round: &Round) -> String {
    let size = bytesize::ByteSize(round.bytes);
    let mut text = format!(
        "archived {} records and {} receipts of {} logs: {} files, {size}",
        grouped(round.records),
        grouped(round.receipts),
        grouped(round.logs),
        grouped(round.files)
    );
    if round.compacted.1 > 0 {
        let (from, to) = round.compacted;
        text.push_str(&format!("; compacted {} files into {}", grouped(from), grouped(to)));
    }
    if round.gone > 0 {
        text.push_str(&format!("; {} records were deleted from the store before", grouped(round.gone)));
    }
    if round.waiting > 0 {
        text.push_str(&format!("; {} logs wait for more records", grouped(round.waiting)));
    }
    text
}
