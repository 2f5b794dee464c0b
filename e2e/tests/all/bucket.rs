//! From an agent through a hub into a bucket, by the real binaries.

use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::scenario::{HTTP_LOG, send_http};
use pyralog_e2e::{Result, generate, wait};
use pyralog_e2e_s3::{Misbehave, S3Server};

const ROWS: usize = 6_000;
const PARTS: usize = 6;

#[tokio::test]
async fn what_a_hub_puts_into_a_bucket_outlives_its_kills_and_those_of_the_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = S3Server::start(&folder.path().join("s3"))?;
    let mut hub = Hub::absent(folder.path())?;
    hub.keep_in(server.store("fleet/a"));
    for (name, value) in S3Server::environment() {
        hub.env(&name, &value);
    }
    hub.set("sync.retry_after", "1s");
    hub.up().await?;
    let agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    let data = generate::weather(11, ROWS);
    for part in 0..PARTS {
        send_http(&agent, &data, part * ROWS / PARTS..(part + 1) * ROWS / PARTS).await?;
        // Some of it is on its way then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        match part {
            1 | 4 => {
                hub.kill();
                hub.up().await?;
            }
            2 => {
                let address = server.address();
                drop(server);
                server = S3Server::start_at(&folder.path().join("s3"), address)?;
            }
            3 => server.misbehave_after(1, Misbehave::SwallowAnswer),
            _ => {}
        }
    }
    agent.drained(HTTP_LOG, wait::LONG).await?;
    let stored = hub.records("board", HTTP_LOG).await?;
    stored.equals(&data, 0)?;
    let account = hub.account("board", HTTP_LOG).await?;
    assert_eq!((account.len(), account[0].committed), (1, ROWS as u64));
    let said = hub.verify()?;
    assert!(said.contains("all in order"), "{said}");
    Ok(())
}

#[test]
fn a_bucket_that_does_not_fit_is_refused_at_the_start_with_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = S3Server::start(folder.path())?;
    server.misbehave(Misbehave::IgnoreConditions);
    let serve = |store: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(binary("pyralog-hub")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", store]).envs(S3Server::environment());
        let out = command.output()?;
        Ok((out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned()))
    };
    let (code, said) = serve(&server.store("x"))?;
    assert!(code == Some(2) && said.contains("If-None-Match"), "{code:?} {said}");
    let (code, said) = serve("s3://user:hunter2@fleet/x")?;
    assert!(code == Some(2) && said.contains("AWS_ACCESS_KEY_ID") && !said.contains("hunter2"), "{code:?} {said}");
    let address = server.address();
    drop(server);
    let (code, said) = serve(&format!("s3://fleet/x?endpoint=http://{address}"))?;
    assert!(code == Some(1) && said.contains("Connection refused"), "{code:?} {said}");
    Ok(())
}
