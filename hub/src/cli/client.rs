//! Commands that ask a running hub.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, TE};
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pyralog_service::tls::client::{ClientTls, ClientTlsError, Named, explained, innermost};
use pyralog_service::tls::{Pair, install_provider};
use pyralog_service::without_password;
use serde_json::Value;

use super::table::{Align, Table, grouped, moment};
use super::{AccountArgs, CliError, ClientArgs, ReadArgs, TlsArgs};

/// Longest answer that is no stream of records.
const MAX_ANSWER: usize = 256 << 20;

/// How long the next piece of an answer may take.
const READ: Duration = Duration::from_secs(60);

/// How long the first piece of a query's answer may: longer than any hub lets queries take.
#[cfg(feature = "sql")]
const QUERY: Duration = Duration::from_secs(25 * 3600);

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

pub(super) async fn agents(args: ClientArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args)?;
    let (mut all, mut damaged) = (Vec::new(), serde_json::Map::new());
    loop {
        let after = all.last().and_then(|agent: &Value| agent["agent"].as_str());
        let query = after.map(|after| format!("?after={}", segment(after))).unwrap_or_default();
        let mut page = client.json(&format!("/v1/agents{query}")).await?;
        if let Some(of_page) = page["damaged"].as_object_mut() {
            damaged.append(of_page);
        }
        match page["agents"].as_array_mut() {
            Some(agents) if !agents.is_empty() => all.append(agents),
            _ => break,
        }
    }
    if args.json {
        return print_json(&serde_json::json!({ "agents": all, "damaged": damaged }));
    }
    let heads = [("AGENT", Align::Left), ("EPOCH", Align::Right), ("SINCE", Align::Left), ("LOGS", Align::Right)];
    let mut table = Table::new(&heads);
    for agent in &all {
        let since = agent["opened_at"].as_i64().map(moment).unwrap_or_default();
        table.row([text(&agent["agent"]), count(&agent["epoch"]), since, count(&agent["log_count"])]);
    }
    table.print();
    tell_damage("agent", Some(&damaged))
}

/// Names what could not be shown.
fn tell_damage(what: &str, damaged: Option<&serde_json::Map<String, Value>>) -> Result<ExitCode, CliError> {
    let lines: Vec<_> =
        damaged.into_iter().flatten().map(|(name, why)| format!("{what} {name}: {}", text(why))).collect();
    match lines.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(CliError::failed(lines.join("\n"))),
    }
}

pub(super) async fn account(args: AccountArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args.client)?;
    let agent = segment(&args.agent);
    let path = match &args.log {
        Some(log) => format!("/v1/agents/{agent}/logs/{}", segment(log)),
        None => format!("/v1/agents/{agent}"),
    };
    let account = client.json(&path).await?;
    if args.client.json {
        return print_json(&account);
    }
    let heads = [
        ("LOG", Align::Left),
        ("EPOCH", Align::Right),
        ("COMMITTED", Align::Right),
        ("DELETED", Align::Right),
        ("RECEIPTED", Align::Right),
        ("NEXT OFFSET", Align::Right),
        ("HEAD SEEN", Align::Right),
        ("BEHIND", Align::Right),
        ("LAST COMMIT", Align::Left),
        ("STATE", Align::Left),
    ];
    // Of one log, each row is an epoch, and its name would be the same in all.
    let skipped = usize::from(args.log.is_some());
    let mut table = Table::new(&heads[skipped..]);
    for (name, epoch) in rows_of(&account) {
        let receipted = epoch["receipted"].as_object().map(|by| by.values().filter_map(Value::as_u64).sum());
        let closed = epoch["closed"].as_bool().unwrap_or_default();
        let cells = [
            name,
            count(&epoch["epoch"]),
            count(&epoch["committed"]),
            grouped(epoch["deleted"]["records"].as_u64().unwrap_or_default()),
            grouped(receipted.unwrap_or_default()),
            count(&epoch["next_offset"]),
            count(&epoch["head_seen"]),
            count(&epoch["lag"]),
            epoch["received_at"].as_i64().map(moment).unwrap_or_else(|| "never".into()),
            if closed { "ended".into() } else { "open".into() },
        ];
        table.row(cells.into_iter().skip(skipped));
    }
    table.print();
    print_receipts(&account);
    tell_damage("log", account["damaged"].as_object())
}

