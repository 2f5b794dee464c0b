//! The README's way from nothing to TLS, walked word by word: its commands are run as they stand there, on free ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use pyralog_e2e::process::{binary, free_address};
use pyralog_e2e::{Result, python};

/// What the reader's shell is told beside the README's own words: servers run in the background and are waited for, and what
/// takes a moment to arrive is asked for again.
const PROLOGUE: &str = r#"
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null' EXIT
up() { for _ in $(seq 300); do (: < "/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "nothing at $1"; exit 1; }
all() { "$@" > last 2> why && grep -q climate last && grep -q mqtt last; }
soon() { for _ in $(seq 300); do all "$@" && cat last && return; sleep 0.1; done; cat last why; exit 1; }
"#;

/// The commands of a section of the README, one block after the other.
fn commands(readme: &str, section: &str) -> Vec<String> {
    let section = readme.split(section).nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.map(str::to_owned).collect()
}

fn script(blocks: &[String], ports: &[(&str, SocketAddr)], programs: &Path) -> String {
    let mut script = PROLOGUE.to_owned();
    for block in blocks {
        let mut block = block.replace("target/release", &programs.display().to_string());
        for (shown, free) in ports {
            block = block.replace(&format!(":{shown}"), &format!(":{}", free.port()));
            block = block.replace(&format!("-p {shown}"), &format!("-p {}", free.port()));
        }
        if block.contains(" serve ") {
            script.push_str(&format!("{} &\n", block.trim_end()));
            let hub = block.contains("7391") || !block.contains("pyralog-agent");
            let waits = if block.contains("--listen") {
                "up $READER"
            } else if hub {
                "up $HUB"
            } else {
                "up $HTTP; up $MQTT"
            };
            script.push_str(&format!("{waits}\n"));
        } else {
            // Reading from the hub: the agent ships in its own time.
            let asks = |line: &str| line.contains("/v1/agents/") || line.contains("pyralog-hub account");
            let patient = |line: &str| if asks(line) { format!("soon {line}\n") } else { format!("{line}\n") };
            script.extend(block.lines().map(patient));
        }
    }
    script
}

#[tokio::test]
async fn the_readmes_way_to_tls_works_as_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let blocks = commands(&readme, "\n## TLS, from nothing\n");
    assert_eq!(blocks.len(), 6, "the section has another shape than this test knows");
    let [hub, http, mqtt, reader] = [free_address()?, free_address()?, free_address()?, free_address()?];
    let ports = [("7390", hub), ("7380", http), ("1883", mqtt), ("7391", reader)];
    let programs = binary("pyralog-hub")?;
    binary("pyralog-agent")?;
    let script = script(&blocks, &ports, programs.parent().unwrap_or(Path::new("")));
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(&script).current_dir(folder.path()).env("PYRALOG_SYNC__INTERVAL", "100ms");
    bash.env("PYRALOG_LISTEN", hub.to_string()).env("PYRALOG_HTTP__LISTEN", http.to_string());
    bash.env("PYRALOG_MQTT__LISTEN", mqtt.to_string());
    for (name, at) in [("HUB", hub), ("HTTP", http), ("MQTT", mqtt), ("READER", reader)] {
        bash.env(name, at.port().to_string());
    }
    let said = python::output("the README's commands", bash).await?;
    for expected in ["\"climate\"", "COMMITTED", "board-17"] {
        assert!(said.contains(expected), "no {expected} in:\n{said}");
    }
    let table = said.split("COMMITTED").nth(1).unwrap_or_default();
    assert!(table.contains("climate") && table.contains("mqtt"), "{said}");
    Ok(())
}
