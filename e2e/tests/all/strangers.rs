//! Strangers and signals at the real programs: what floods do to the journal, and SIGHUP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, http, wait};
use reqwest::Method;

/// Connections and requests of each flood.
const FLOOD: usize = 300;

/// Sends bytes and waits for the other side to close.
fn knock(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // It may have closed already.
    let _ = stream.write_all(bytes).and_then(|()| stream.read(&mut [0; 64]));
    Ok(())
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_fill_the_journal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("hub-tokens");
    let mut new = Command::new(binary("pyralog-hub")?);
    new.args(["token", "new", "--agent", "board-17", "--tokens"]).arg(&tokens).output()?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("tokens", &tokens.display().to_string());
    hub.up().await?;
    let users = "[[mqtt.user]]\nname = \"press-4\"\npassword = \"x\"\n";
    let agent = Options::new("board-17").toml(users).set("http.tokens", "[\"good\"]").start(folder.path()).await?;

    let (began, mqtt) = (Instant::now(), agent.mqtt);
    // A login with a wrong password, and nonsense.
    let login = b"\x10\x19\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x05guess\x00\x03abc";
    for _ in 0..FLOOD {
        knock(mqtt, login)?;
        knock(mqtt, b"\xff\xff\xff\xff\xff")?;
        let guess = agent.request(Method::POST, "/write").bearer_auth("guess").body("m f=1");
        assert_eq!(http::answer(guess).await?.0, 401);
        let hello = http::client()?.post(format!("{}/v1/sync/board-17/hello", hub.url())).bearer_auth("guess");
        assert_eq!(http::answer(hello).await?.0, 401);
    }
    let seconds = began.elapsed().as_secs() as usize + 2;
    let lines = |text: &str| text.lines().filter(|line| line.contains("WARN")).count();
    let said = agent.process.said();
    assert!((1..=5 * seconds).contains(&lines(&said)), "{} lines in {seconds} s:\n{said}", lines(&said));
    let said = hub.process().map(|hub| hub.said()).unwrap_or_default();
    assert!((1..=1 + seconds / 10).contains(&lines(&said)), "{} lines in {seconds} s:\n{said}", lines(&said));
    Ok(())
}

#[tokio::test]
async fn a_hangup_makes_both_look_at_their_files_and_ends_neither() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("hub-tokens");
    std::fs::write(&tokens, "")?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("tokens", &tokens.display().to_string());
    hub.up().await?;
    let mut agent = Options::new("board-17").start(folder.path()).await?;
    std::fs::write(&tokens, "nonsense\n")?;
    let mut pids = vec![agent.process.pid()];
    pids.extend(hub.process().map(|hub| hub.pid()));
    for pid in pids {
        Command::new("kill").arg("-HUP").arg(pid.to_string()).status()?;
    }
    agent.process.find("the agent's word", |text| text.contains("SIGHUP").then_some(())).await?;
    let hub = hub.process().ok_or("no hub")?;
    hub.find("the hub's word", |text| text.contains("keeping the tokens from before").then_some(())).await?;
    wait::until("both to be alive", wait::LONG, async || {
        agent.status().await?;
        Ok((hub.is_running() && agent.process.is_running()).then_some(()))
    })
    .await
}
