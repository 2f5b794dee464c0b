//! `pyralog-hub trim`: retention by hand.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::offline::open;
use super::table::{Align, Table, grouped};
use super::{CliError, TrimArgs};
use crate::config::retention::{age, size};
use crate::retention::{Budget, Limits, Trim, Trimmed};
use crate::store::{MAX_PAGE, Store};

/// Agents listed at once.
const PAGE: usize = 256;

pub(super) async fn trim(args: TrimArgs) -> Result<ExitCode, CliError> {
    let limits = limits(&args)?;
    let store = open(args.store.as_deref()).await?;
    let heads = [
        ("AGENT", Align::Left),
        ("LOG", Align::Left),
        ("ENTRIES", Align::Right),
        ("RECORDS", Align::Right),
        ("BYTES", Align::Right),
    ];
    let mut sums = Sums { table: Table::new(&heads), sum: Trimmed::default(), logs: 0 };
    let mut after: Option<String> = None;
    loop {
        let agents = match &args.agent {
            Some(agent) if after.is_none() => vec![agent.clone()],
            Some(_) => Vec::new(),
            None => store.agents(after.as_deref(), PAGE).await.map_err(CliError::failed)?,
        };
        let Some(last) = agents.last().cloned() else { break };
        for agent in &agents {
            logs_of(&*store, agent, limits, &args, &mut sums).await?;
        }
        after = Some(last);
    }
    if sums.logs == 0 && (args.agent.is_some() || args.log.is_some()) {
        return Err(CliError::failed(format!("{} holds nothing of that agent or log", store.address())));
    }
    sums.say(args.dry_run, &store.address())
}

fn limits(args: &TrimArgs) -> Result<Limits, CliError> {
    let flag = |name: &'static str| move |error| CliError::configuration(format!("{name}: {error}"));
    let limits = Limits {
        max_age: args.max_age.as_deref().map_or(Ok(None), age).map_err(flag("--max-age"))?,
        max_bytes: args.max_bytes.as_deref().map_or(Ok(None), size).map_err(flag("--max-bytes"))?,
    };
    match limits.keep_all() {
        true => Err(CliError::configuration("nothing is to be deleted: give --max-age, --max-bytes or both")),
        false => Ok(limits),
    }
}

async fn logs_of(
    store: &dyn Store,
    agent: &str,
    limits: Limits,
    args: &TrimArgs,
    sums: &mut Sums,
) -> Result<(), CliError> {
    let mut logs = store.logs(agent, None, MAX_PAGE).await.map_err(CliError::failed)?;
    logs.retain(|log| args.log.as_ref().is_none_or(|only| only == log));
    for log in logs {
        let now = crate::clock::unix_nanos();
        let trim = Trim { store, agent, log: &log, limits, now, dry_run: args.dry_run };
        let done = trim.run(&mut Budget(usize::MAX)).await.map_err(CliError::failed)?;
        sums.add(agent, log, done);
    }
    Ok(())
}

/// What was deleted so far.
struct Sums {
    table: Table,
    sum: Trimmed,
    logs: u64,
}

impl Sums {
    fn add(&mut self, agent: &str, log: String, done: Trimmed) {
        if done.entries > 0 {
            let [entries, records] = [done.entries, done.records].map(grouped);
            self.table.row([agent.to_owned(), log, entries, records, bytesize::ByteSize(done.bytes).to_string()]);
        }
        self.sum.add(done);
        self.logs += 1;
        let mut err = std::io::stderr();
        if err.is_terminal() {
            let (logs, records) = (grouped(self.logs), grouped(self.sum.records));
            let _ = write!(err, "\r{logs} logs looked at, {records} records found that are beyond the limits");
            let _ = err.flush();
        }
    }

    fn say(&self, dry_run: bool, store: &str) -> Result<ExitCode, CliError> {
        let sum = &self.sum;
        if std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr());
        }
        if sum.entries > 0 {
            self.table.print();
        }
        let verb = if dry_run { "would be deleted" } else { "deleted" };
        let (entries, records, size) = (grouped(sum.entries), grouped(sum.records), bytesize::ByteSize(sum.bytes));
        let _ = writeln!(std::io::stdout(), "{verb}: {records} records in {entries} entries, {size}, of {store}");
        if sum.stuck.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let stuck: Vec<_> = sum.stuck.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        let what = "nothing is deleted over damage; run `pyralog-hub verify`, which says what to do";
        Err(CliError::failed(format!("{}\n{what}", stuck.join("\n"))))
    }
}
