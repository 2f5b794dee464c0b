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
async fn a_serial_device_that_is_missing_is_told_with_its_remedy_and_the_agent_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manager = Manager::new(folder.path())?;
    let device = folder.path().join("ttyUSB7");
    let listen = format!("serial:{}?baud=9600", device.display());
    let options = Options::new("board").set("sidecar.listen", &listen).env("NOTIFY_SOCKET", &manager.address);
    let mut agent = options.env("WATCHDOG_USEC", "200000").start(folder.path()).await?;
    let told = manager.hears("no such device; plug it in").await?;
    assert!(told.contains(&format!("sidecar {listen}: cannot open it")) && told.contains("serial.conf"), "{told}");
    agent.write("climate temp=1 1\n".to_owned()).await?;
    manager.hears("STATUS=1 records accepted").await?;
    // Told once, and looked for again: what comes in its place is told too.
    std::fs::write(&device, "a file")?;
    manager.hears("it is no serial line").await?;
    let said = agent.process.find("the second word", |said| said.contains("no serial line").then(|| said.to_owned()));
    assert_eq!(said.await?.matches("plug it in").count(), 1);
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

#[tokio::test]
async fn a_reload_takes_routes_and_tokens_over_keeps_the_ring_and_names_what_needs_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, tokens) = (folder.path().join("board.toml"), folder.path().join("tokens"));
    std::fs::write(&tokens, "first\n")?;
    let text = |log: &str, rest: &str| {
        format!("{rest}\n[http]\ntoken_file = {tokens:?}\n[[mqtt.route]]\ntopic = \"hall/#\"\nlog = \"{log}\"\n")
    };
    let mut agent = Options::new("board").toml(&text("before", "")).start(folder.path()).await?;
    let url = agent.url.clone();
    let answer = async |token: &str| -> Result<u16> {
        let request = reqwest::Client::new().get(format!("{url}/v1/status")).bearer_auth(token);
        Ok(request.send().await?.status().as_u16())
    };
    let heads = async |token: &str| -> Result<(u64, u64)> {
        let request = reqwest::Client::new().get(format!("{url}/v1/status")).bearer_auth(token);
        let status: serde_json::Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        let head = |log: &str| status["logs"][log]["head"].as_u64().unwrap_or(0);
        Ok((head("before"), head("after")))
    };
    // One connection, from before all reloads to the end.
    let (client, mut events) = rumqttc::AsyncClient::new(mqtt_options(agent.mqtt), 10);
    let pump = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let publish = async || client.publish("hall/1", rumqttc::QoS::AtLeastOnce, false, "{\"temp\": 1}").await;
    publish().await?;
    wait::until("the first reading", wait::LONG, async || Ok((heads("first").await? == (1, 0)).then_some(()))).await?;

    // A mistake changes nothing.
    std::fs::write(&tokens, "second\n")?;
    std::fs::write(&file, text("after", "agent_di = \"x\""))?;
    agent.process.signal("HUP")?;
    let said =
        agent.process.find("the mistake", |said| said.contains("keeping the configuration").then(|| said.to_owned()));
    let said = said.await?;
    assert!(said.contains("board.toml:1") && said.contains("did you mean `agent_id`?"), "{said}");
    assert_eq!((answer("first").await?, answer("second").await?), (200, 401));

    // Good now, and with a key that must wait for a restart.
    std::fs::write(&file, text("after", "shutdown_grace = \"1s\""))?;
    agent.process.signal("HUP")?;
    let restart = "changed and not taken over: shutdown_grace; it needs a restart";
    agent.process.find("the reload", |said| said.contains(restart).then_some(())).await?;
    assert_eq!((answer("first").await?, answer("second").await?), (401, 200));
    publish().await?;
    wait::until("the second reading", wait::LONG, async || Ok((heads("second").await? == (1, 1)).then_some(())))
        .await?;
    assert!(!pump.is_finished(), "the connection lived through it all");
    Ok(())
}

#[test]
fn a_credential_that_the_service_manager_hands_over_is_a_file_and_without_one_the_remedy_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("agent_token"), "secret\n")?;
    let check = |credentials: Option<&Path>, name: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(binary("pyralog-agent")?);
        command
            .args(["check", "--set", &format!("http.token_file=credential:{name}")])
            .env_remove("CREDENTIALS_DIRECTORY");
        let out = command.envs(credentials.map(|folder| ("CREDENTIALS_DIRECTORY", folder))).output()?;
        Ok((out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned()))
    };
    assert_eq!(check(Some(folder.path()), "agent_token")?.0, Some(0));
    for (credentials, name, words) in [
        (None, "agent_token", "LoadCredential=agent_token:FILE"),
        (Some(folder.path()), "missing", "cannot read"),
        (Some(folder.path()), "../agent_token", "names no credential"),
    ] {
        let (code, said) = check(credentials, name)?;
        assert!(code == Some(2) && said.contains(words), "{said}");
    }
    Ok(())
}

fn mqtt_options(at: std::net::SocketAddr) -> rumqttc::MqttOptions {
    rumqttc::MqttOptions::new("sensor", at.ip().to_string(), at.port())
}

/// Where a unit can be checked, what systemd thinks of ours.
#[test]
fn the_units_are_well_formed_and_their_sandbox_leaves_little_open() -> Result<()> {
    let analyze = |args: &[&str]| Command::new("systemd-analyze").args(args).output();
    if analyze(&["--version"]).is_err() {
        println!("skipped: systemd-analyze is not here");
        return Ok(());
    }
    let (units, root) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../cross/systemd"), tempfile::tempdir()?);
    // `verify` wants the programs to be there.
    for program in ["usr/bin/pyralog-agent", "usr/bin/pyralog-hub", "bin/kill"] {
        let path = root.path().join(program);
        std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        std::fs::copy("/bin/true", path)?;
    }
    let folder = root.path().join("etc/systemd/system");
    let drop_in = "pyralog-agent.service.d/serial.conf";
    std::fs::create_dir_all(folder.join(drop_in).parent().ok_or("no folder")?)?;
    let root = format!("--root={}", root.path().display());
    for (unit, file) in [
        ("pyralog-agent.service", "pyralog-agent.service"),
        ("pyralog-hub.service", "pyralog-hub.service"),
        ("pyralog-agent.service", drop_in),
    ] {
        std::fs::copy(units.join(file), folder.join(file))?;
        let out = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", &root, unit])?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && said.contains("exposure level"), "{file}: {said}");
        let out = analyze(&["verify", "--man=no", "--recursive-errors=no", &root, unit])?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && said.is_empty(), "{file}: {said}");
    }
    Ok(())
}