/// The epochs of one log, or the logs of one agent.
fn rows_of(account: &Value) -> Vec<(String, &Value)> {
    match (account["epochs"].as_array(), account["logs"].as_object()) {
        (Some(epochs), _) => epochs.iter().map(|epoch| (String::new(), epoch)).collect(),
        (None, Some(logs)) => logs.iter().map(|(log, epoch)| (log.clone(), epoch)).collect(),
        (None, None) => Vec::new(),
    }
}

fn print_receipts(account: &Value) {
    let heads = [
        ("EPOCH", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("RECORDS", Align::Right),
        ("REASON", Align::Left),
        ("EARLIEST", Align::Left),
        ("LATEST", Align::Left),
    ];
    let mut table = Table::new(&heads);
    let mut any = false;
    for epoch in account["epochs"].as_array().into_iter().flatten() {
        for receipt in epoch["receipts"].as_array().into_iter().flatten() {
            any = true;
            let (from, to) = (receipt["from"].as_u64().unwrap_or_default(), receipt["to"].as_u64().unwrap_or_default());
            let when = |value: &Value| value.as_i64().map(moment).unwrap_or_else(|| "unknown".into());
            table.row([
                count(&epoch["epoch"]),
                grouped(from),
                grouped(to),
                grouped(to.saturating_sub(from)),
                text(&receipt["reason"]),
                when(&receipt["min_time"]),
                when(&receipt["max_time"]),
            ]);
        }
    }
    if any {
        let _ =
            writeln!(std::io::stdout(), "\nreceipts: offsets from (inclusive) to (exclusive) that will never arrive");
        table.print();
    }
}

pub(super) async fn read(args: ReadArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&args.client)?;
    let mut path = format!("/v1/agents/{}/logs/{}/records", segment(&args.agent), segment(&args.log));
    let mut query = vec![("format", args.format.clone())];
    query.extend(args.epoch.map(|epoch| ("epoch", epoch.to_string())));
    query.extend(args.from_offset.map(|offset| ("from_offset", offset.to_string())));
    query.extend(args.from.clone().map(|from| ("from", from)));
    query.extend(args.to.clone().map(|to| ("to", to)));
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    query.extend(args.skip_damaged.then(|| ("damaged", "skip".to_owned())));
    for (index, (name, value)) in query.iter().enumerate() {
        path.push_str(if index == 0 { "?" } else { "&" });
        path.push_str(&format!("{name}={}", segment(value)));
    }
    print_stream(client.get(&path).await?).await
}

/// Asks the hub by SQL. How long that may take, the hub says.
#[cfg(feature = "sql")]
pub(super) async fn sql(
    args: &ClientArgs,
    query: String,
    format: &str,
    skip: bool,
) -> Result<reqwest::Response, CliError> {
    let client = Client::patient(args, QUERY)?;
    let damaged = if skip { "&damaged=skip" } else { "" };
    client.send(http::Method::POST, &format!("/v1/sql?format={format}{damaged}"), query).await
}

