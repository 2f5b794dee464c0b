//! The two servers as child processes: this program again, under their names.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::Result;

/// Name under which this program is the agent.
pub const AGENT: &str = "pyralog-agent";
/// Name under which this program is the hub.
pub const HUB: &str = "pyralog-hub";

/// Small enough to overflow while one watches.
const MAX_MEMORY: &str = "3MiB";
/// Topics of the simulated rooms.
const ROUTES: &str = "[[mqtt.route]]\ntopic = \"home/{room}/climate\"\nlog = \"climate\"\nformat = \"json\"\n";

/// Where everything listens and lies.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) folder: PathBuf,
    pub(super) hub: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) mqtt: SocketAddr,
}

/// A child that dies with its owner unless it is let go.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Places {
    /// Free ports of this machine.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        // All three held at once, so that no two are the same.
        let held =
            [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [hub, http, mqtt] = held.each_ref().map(TcpListener::local_addr);
        Ok(Self { folder: folder.to_owned(), hub: hub?, http: http?, mqtt: mqtt? })
    }

    /// Starts the hub on the folder's store; it finds there what an earlier one committed.
    pub(super) fn start_hub(&self) -> Result<Server> {
        let store = self.folder.join("store");
        std::fs::create_dir_all(&store)?;
        let (listen, store) = (self.hub.to_string(), format!("file://{}", store.display()));
        self.start(HUB, &["serve", "--listen", &listen, "--store", &store])
    }

    /// Starts the agent.
    pub(super) fn start_agent(&self) -> Result<Server> {
        let config = self.folder.join("agent.toml");
        std::fs::write(&config, ROUTES)?;
        let (http, mqtt) = (self.http.to_string(), self.mqtt.to_string());
        let (upstream, config) = (format!("http://{}", self.hub), config.display().to_string());
        let mut args = vec!["serve", "--memory-only", "--agent-id", "quickstart", "--max-memory", MAX_MEMORY];
        args.extend(["--config", &config, "--upstream", &upstream, "--http-listen", &http, "--mqtt-listen", &mqtt]);
        args.extend(["--set", "sync.interval=1s", "--set", "host.interval=1s", "--set", "storage.segment_rows=2048"]);
        self.start(AGENT, &args)
    }

    fn start(&self, name: &str, args: &[&str]) -> Result<Server> {
        let log = self.folder.join(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg0(name).args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        for (key, _) in std::env::vars_os() {
            // The user's own servers may be configured by these; ours are not.
            if key.to_string_lossy().starts_with("PYRALOG_") {
                command.env_remove(key);
            }
        }
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        Ok(Server { child, log })
    }
}

impl Server {
    /// Kills it as a power cut would.
    pub(super) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Fails, with what it wrote last, if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let skip = text.lines().count().saturating_sub(15);
        let last: Vec<&str> = text.lines().skip(skip).collect();
        Err(format!("a server ended with {status}; its log ends with:\n{}", last.join("\n")).into())
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> Result<()> {
        self.child.wait().await?;
        self.check()
    }
}
