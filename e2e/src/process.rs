//! A child process: what it prints is kept, and it never outlives its owner.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{Result, wait};

/// Lines kept of what a process printed.
const MAX_LINES: usize = 20_000;

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
}

/// What a server may hold resident under a cap of `max_memory` bytes: 16 MiB more, as promised of a release build; the code of
/// an unoptimised one takes more room.
pub const fn resident_limit(max_memory: u64) -> u64 {
    max_memory + (16 << 20) + if cfg!(debug_assertions) { 6 << 20 } else { 0 }
}

/// How long the last words of a process that ended may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Process {
    /// Starts `command`; variables of the environment that would configure it are taken away.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("PYRALOG_") && !command.get_envs().any(|(set, _)| set == key) {
                command.env_remove(key);
            }
        }
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name} ({command:?}): {error}"))?;
        let lines = Lines::default();
        keep(child.stdout.take(), &lines);
        keep(child.stderr.take(), &lines);
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far on both streams (the newest lines).
    pub fn said(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits until `find` finds something in what it prints.
    ///
    /// # Errors
    /// When the process ends first, or time runs out; with what it printed.
    pub async fn find<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut ended = None;
        let found = wait::until(what, wait::LONG, async || {
            // The state first: what a process printed before it ended is complete only after.
            ended = self.child.try_wait()?;
            if ended.is_some() {
                // Its last words are still on their way through the threads that read them.
                tokio::time::sleep(LAST_WORDS).await;
            }
            match find(&self.said()) {
                Some(value) => Ok(Some(Some(value))),
                None => Ok(ended.map(|_| None)),
            }
        })
        .await;
        match found {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(format!("{} ended ({ended:?}) before {what}; it said:\n{}", self.name, self.said()).into()),
            Err(error) => Err(format!("{error}; {} said:\n{}", self.name, self.said()).into()),
        }
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name, such as `STOP`.
    ///
    /// # Errors
    /// When there is no way to send it.
    pub fn signal(&self, name: &str) -> Result<()> {
        Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(limit).await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, async || Ok(self.child.try_wait()?)).await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The most resident memory it ever had, in bytes (`VmHWM`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn peak_memory(&self) -> Result<u64> {
        let kib = self.proc_value("status", "VmHWM:")?;
        Ok(kib * 1024)
    }

    /// The resident memory that it has now, in bytes (`VmRSS`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident(&self) -> Result<u64> {
        let kib = self.proc_value("status", "VmRSS:")?;
        Ok(kib * 1024)
    }

    /// What it took of processors, in user and system mode.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name of the program, which may have blanks, ends with the last bracket; times are the 12th and 13th field after it.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        // Linux tells of hundredths of a second, whatever it counts in.
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Bytes that it caused to be written to storage.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn written(&self) -> Result<u64> {
        self.proc_value("io", "write_bytes:")
    }

    fn proc_value(&self, file: &str, key: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)).ok_or_else(|| format!("no {key} in {text}"))?;
        let number = line.split_whitespace().next().unwrap_or_default();
        number.parse().map_err(|error| format!("{key} {line}: {error}").into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

/// One of our binaries, as built beside the program that runs.
///
/// # Errors
/// When it is not there: building the tests alone does not build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let release = if folder.ends_with("release") { " --release" } else { "" };
    Err(format!("{} is missing; run `cargo build --workspace --bins{release}` first", path.display()).into())
}

/// The variable that names another agent than the one built beside the program that runs: a board's.
pub const AGENT: &str = "PYRALOG_E2E_AGENT";
/// The variable with the words to run it by: an emulator and its arguments.
pub const EMULATOR: &str = "PYRALOG_E2E_EMULATOR";

/// The agent under test: the one that the environment names, or the one built beside the program that runs.
///
/// # Errors
/// When it is not there.
pub fn agent() -> Result<Vec<OsString>> {
    let Some(agent) = std::env::var_os(AGENT) else { return Ok(vec![binary("pyralog-agent")?.into()]) };
    if !Path::new(&agent).is_file() {
        return Err(format!("{AGENT} names {}, which is not there", agent.display()).into());
    }
    let emulator = std::env::var(EMULATOR).unwrap_or_default();
    Ok(emulator.split_whitespace().map(OsString::from).chain([agent]).collect())
}

/// An address of this machine that nothing listens at now. A server may be started there later.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn keep(stream: Option<impl Read + Send + 'static>, lines: &Lines) {
    let Some(stream) = stream else { return };
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
}

/// The `127.0.0.1:port` of the first line of `text` that begins with `words`.
pub fn address_in(text: &str, words: &str) -> Option<SocketAddr> {
    let of_line = |line: &str| {
        let at = line.find("127.0.0.1:")?;
        let rest = &line[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        rest[..end].trim_end_matches(['.', ':']).parse::<SocketAddr>().ok().filter(|address| address.port() != 0)
    };
    text.lines().filter(|line| line.trim_start().starts_with(words)).find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_a_server_prints() {
        let text = "retrying http://127.0.0.1:9/\n  http  http://127.0.0.1:40002/.\n  mqtt  mqtt://127.0.0.1:40001\n";
        assert_eq!(address_in(text, "mqtt"), "127.0.0.1:40001".parse().ok());
        assert_eq!(address_in(text, "http"), "127.0.0.1:40002".parse().ok());
        assert_eq!(address_in("http 127.0.0.1:0", "http"), None);
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_told_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let mut process = Process::start("sh", command).unwrap();
        let error = process.find("its address", |text| address_in(text, "http")).await.unwrap_err().to_string();
        assert!(error.contains("no such luck") && error.contains("ended"), "{error}");
    }
}
