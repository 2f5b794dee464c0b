//! Hosts that guess at passwords and tokens of the real programs, with real clients, and those who live beside them.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, http, wait};
use reqwest::{Client, Method, StatusCode};
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS};

/// Guesses after which a host must be shut out.
const MOST: u32 = 40;
/// A time for which the host is shut out that what follows cannot outlast.
const LONG: u64 = 8;

/// A client at another address of this machine.
fn elsewhere() -> Result<Client> {
    let _ = http::client()?;
    Ok(Client::builder().no_proxy().timeout(wait::LONG).local_address(IpAddr::from([127, 0, 0, 2])).build()?)
}

/// Tries one token after another, each as soon as it is looked at, until the host is shut out for long.
async fn guess_tokens(url: &str) -> Result<()> {
    let client = http::client()?;
    for number in 0..MOST {
        let answer = client.get(url).bearer_auth(format!("guess-{number}")).send().await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = answer.headers().get("retry-after").ok_or("no Retry-After")?.to_str()?.parse()?;
                let said = answer.text().await?;
                assert!(said.contains("try again in"), "{said}");
                if wait >= LONG {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
            other => return Err(format!("{other}").into()),
        }
    }
    Err(format!("{MOST} guesses, and the next would be looked at").into())
}

async fn status(client: &Client, url: &str, token: &str) -> Result<u16> {
    Ok(http::answer(client.get(url).bearer_auth(token)).await?.0.as_u16())
}

fn mqtt(to: SocketAddr, id: &str, user: &str, password: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, to.ip().to_string(), to.port());
    options.set_credentials(user, password);
    AsyncClient::new(options, 10)
}

/// What a login is answered.
async fn login(to: SocketAddr, user: &str, password: &str) -> Result<ConnectReturnCode> {
    let (_client, mut events) = mqtt(to, user, user, password);
    match tokio::time::timeout(wait::LONG, events.poll()).await? {
        Ok(Event::Incoming(Incoming::ConnAck(answer))) => Ok(answer.code),
        Err(ConnectionError::ConnectionRefused(code)) => Ok(code),
        other => Err(format!("{other:?}").into()),
    }
}

/// Publishes once and waits for the acknowledgement.
async fn publish(client: &AsyncClient, events: &mut EventLoop, payload: &str) -> Result<()> {
    client.publish("climate", QoS::AtLeastOnce, false, payload).await?;
    let acknowledged = async {
        while !matches!(events.poll().await?, Event::Incoming(Incoming::PubAck(_))) {}
        Result::Ok(())
    };
    tokio::time::timeout(wait::LONG, acknowledged).await?
}

#[tokio::test]
async fn who_guesses_at_an_agent_is_not_looked_at_and_its_clients_go_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let users = "[[mqtt.user]]\nname = \"press-4\"\npassword = \"right\"\n[[mqtt.user]]\nname = \"press-5\"\npassword = \"new\"\n";
    let options = Options::new("board-17").toml(users).set("http.tokens", "[\"known\", \"fresh\"]");
    let agent = options.start(folder.path()).await?;
    let (here, there, logs) = (http::client()?, elsewhere()?, format!("{}/v1/logs", agent.url));
    let (sensor, mut events) = mqtt(agent.mqtt, "press-4", "press-4", "right");
    publish(&sensor, &mut events, "{\"temp\":1}").await?;
    assert_eq!(status(&here, &logs, "known").await?, 200);

    // One account for both doors.
    let mut answers = Vec::new();
    for number in 0..MOST {
        answers.push(login(agent.mqtt, "press-5", &format!("guess-{number}")).await?);
    }
    assert_eq!(answers.first(), Some(&ConnectReturnCode::BadUserNamePassword));
    assert_eq!(answers.last(), Some(&ConnectReturnCode::NotAuthorized), "{answers:?}");
    guess_tokens(&logs).await?;
    assert_eq!(status(&here, &logs, "fresh").await?, 429, "a right one would tell, too");
    assert_eq!(login(agent.mqtt, "press-5", "new").await?, ConnectReturnCode::NotAuthorized);

    publish(&sensor, &mut events, "{\"temp\":2}").await?;
    assert_eq!(login(agent.mqtt, "press-4", "right").await?, ConnectReturnCode::Success, "it comes back");
    assert_eq!(status(&here, &logs, "known").await?, 200);
    assert_eq!(status(&there, &logs, "fresh").await?, 200, "another host is not affected");
    let metrics = http::bytes(there.get(format!("{}/metrics", agent.url)).bearer_auth("fresh")).await?;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    for name in ["pyralog_http_shut_out_total ", "pyralog_mqtt_shut_out_total "] {
        let count = metrics.lines().find_map(|line| line.strip_prefix(name)).ok_or(name)?;
        assert!(count.parse::<u64>()? > 0, "{name}{count}");
    }
    let said = agent.process.said();
    assert!(said.contains("too many wrong credentials from this host"), "{said}");
    wait::until("the end of it", wait::LONG, async || Ok((status(&here, &logs, "fresh").await? == 200).then_some(())))
        .await
}

#[tokio::test]
async fn who_guesses_at_a_hub_is_not_looked_at_and_its_agents_go_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("hub-tokens");
    let new = |agent: &str, scope: &str| -> Result<String> {
        let mut new = Command::new(binary("pyralog-hub")?);
        new.args(["token", "new", "--agent", agent, "--scope", scope, "--tokens"]).arg(&tokens);
        Ok(String::from_utf8(new.output()?.stdout)?.trim().to_owned())
    };
    let (agents, readers) = (new("board-17", "sync")?, new("*", "read")?);
    std::fs::write(folder.path().join("token"), agents)?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("tokens", &tokens.display().to_string());
    hub.up().await?;
    let token_file = folder.path().join("token").display().to_string();
    let agent = Options::new("board-17").upstream(hub.address).set("sync.token_file", &token_file);
    let agent = agent.start(folder.path()).await?;
    agent.write("climate temp=1 1\n".to_owned()).await?;
    agent.drained("climate", wait::LONG).await?;

    let fleet = format!("{}/v1/agents", hub.url());
    guess_tokens(&fleet).await?;
    assert_eq!(status(&http::client()?, &fleet, &readers).await?, 429, "a right one would tell, too");
    agent.write("climate temp=2 2\n".to_owned()).await?;
    agent.drained("climate", wait::LONG).await?;
    let metrics = http::bytes(agent.request(Method::GET, "/metrics")).await?;
    assert!(String::from_utf8_lossy(&metrics).contains("pyralog_sync_failures_total 0"), "an exchange was refused");
    let there = elsewhere()?;
    assert_eq!(status(&there, &fleet, &readers).await?, 200, "another host is not affected");
    let metrics = http::bytes(there.get(format!("{}/metrics", hub.url())).bearer_auth(&readers)).await?;
    assert!(!String::from_utf8_lossy(&metrics).contains("pyralog_hub_shut_out_total 0"));
    Ok(())
}
