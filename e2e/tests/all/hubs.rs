//! Several hubs before one store.

use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::free_address;
use pyralog_e2e::scenario::{Figures, HTTP_LOG, hubs, send_http};
use pyralog_e2e::{Result, generate, wait};

use crate::pki::{Authority, text};

const TIME: Duration = Duration::from_secs(8);

async fn killed(hubs: usize, policy: &'static str, seed: u64) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let size = hubs::Size { hubs, policy, time: TIME, seed, limit: wait::LONG };
    hubs::run(folder.path(), &generate::weather(seed, 10_000), &size).await
}

#[tokio::test]
async fn each_request_may_go_to_another_of_two_hubs_that_are_killed() -> Result<()> {
    println!("{}", killed(2, "round-robin", 51).await?);
    Ok(())
}

#[tokio::test]
async fn each_request_may_go_to_another_of_three_hubs_that_are_killed() -> Result<()> {
    println!("{}", killed(3, "round-robin", 52).await?);
    Ok(())
}

#[tokio::test]
async fn an_agent_moves_on_when_its_hub_is_killed() -> Result<()> {
    println!("{}", killed(2, "failover", 53).await?);
    Ok(())
}

#[tokio::test]
async fn a_hub_that_is_gone_does_not_keep_an_agent_waiting_and_is_named_in_its_status() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (gone, hub) = (free_address()?, Hub::start(folder.path()).await?);
    let both = format!("http://{gone},http://{}", hub.address);
    let agent = Options::new("board").set("sync.upstream", &both).start(folder.path()).await?;
    let data = generate::weather(9, 100);
    send_http(&agent, &data, 0..100).await?;
    agent.drained(HTTP_LOG, wait::LONG).await?;
    let sync = agent.status().await?["sync"].clone();
    assert!(sync["last_error"].is_null(), "one of two is enough: {sync}");
    let hubs = sync["hubs"].as_array().ok_or("no hubs")?;
    assert!(hubs[0]["in_use"] == false && hubs[1]["in_use"] == true && hubs[1]["last_error"].is_null(), "{sync}");
    let error = hubs[0]["last_error"].as_str().unwrap_or_default();
    assert!(error.contains(&gone.to_string()) && error.contains("cannot be reached"), "{sync}");
    Ok(())
}

#[tokio::test]
async fn each_hub_has_a_tls_name_of_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let mut hubs = [Hub::absent(folder.path())?, Hub::absent(folder.path())?];
    for (hub, name) in hubs.iter_mut().zip(["127.0.0.1", "localhost"]) {
        let own = authority.sign(name, &[name])?;
        hub.set("tls.cert", text(&own.cert));
        hub.set("tls.key", text(&own.key));
        // The harness asks both by number.
        let _ = pyralog_e2e::http::client()?;
        hub.speak_tls(reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?);
        hub.up().await?;
    }
    let urls = format!("{},https://localhost:{}", hubs[0].url(), hubs[1].address.port());
    let options = Options::new("board").set("sync.upstream", &urls).set("sync.upstream_policy", "round-robin");
    let agent = options.set("sync.ca_file", text(&authority.file)).start(folder.path()).await?;
    let mut used = [false; 2];
    for time in 1..=20 {
        agent.write(format!("climate temp=1 {time}\n")).await?;
        agent.drained("climate", wait::LONG).await?;
        let sync = agent.status().await?["sync"].clone();
        for (used, hub) in used.iter_mut().zip(sync["hubs"].as_array().into_iter().flatten()) {
            assert!(hub["last_error"].is_null(), "{sync}");
            *used |= hub["in_use"] == true;
        }
    }
    assert_eq!(used, [true; 2]);
    assert_eq!(hubs[1].account("board", "climate").await?[0].committed, 20);
    Ok(())
}
