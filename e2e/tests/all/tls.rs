//! TLS between the real agent, the real hub and the hub's commands.

use std::path::Path;
use std::process::Command;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, http, python, wait};

use crate::pki::{Authority, Pair, text};

/// A hub that speaks TLS, and knows clients by the certificates of its authority.
async fn hub(folder: &Path, authority: &Authority, clients: &str) -> Result<Hub> {
    let mut hub = absent_hub(folder, authority, clients)?;
    hub.up().await?;
    Ok(hub)
}

/// The same, not started.
pub fn absent_hub(folder: &Path, authority: &Authority, clients: &str) -> Result<Hub> {
    let mut hub = Hub::absent(folder)?;
    let own = authority.sign("hub", &["127.0.0.1", "localhost"])?;
    hub.set("tls.cert", text(&own.cert));
    hub.set("tls.key", text(&own.key));
    hub.set("tls.client_ca", text(&authority.file));
    hub.set("tls.client_auth", clients);
    // `/healthz` answers to any certificate of the authority.
    let reader = authority.sign("reader", &["board-17"])?;
    hub.speak_tls(http::trusting(&authority.file, Some((&reader.cert, &reader.key)))?);
    Ok(hub)
}

pub fn options(id: &str, hub: &Hub, authority: &Authority, pair: &Pair) -> Options {
    let options = Options::new(id).set("sync.upstream", &hub.url()).set("sync.ca_file", text(&authority.file));
    options.set("sync.cert_file", text(&pair.cert)).set("sync.key_file", text(&pair.key))
}

#[tokio::test]
async fn an_agent_ships_by_its_certificate_and_the_hubs_commands_read_by_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let hub = hub(folder.path(), &authority, "required").await?;
    let device = authority.sign("device", &["board-17"])?;
    let agent = options("board-17", &hub, &authority, &device).start(folder.path()).await?;
    agent.write("climate temp=1 1\nclimate temp=2 2\n".to_owned()).await?;
    agent.drained("climate", wait::LONG).await?;
    assert_eq!(hub.account("board-17", "climate").await?[0].committed, 2);

    let mut read = Command::new(binary("pyralog-hub")?);
    read.args(["read", "--url", &hub.url(), "--agent", "board-17", "--log", "climate"]);
    read.args(["--ca-file", text(&authority.file), "--cert-file", text(&device.cert), "--key-file", text(&device.key)]);
    assert_eq!(python::output("pyralog-hub read", read).await?.lines().count(), 2);
    let mut bare = Command::new(binary("pyralog-hub")?);
    bare.args(["agents", "--url", &hub.url(), "--ca-file", text(&authority.file)]);
    let said = python::output("pyralog-hub agents", bare).await.unwrap_err().to_string();
    assert!(said.contains("--cert-file"), "{said}");
    let mut stranger = Command::new(binary("pyralog-hub")?);
    stranger.args(["agents", "--url", &hub.url()]);
    let said = python::output("pyralog-hub agents", stranger).await.unwrap_err().to_string();
    assert!(said.contains("--ca-file"), "{said}");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_the_certificate_does_not_name_is_told_both_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let hub = hub(folder.path(), &authority, "required").await?;
    let device = authority.sign("device", &["board-18"])?;
    let agent = options("board-17", &hub, &authority, &device).start(folder.path()).await?;
    agent.write("climate temp=1 1\n".to_owned()).await?;
    let told = wait::until("the refusal", wait::LONG, async || {
        Ok(agent.status().await?["sync"]["last_error"].as_str().map(str::to_owned))
    });
    let told = told.await?;
    assert!(told.contains("\"board-18\"") && told.contains("\"board-17\""), "{told}");
    // The right certificate in the place of the wrong one is enough.
    authority.sign("device", &["board-17"])?;
    agent.drained("climate", wait::LONG).await?;
    Ok(())
}

#[tokio::test]
async fn on_a_system_without_authorities_plain_http_works_and_https_says_what_is_missing() -> Result<()> {
    const AUTHORITIES: &str = "SSL_CERT_FILE";
    let folder = tempfile::tempdir()?;
    let none = folder.path().join("none.pem");
    std::fs::write(&none, "")?;
    let plain = Hub::start(folder.path()).await?;
    let options = Options::new("board").env(AUTHORITIES, text(&none));
    let agent = options.clone().upstream(plain.address).start(folder.path()).await?;
    agent.write("climate temp=1 1\n".to_owned()).await?;
    agent.drained("climate", wait::LONG).await?;
    for (program, args) in
        [("pyralog-agent", ["status", "--url", &agent.url]), ("pyralog-hub", ["agents", "--url", &plain.url()])]
    {
        let mut command = Command::new(binary(program)?);
        command.args(args).env(AUTHORITIES, &none);
        assert!(python::output(program, command).await?.contains("board"));
    }

    let (secure, second) = (folder.path().join("secure"), folder.path().join("second"));
    std::fs::create_dir(&secure)?;
    std::fs::create_dir(&second)?;
    let authority = Authority::new(&secure, "authority")?;
    let hub = hub(&secure, &authority, "optional").await?;
    let agent = options.set("sync.upstream", &hub.url()).start(&second).await?;
    let told = wait::until("the refusal", wait::LONG, async || {
        Ok(agent.status().await?["sync"]["last_error"].as_str().map(str::to_owned))
    });
    let told = told.await?;
    assert!(told.contains("sync.ca_file") && told.contains("ca-certificates"), "{told}");
    Ok(())
}
