//! Secrets stay where they are: not one shows in what the programs print at their most talkative, or answer.

use std::path::Path;
use std::process::Command;

use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::{binary, free_address};
use pyralog_e2e::{Result, http, wait};
use reqwest::{Client, Method};

/// Parts of all secrets; what follows the dash tells which one got out.
const MARK: &str = "hush";
const HTTP_TOKEN: &str = "hush-http-token";
const HTTP_FILE_TOKEN: &str = "hush-http-file-token";
const WRONG_TOKEN: &str = "hush-wrong-token";
const MQTT_PASSWORD: &str = "hush-mqtt-password";
const MQTT_FILE_PASSWORD: &str = "hush-mqtt-file-password";
const BROKER_PASSWORD: &str = "hush-broker-password";
const HUB_PASSWORD: &str = "hush-hub-password";

/// What no output may hold, and what was printed and answered so far.
struct Ears {
    secrets: Vec<String>,
    heard: Vec<(String, String)>,
}

impl Ears {
    fn hear(&mut self, from: &str, text: impl Into<String>) {
        self.heard.push((from.to_owned(), text.into()));
    }

    async fn answer(&mut self, what: &str, request: reqwest::RequestBuilder) -> Result<u16> {
        let response = request.send().await?;
        let (status, head) = (response.status().as_u16(), format!("{:?}", response.headers()));
        let body = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        self.hear(&format!("answer to {what}"), format!("{head}\n{body}"));
        Ok(status)
    }

    fn run(&mut self, command: &mut Command) -> Result<bool> {
        let out = command.output()?;
        let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        self.hear(&format!("{:?}", command.get_args().next()), text);
        Ok(out.status.success())
    }

    fn nothing_got_out(&self) {
        for (from, text) in &self.heard {
            for secret in &self.secrets {
                let line = text.lines().find(|line| line.contains(secret.as_str()));
                assert!(line.is_none(), "{secret} got out in {from}: {}", line.unwrap_or_default());
            }
        }
    }
}

fn config(folder: &Path, broker: &str) -> Result<String> {
    std::fs::write(folder.join("http-tokens"), format!("{HTTP_FILE_TOKEN}\n"))?;
    std::fs::write(folder.join("mqtt-password"), format!("{MQTT_FILE_PASSWORD}\n"))?;
    let (tokens, password) = (folder.join("http-tokens"), folder.join("mqtt-password"));
    Ok(format!(
        "[http]\ntokens = [\"{HTTP_TOKEN}\"]\ntoken_file = {tokens:?}\n\
         [[mqtt.user]]\nname = \"press-4\"\npassword = \"{MQTT_PASSWORD}\"\n\
         [[mqtt.user]]\nname = \"press-5\"\npassword_file = {password:?}\n\
         [[mqtt.subscribe]]\nurl = \"mqtt://reader:{BROKER_PASSWORD}@{broker}\"\ntopics = [\"plant/#\"]\n"
    ))
}

/// Every door of the agent, with good credentials and bad.
async fn knock_at_the_agent(ears: &mut Ears, agent: &Agent) -> Result<()> {
    for (token, good) in [(HTTP_TOKEN, true), (HTTP_FILE_TOKEN, true), (WRONG_TOKEN, false)] {
        for path in ["/v1/status", "/metrics", "/v1/logs", "/v1/logs/none/records", "/"] {
            let status = ears.answer(path, agent.request(Method::GET, path).bearer_auth(token)).await?;
            assert_eq!(status != 401, good || path == "/", "{path}");
        }
        let write =
            |query: &str| agent.request(Method::POST, &format!("/write{query}")).body("climate temp=1 1\nbad\n");
        for (what, request) in [
            ("token", write("").header("authorization", format!("Token {token}"))),
            ("basic", write("").basic_auth("anyone", Some(token))),
            ("query", write(&format!("?u=anyone&p={token}"))),
        ] {
            assert_eq!(ears.answer(what, request).await?, if good { 400 } else { 401 }, "{what}");
        }
        let lost = agent.request(Method::GET, &format!("/no/such?p={token}")).bearer_auth(token);
        assert_eq!(ears.answer("an unknown path", lost).await?, 404);
    }
    let port = agent.mqtt.port().to_string();
    for (user, password) in [("press-4", MQTT_PASSWORD), ("press-5", MQTT_FILE_PASSWORD), ("press-4", WRONG_TOKEN)] {
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "t", "-m", "1", "-u", user, "-P", password]);
        assert_eq!(publish.output()?.status.success(), password != WRONG_TOKEN, "{user}");
    }
    Ok(())
}

async fn knock_at_the_hub(ears: &mut Ears, url: &str, reader: &str) -> Result<()> {
    let clients = [http::client()?, Client::builder().http2_prior_knowledge().no_proxy().build()?];
    for client in &clients {
        for path in ["/v1/agents", "/v1/agents/board-17", "/metrics", "/v1/agents/none/logs/none/records", "/"] {
            for token in [reader, WRONG_TOKEN] {
                ears.answer(path, client.get(format!("{url}{path}")).bearer_auth(token)).await?;
            }
        }
        let hello = client.post(format!("{url}/v1/sync/board-17/hello")).bearer_auth(WRONG_TOKEN).body("PYR1");
        assert_eq!(ears.answer("a hello", hello).await?, 401);
    }
    Ok(())
}

