//! The binary as people and scripts use it.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

fn agent(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-agent"));
    command.args(args).env_remove("PYRALOG_URL").env_remove("PYRALOG_TOKEN");
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = agent(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running agent, killed at the end of a test that did not stop it.
struct Running(Child, String);

impl Running {
    fn start(args: &[&str]) -> Self {
        let base =
            ["serve", "--http-listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--set", "host.enabled=false"];
        let mut child = agent(&[&base, args].concat()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let greeting: Vec<String> = lines.take_while(|line| !line.ends_with("/records")).collect();
        let http = greeting.iter().find(|line| line.trim_start().starts_with("http ")).unwrap();
        let url = http.split_whitespace().nth(1).unwrap().to_owned();
        assert!(greeting.iter().any(|line| line.contains("curl -d 'climate temp=21.5'")), "{greeting:?}");
        Self(child, url)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_first_reading_goes_in_and_comes_back_and_sigterm_ends_it_well() {
    let mut running = Running::start(&[]);
    let url = running.1.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    pyralog_service::tls::install_provider();
    let written =
        runtime.block_on(reqwest::Client::new().post(format!("{url}/write")).body("climate temp=21.5 7").send());
    assert_eq!(written.unwrap().status(), 204);

    let (code, out, _) = run(&["read", "climate", "--url", &url]);
    assert_eq!((code, out.as_str()), (Some(0), "{\"offset\":0,\"time\":7,\"temp\":21.5}\n"));
    let (code, out, _) = run(&["read", "climate", "--format", "csv", "--from-offset", "1", "--url", &url]);
    assert_eq!((code, out.as_str()), (Some(0), "offset,time,temp\n"));
    let (code, _, error) = run(&["read", "climat", "--url", &url]);
    assert_eq!(code, Some(1));
    assert!(error.contains("did you mean \"climate\"?"), "{error}");
    let (code, out, _) = run(&["status", "--url", &url]);
    assert_eq!(code, Some(0));
    assert!(out.contains("climate         1          0        1          0"), "{out}");
    let (_, out, _) = run(&["status", "--json", "--url", &url]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["logs"]["climate"]["pending"], 1);

    running.signal("TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let (code, _, error) = run(&["status", "--url", &url]);
    assert_eq!(code, Some(1));
    assert!(error.contains("does the agent run there?"), "{error}");
}

#[test]
fn a_second_signal_does_not_wait_for_a_hub_that_is_away() {
    // Nobody listens on port 9 of this machine; the stop would try to ship for an hour.
    let mut running = Running::start(&["--upstream", "http://127.0.0.1:9", "--set", "shutdown_grace=1h"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    pyralog_service::tls::install_provider();
    let client = reqwest::Client::new();
    runtime.block_on(client.post(format!("{}/write", running.1)).body("climate temp=1").send()).unwrap();
    running.signal("TERM");
    // The listener closes once the first signal is taken; until then a second one might be merged into it.
    let closed = |_: &u32| runtime.block_on(reqwest::Client::new().get(&running.1).send()).is_err();
    let tries = (0..600).find(|n| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        closed(n)
    });
    assert!(tries.is_some(), "the listener stays open");
    running.signal("TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}

#[test]
fn check_prints_what_it_resolves_to_and_names_what_is_wrong() {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(b"[http]\ntokens = [\"s3cret\"]\n[storage]\nmax_memory = \"8MiB\"\n").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let (code, out, _) = run(&["check", "--config", &path]);
    assert_eq!(code, Some(0));
    assert!(out.contains(&format!("max_memory = \"8MiB\"  # {path}:4")) && !out.contains("s3cret"), "{out}");

    file.write_all(b"segment_row = 5\n").unwrap();
    for command in ["check", "serve"] {
        let (code, out, error) = run(&[command, "--config", &path]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{command}");
        assert!(error.contains(&format!("{path}:5: storage.segment_row: unknown key")), "{error}");
        assert!(error.contains("did you mean `storage.segment_rows`?"), "{error}");
    }
    let (code, _, error) = run(&["check", "--config", "/nonexistent.toml"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("/nonexistent.toml: cannot read the configuration file"), "{error}");
}

#[test]
fn help_teaches_by_examples_and_a_taken_port_is_named_with_its_key() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("curl -d 'climate temp=21.5'") && out.contains("Exit codes"), "{out}");
    assert_eq!(run(&["serve", "--nonsense"]).0, Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = run(&["serve", "--http-listen", &address, "--mqtt-listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&address) && error.contains("set http.listen"), "{error}");
}
