//! `pyralog-agent read`: the records of a log to standard output, as they arrive.

use std::io::{ErrorKind, Write};

use pyralog_service::tls::client::innermost;

use super::ReadArgs;
use super::client::{Client, path_segment};

pub(super) async fn run(args: ReadArgs) -> Result<(), String> {
    let mut query = vec![("format", args.format.query_name().to_owned())];
    query.extend(args.from_offset.map(|offset| ("from_offset", offset.to_string())));
    query.extend(args.from.map(|time| ("from", time)));
    query.extend(args.to.map(|time| ("to", time)));
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    let path = format!("/v1/logs/{}/records", path_segment(&args.log));
    let mut response = Client::new(args.agent)?.get(&path, &query).await?;
    let mut out = std::io::stdout().lock();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => match out.write_all(&chunk) {
                Ok(()) => {}
                // `read climate | head` has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(format!("cannot write: {error}")),
            },
            Ok(None) => break,
            Err(error) => return Err(format!("the answer broke off: {}", innermost(&error))),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}
