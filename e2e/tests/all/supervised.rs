//! What a service manager hears of the real programs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, wait};

/// The part of a service manager that listens.
struct Manager {
    socket: UnixDatagram,
    address: String,
    heard: Vec<String>,
}

impl Manager {
    fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: path.display().to_string(), heard: Vec::new() })
    }

    /// Waits for a message with `words`, and gives it; messages before it are gone then.
    async fn hears(&mut self, words: &str) -> Result<String> {
        let heard = wait::until(words, wait::LONG, async || {
            let mut bytes = [0; 2048];
            while let Ok(length) = self.socket.recv(&mut bytes) {
                let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
                self.heard.push(message.clone());
                if message.contains(words) {
                    return Ok(Some(message));
                }
            }
            Ok(None)
        });
        let heard = heard.await;
        heard.map_err(|error| format!("{error}; heard {:?}", self.heard).into())
    }
}

#[tokio::test]
async fn an_agent_tells_that_it_is_ready_lives_reloads_and_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manager = Manager::new(folder.path())?;
    let options = Options::new("board").env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "200000");
    let mut agent = options.start(folder.path()).await?;
    let ready = manager.hears("READY=1").await?;
    assert!(ready.contains("STATUS=0 records accepted"), "{ready}");
    manager.hears("WATCHDOG=1").await?;
    agent.write("climate temp=1 1\n".to_owned()).await?;
    manager.hears("STATUS=1 records accepted, 1 pending").await?;
    agent.process.signal("HUP")?;
    assert!(manager.hears("RELOADING=1").await?.contains("MONOTONIC_USEC="));
    manager.hears("READY=1").await?;
    // It goes on to be fed.
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await?;
    }
    let status = agent.process.terminate(Duration::from_secs(30)).await?;
    assert_eq!(status.code(), Some(0));
    assert!(manager.hears("STOPPING=1").await?.contains("EXTEND_TIMEOUT_USEC="));
    Ok(())
}

#[tokio::test]
async fn a_hub_tells_that_it_is_ready_lives_reloads_and_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manager = Manager::new(folder.path())?;
    let mut hub = Hub::absent(folder.path())?;
    hub.env("NOTIFY_SOCKET", &manager.address);
    hub.env("WATCHDOG_USEC", "200000");
    hub.up().await?;
    manager.hears("READY=1").await?;
    manager.hears("WATCHDOG=1").await?;
    let process = hub.process().ok_or("the hub is gone")?;
    process.signal("HUP")?;
    manager.hears("RELOADING=1").await?;
    manager.hears("READY=1").await?;
    manager.hears("WATCHDOG=1").await?;
    assert_eq!(process.terminate(Duration::from_secs(30)).await?.code(), Some(0));
    manager.hears("STOPPING=1").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_configuration_is_told_in_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manager = Manager::new(folder.path())?;
    for (program, text, words) in [
        ("pyralog-agent", "[storage]\nmax_memroy = \"1MiB\"\n", ["bad.toml:2", "storage.max_memroy", "did you mean"]),
        ("pyralog-hub", "[limits]\nmax_bacth = \"1MiB\"\n", ["bad.toml:2", "limits.max_bacth", "did you mean"]),
    ] {
        let file = folder.path().join("bad.toml");
        std::fs::write(&file, text)?;
        let mut command = Command::new(binary(program)?);
        let out = command.env("NOTIFY_SOCKET", &manager.address).args(["serve", "--config"]).arg(&file).output()?;
        assert_eq!(out.status.code(), Some(2));
        let told = manager.hears("STATUS=Configuration: ").await?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((told.lines().count(), said.lines().count()), (1, 1), "{told}\n{said}");
        for word in words {
            assert!(told.contains(word) && said.contains(word), "no {word} in {told} or {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_is_no_fault_of_the_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manager = Manager::new(folder.path())?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let at = taken.local_addr()?.to_string();
    for (program, flag) in [("pyralog-agent", "--http-listen"), ("pyralog-hub", "--listen")] {
        let mut command = Command::new(binary(program)?);
        command.env("NOTIFY_SOCKET", &manager.address).env("XDG_DATA_HOME", folder.path()).args(["serve", flag, &at]);
        assert_eq!(command.output()?.status.code(), Some(1), "a restart may help");
        let told = manager.hears("STATUS=Not started: ").await?;
        assert!(told.contains(&at), "{told}");
    }
    Ok(())
}
