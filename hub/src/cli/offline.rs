//! Commands that need no hub: `verify` and `token`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::table::{Align, Table, grouped};
use super::{CliError, TokenCommand, VerifyArgs};
use crate::auth::tokens::{self, Tokens};
use crate::store::{self, OpenError, SharedStore, StoreUrl, default_directory};
use crate::verify::{Scope, verify as walk};

pub(super) async fn verify(args: VerifyArgs) -> Result<ExitCode, CliError> {
    let store = open(args.store.as_deref()).await?;
    let heads = [
        ("AGENT", Align::Left),
        ("LOG", Align::Left),
        ("EPOCH", Align::Right),
        ("ENTRIES", Align::Right),
        ("COMMITTED", Align::Right),
        ("RECEIPTED", Align::Right),
        ("DELETED", Align::Right),
        ("RESULT", Align::Left),
    ];
    let mut table = Table::new(&heads);
    let mut found = Vec::new();
    let (mut chains, mut entries, mut bytes) = (0u64, 0u64, 0u64);
    let scope = Scope { agent: args.agent.clone(), log: args.log.clone(), decode: args.decode };
    let faults = walk(&*store, &scope, |finding| {
        (chains, entries, bytes) = (chains + 1, entries + finding.entries, bytes + finding.bytes);
        let result = match &finding.fault {
            None => "ok".to_owned(),
            Some(fault) => {
                found.push(format!("{}: {}\n    what to do: {}", fault.name, fault.reason, fault.remedy));
                format!("FAULT {}", found.len())
            }
        };
        table.row([
            finding.agent.clone(),
            finding.log.clone(),
            finding.epoch.to_string(),
            grouped(finding.entries),
            grouped(finding.records + finding.deleted),
            grouped(finding.receipted),
            grouped(finding.deleted),
            result,
        ]);
    });
    let faults = faults.await.map_err(CliError::failed)?;
    if chains == 0 && (args.agent.is_some() || args.log.is_some()) {
        return Err(CliError::failed(format!("{} holds nothing of that agent or log", store.address())));
    }
    table.print();
    let mut out = std::io::stdout();
    let colour = |code: &'static str| if out.is_terminal() { code } else { "" };
    let (red, green, plain) = (colour("\x1b[1;31m"), colour("\x1b[32m"), colour("\x1b[0m"));
    for (index, fault) in found.iter().enumerate() {
        let _ = writeln!(out, "{red}fault {}:{plain} {fault}", index + 1);
    }
    let size = bytesize::ByteSize(bytes);
    let sum = format!("{} entries, {size}, in {} chains of {}", grouped(entries), grouped(chains), store.address());
    if faults > 0 {
        let _ = writeln!(out, "{red}{faults} faulty{plain}: {sum}");
        return Ok(ExitCode::from(1));
    }
    let _ = writeln!(out, "{green}all in order{plain}: {sum}");
    Ok(ExitCode::SUCCESS)
}

/// Opens a store that is there.
pub(super) async fn open(store: Option<&str>) -> Result<SharedStore, CliError> {
    let url: StoreUrl = match store {
        Some(text) => text.parse().map_err(CliError::configuration)?,
        None => StoreUrl::Directory(default_directory()),
    };
    store::open_to_read(&url).await.map_err(|error| match error {
        OpenError::Unfit(_) => CliError::configuration(error),
        OpenError::Store(_) => CliError::failed(error),
    })
}

pub(super) fn token(command: TokenCommand) -> Result<ExitCode, CliError> {
    match command {
        TokenCommand::New { agent, tokens, scope } => {
            let token = tokens::create(&tokens, &agent, scope).map_err(CliError::configuration)?;
            let mut err = std::io::stderr();
            let _ = writeln!(
                err,
                "token for {agent} ({}), shown this once; its hash is in {}:",
                scope.word(),
                tokens.display()
            );
            writeln!(std::io::stdout(), "{token}").map_err(CliError::failed)?;
        }
        TokenCommand::List { tokens } => {
            let known = Tokens::read(&tokens).map_err(CliError::configuration)?;
            let mut table = Table::new(&[("AGENT", Align::Left), ("SCOPE", Align::Left)]);
            for (agent, scope) in known.list() {
                table.row([agent.to_owned(), scope.word().to_owned()]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}
