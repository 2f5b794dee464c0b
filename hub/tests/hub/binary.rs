//! The program itself: flags, signals, exit codes, and what it prints.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::device::Device;

struct Hub {
    child: Child,
    url: String,
}

impl Hub {
    fn start(store: &Path) -> Self {
        let mut child = program(&["serve", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
    command.args(args).env_remove("PYRALOG_TOKEN").stdin(Stdio::null());
    command
}

/// Runs the program off the test's own threads, which the test's hub may need.
async fn run(args: &[&str]) -> Output {
    let mut command = program(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_hub_that_is_killed_again_and_again_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = Device::new("board-17", "climate", 1);
    let pieces: Vec<_> = (0..30).map(|_| device.segment(7)).collect();
    for round in 0..3 {
        let hub = Hub::start(folder.path());
        device.hello(&hub.url).await;
        let committed = device.send(&hub.url, &pieces[..(round + 1) * 10 - 3]).await;
        assert_eq!(committed, (round as u64 + 1) * 70 - 21);
        // This one is cut off at any point, or taken whole; both are fine.
        let (url, batch) = (hub.url.clone(), device.batch(&pieces[..(round + 1) * 10]));
        let cut_off = tokio::spawn(async move {
            let url = format!("{url}/v1/sync/board-17/batch");
            let _ = crate::device::client().post(url).body(batch).send().await;
        });
        tokio::task::yield_now().await;
        hub.kill();
        cut_off.await.unwrap();
    }
    let hub = Hub::start(folder.path());
    assert_eq!(device.send(&hub.url, &pieces).await, 210);
    let read = run(&["read", "--url", &hub.url, "--agent", "board-17", "--log", "climate", "--format", "csv"]).await;
    let text = out(&read);
    let offsets: Vec<u64> = text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(offsets, (0..210).collect::<Vec<_>>());
    let verified = run(&["verify", "--decode", "--store", folder.path().to_str().unwrap()]).await;
    assert!(verified.status.success(), "{}{}", out(&verified), err(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_stop_is_followed_at_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path());
    Device::new("board-17", "climate", 1).hello(&hub.url).await;
    let kill = Command::new("kill").args(["-TERM", &hub.child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = tokio::task::block_in_place(|| hub.child.wait());
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_client_commands_show_what_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url).await;
    let pieces = [device.segment(1_200), device.loss(34), device.segment(1)];
    device.send(&hub.url, &pieces).await;
    let at = ["--url", hub.url.as_str(), "--agent", "board-17", "--log", "climate"];

    let agents = run(&["agents", "--url", &hub.url]).await;
    assert!(out(&agents).contains("board-17") && agents.status.success(), "{}", err(&agents));
    let account = run(&[&["account"], &at[..]].concat()).await;
    assert!(out(&account).contains("1,201") && out(&account).contains("evicted"), "{}", out(&account));
    assert!(!out(&account).contains('\x1b'), "no colours where there is no terminal");
    let overview = run(&["account", "--url", &hub.url, "--agent", "board-17"]).await;
    assert!(out(&overview).contains("climate"), "{}", out(&overview));
    let json = run(&[&["account", "--json"], &at[..]].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["epochs"][0]["committed"], 1_201);
    let last = run(&[&["read", "--from-offset", "1200"], &at[..]].concat()).await;
    assert_eq!(out(&last), "{\"epoch\":1,\"offset\":1234,\"time\":1234000,\"v\":1234.5}\n");

    let unknown = run(&["account", "--url", &hub.url, "--agent", "board-17", "--log", "climat"]).await;
    assert!(
        unknown.status.code() == Some(1) && err(&unknown).contains("did you mean \"climate\"?"),
        "{}",
        err(&unknown)
    );
    let nobody = run(&["agents", "--url", "http://127.0.0.1:1"]).await;
    assert!(nobody.status.code() == Some(1) && err(&nobody).contains("does a hub run there?"), "{}", err(&nobody));
}

#[tokio::test]
async fn verify_names_the_damaged_object_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url).await;
    let pieces = [device.segment(10), device.segment(10)];
    device.send(&hub.url, &pieces).await;
    hub.kill();
    let store = folder.path().to_str().unwrap();
    let name = "agents/board-17/logs/climate/0000000001/00000000000000000010";
    let mut bytes = std::fs::read(folder.path().join(name)).unwrap();
    bytes[50] ^= 4;
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let verified = run(&["verify", "--store", store]).await;
    assert_eq!(verified.status.code(), Some(1));
    assert!(out(&verified).contains(name) && out(&verified).contains("what to do: "), "{}", out(&verified));
    let nothing = run(&["verify", "--store", &format!("{store}/no/such")]).await;
    assert!(nothing.status.code() == Some(2) && err(&nothing).contains("there is no store"), "{}", err(&nothing));
}

#[tokio::test]
async fn a_bad_configuration_exits_with_2_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.toml");
    std::fs::write(&file, "[limits]\nmax_bach = \"1MiB\"\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["serve", "--config", file], "hub.toml:2"),
        (&["serve", "--config", "/no/such/hub.toml"], "/no/such/hub.toml"),
        (&["serve", "--listen", "0.0.0.0:0"], "token new"),
        (&["serve", "--set", "limits.max_reads=none"], "limits.max_reads"),
        (&["serve", "--tokens", "/no/such/tokens"], "/no/such/tokens"),
    ];
    for (args, words) in cases {
        let output = run(args).await;
        assert!(output.status.code() == Some(2) && err(&output).contains(words), "{args:?}: {}", err(&output));
    }
}

#[tokio::test]
async fn a_token_is_printed_once_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let tokens = tokens.to_str().unwrap();
    let made = run(&["token", "new", "--agent", "*", "--scope", "read", "--tokens", tokens]).await;
    let token = out(&made).trim().to_owned();
    assert!(made.status.success() && token.starts_with("plg_"), "{}", err(&made));
    assert!(!std::fs::read_to_string(tokens).unwrap().contains(&token));
    let listed = run(&["token", "list", "--tokens", tokens]).await;
    assert!(out(&listed).contains("read"), "{}", out(&listed));
}