/// Prints a stream, and then says what it lacks.
pub(super) async fn print_stream(answer: reqwest::Response) -> Result<ExitCode, CliError> {
    let mut deleted = names(answer.headers(), "x-pyralog-deleted-below");
    let mut body = http::Response::from(answer).into_body();
    let mut out = std::io::stdout();
    let mut damaged = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            CliError::failed(format!(
                "the hub broke off after {}: it met a damaged entry, or waited in vain for this reader to go on (its log says \
                 which); check the store with `pyralog-hub verify`, or read on with --skip-damaged; where a pager pauses, write \
                 to a file first",
                innermost(&error)
            ))
        })?;
        match frame.into_data() {
            Ok(data) => match out.write_all(&data) {
                Ok(()) => {}
                // `| head` has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                Err(error) => return Err(CliError::failed(error)),
            },
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                damaged = names(&trailers, "x-pyralog-damaged");
                deleted = names(&trailers, "x-pyralog-deleted-below").or(deleted);
            }
        }
    }
    out.flush().map_err(CliError::failed)?;
    if let Some(below) = deleted {
        let note = "note: retention deleted what was committed below these offsets (epoch/offset)";
        let _ = writeln!(std::io::stderr(), "{note}: {below}");
    }
    match damaged {
        Some(names) => Err(CliError::failed(format!("damaged entries were left out (epoch/offset): {names}"))),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What a header or trailer names.
fn names(headers: &http::HeaderMap, header: &str) -> Option<String> {
    headers.get(header).map(|names| String::from_utf8_lossy(names.as_bytes()).into_owned())
}

/// Talks to one hub.
struct Client {
    http: reqwest::Client,
    url: String,
    /// The same, fit for a screen.
    shown: String,
    token: Option<String>,
}

impl Client {
    fn new(args: &ClientArgs) -> Result<Self, CliError> {
        Self::patient(args, READ)
    }

    /// A client that waits so long for the next piece of an answer.
    fn patient(args: &ClientArgs, patience: Duration) -> Result<Self, CliError> {
        install_provider();
        let token = match &args.token_file {
            Some(file) => {
                let read = std::fs::read_to_string(file);
                let fail =
                    |error| CliError::configuration(format!("cannot read the token in {}: {error}", file.display()));
                Some(read.map_err(fail)?.trim().to_owned())
            }
            None => std::env::var("PYRALOG_TOKEN").ok(),
        };
        // One request at a time gains nothing of HTTP/2.
        let builder = reqwest::Client::builder().http1_only();
        let builder = builder.connect_timeout(Duration::from_secs(10)).read_timeout(patience);
        let builder = client_tls(&args.tls).apply(builder).map_err(bad_tls)?;
        let http = builder.build().map_err(|error| CliError::failed(innermost(&error)))?;
        let shown = without_password(args.url.trim_end_matches('/'));
        Ok(Self { http, url: args.url.trim_end_matches('/').to_owned(), shown, token })
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response, CliError> {
        self.send(http::Method::GET, path, String::new()).await
    }

    async fn send(&self, method: http::Method, path: &str, body: String) -> Result<reqwest::Response, CliError> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, &url).header(ACCEPT, "*/*").header(TE, "trailers").body(body);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await.map_err(|error| {
            let why = explained(&error, NAMED);
            CliError::failed(format!("no answer from {}: {why}; does a hub run there?", self.shown))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = collect(response).await.unwrap_or_default();
        let said =
            serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
        let hint = if status.as_u16() == 401 { " (here: --token-file FILE or PYRALOG_TOKEN)" } else { "" };
        Err(CliError::failed(match said {
            Some(said) => format!("{said}{hint}"),
            None => format!("{}{path} answered {status}: is it a hub?", self.shown),
        }))
    }

    async fn json(&self, path: &str) -> Result<Value, CliError> {
        let body = collect(self.get(path).await?).await?;
        serde_json::from_slice(&body).map_err(|error| CliError::failed(format!("{} sent no JSON: {error}", self.shown)))
    }
}

async fn collect(mut response: reqwest::Response) -> Result<Vec<u8>, CliError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| CliError::failed(innermost(&error)))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CliError::failed("the hub's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn print_json(value: &Value) -> Result<ExitCode, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(CliError::failed)?;
    writeln!(std::io::stdout(), "{text}").map_err(CliError::failed)?;
    Ok(ExitCode::SUCCESS)
}

const NAMED: Named = Named { url: "--url", ca: "--ca-file", cert: "--cert-file" };

fn client_tls(args: &TlsArgs) -> ClientTls {
    let identity = args.cert_file.clone().zip(args.key_file.clone()).map(|(cert, key)| Pair { cert, key });
    ClientTls { ca: args.ca_file.clone(), identity }
}

fn bad_tls(error: ClientTlsError) -> CliError {
    let flags = if matches!(error, ClientTlsError::Authorities(_)) { "--ca-file" } else { "--cert-file, --key-file" };
    CliError::configuration(format!("{flags}: {error}"))
}

fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value) -> String {
    value.as_u64().map(grouped).unwrap_or_default()
}