/// `check` on good configurations and bad ones, and client commands that fail.
fn ask_the_programs(ears: &mut Ears, folder: &Path, config: &str, hub: &str) -> Result<()> {
    let upstream = format!("https://agent:{HUB_PASSWORD}@hub.example");
    let bad = format!("{config}[sync]\nupstream = \"nonsense:{HUB_PASSWORD}@hub\"\ntoken = \"x\"\n");
    let torn = format!("{config}[sync]\nupstream = \"https://agent:{HUB_PASSWORD}@hub\n");
    let plain = format!("{config}[sync]\nupstream = \"http://agent:{HUB_PASSWORD}@hub.example\"\n");
    for (name, text, good) in
        [("good", config, true), ("plain", &plain, true), ("bad", &bad, false), ("torn", &torn, false)]
    {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, text)?;
        let mut check = Command::new(binary("pyralog-agent")?);
        check.arg("check").arg("--config").arg(&file).env("PYRALOG_STORAGE__MAX_MEMORI", MARK);
        if good {
            check.env("PYRALOG_SYNC__UPSTREAM", &upstream);
        }
        assert_eq!(ears.run(&mut check)?, good, "{name}");
    }
    let mut agents = Command::new(binary("pyralog-hub")?);
    agents.args(["agents", "--url", &format!("http://x:{HUB_PASSWORD}@{}", hub.trim_start_matches("http://"))]);
    assert!(!ears.run(agents.env("PYRALOG_TOKEN", WRONG_TOKEN))?);
    let mut status = Command::new(binary("pyralog-agent")?);
    status.args(["status", "--url", &format!("http://x:{HUB_PASSWORD}@127.0.0.1:1")]);
    assert!(!ears.run(status.env("PYRALOG_TOKEN", WRONG_TOKEN))?);
    Ok(())
}

fn new_token(tokens: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(binary("pyralog-hub")?);
    let out = command.args(["token", "new", "--tokens"]).arg(tokens).args(args).output()?;
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

#[tokio::test]
async fn no_secret_is_printed_or_answered_at_any_level() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("hub-tokens");
    let sync = new_token(&tokens, &["--agent", "board-17"])?;
    let reader = new_token(&tokens, &["--agent", "*", "--scope", "read"])?;
    let mut ears = Ears { secrets: vec![MARK.into(), sync.clone(), reader.clone()], heard: Vec::new() };
    // Of Basic: "anyone:hush-" and "agent:hush-" in base64, as far as the beginning decides.
    ears.secrets.extend(["YW55b25lOmh1c2".into(), "YWdlbnQ6aHVza".into()]);
    std::fs::write(folder.path().join("token"), &sync)?;

    let mut hub = Hub::absent(folder.path())?;
    hub.set("tokens", &tokens.display().to_string());
    hub.set("log", "trace");
    hub.up().await?;
    let config = config(folder.path(), &free_address()?.to_string())?;
    let talkative = |id: &str| Options::new(id).toml(&config).set("log.level", "trace");
    let token_file = folder.path().join("token").display().to_string();
    let agent = talkative("board-17").upstream(hub.address).set("sync.token_file", &token_file);
    let agent = agent.start(folder.path()).await?;
    let upstream = format!("http://agent:{HUB_PASSWORD}@{}", hub.address);
    let other = talkative("board-18").set("sync.upstream", &upstream).start(folder.path()).await?;

    knock_at_the_agent(&mut ears, &agent).await?;
    knock_at_the_agent(&mut ears, &other).await?;
    knock_at_the_hub(&mut ears, &hub.url(), &reader).await?;
    ask_the_programs(&mut ears, folder.path(), &config, &hub.url())?;
    let read = http::client()?;
    let account = format!("{}/v1/agents/board-17/logs/climate", hub.url());
    wait::until("the first agent to ship", wait::LONG, async || {
        Ok((read.get(&account).bearer_auth(&reader).send().await?.status() == 200).then_some(()))
    })
    .await?;
    let failed = || other.process.said().contains("sync failed");
    wait::until("the other to be refused", wait::LONG, async || Ok(failed().then_some(()))).await?;

    ears.hear("the agent's output", agent.process.said());
    ears.hear("the other agent's output", other.process.said());
    let said = hub.process().map(|hub| hub.said()).unwrap_or_default();
    assert!(said.contains("TRACE"), "the hub is not talkative:\n{said}");
    ears.hear("the hub's output", said);
    assert!(ears.heard.iter().all(|(_, text)| !text.is_empty()) && ears.heard.len() > 60, "nothing was listened to");
    ears.nothing_got_out();
    Ok(())
}
