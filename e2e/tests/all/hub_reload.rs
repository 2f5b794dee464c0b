//! A hub that is told to read its configuration again, and one whose secrets a service manager hands over.

use std::path::Path;
use std::process::Command;

use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, http};

use crate::pki::Authority;

/// A hub that goes by a file.
async fn hub_by(file: &Path, folder: &Path, env: &[(&str, &str)]) -> Result<Hub> {
    let mut hub = Hub::absent(folder)?;
    let mut command = Command::new(binary("pyralog-hub")?);
    command.arg("serve").arg("--config").arg(file).arg("--store").arg(&hub.store).envs(env.iter().copied());
    hub.run(command).await?;
    Ok(hub)
}

/// Sends SIGHUP and waits for words that it has not said before.
async fn reload(hub: &mut Hub, words: &str) -> Result<String> {
    let process = hub.process().ok_or("the hub is gone")?;
    let before = process.said().matches(words).count();
    process.signal("HUP")?;
    process.find(words, |said| (said.matches(words).count() > before).then(|| said.to_owned())).await
}

fn token(file: &Path, scope: &str) -> Result<String> {
    let mut command = Command::new(binary("pyralog-hub")?);
    let out = command.args(["token", "new", "--agent", "*", "--scope", scope, "--tokens"]).arg(file).output()?;
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

#[tokio::test]
async fn a_reload_takes_tokens_and_limits_over_and_names_what_needs_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [file, old, new] = ["hub.toml", "old", "new"].map(|name| folder.path().join(name));
    let write = |text: String| std::fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{text}"));
    let tokens = |file: &Path, scope| token(file, scope);
    let (first, second, sender) = (tokens(&old, "read")?, tokens(&new, "read")?, tokens(&new, "sync")?);
    write(format!("tokens = {old:?}\n"))?;
    let mut hub = hub_by(&file, folder.path(), &[]).await?;
    let url = hub.url();
    let client = reqwest::Client::new();
    let agents = async |token: &str| -> Result<u16> {
        Ok(client.get(format!("{url}/v1/agents")).bearer_auth(token).send().await?.status().as_u16())
    };
    let batch = async || -> Result<u16> {
        let request = client.post(format!("{url}/v1/sync/board/batch")).bearer_auth(&sender);
        Ok(request.body(vec![0; 100_000]).send().await?.status().as_u16())
    };
    assert_eq!((agents(&first).await?, agents(&second).await?), (200, 401));

    // Mistakes change nothing: in the file, in what it names, and where a listener that is open would lose its tokens.
    for (text, words) in [
        ("tokns = \"x\"\n".to_owned(), "did you mean `tokens`?"),
        (format!("tokens = {:?}\n", folder.path().join("missing")), "cannot read the tokens file"),
        (format!("tokens = {old:?}\nallow_anonymous = true\n"), "contradict each other"),
    ] {
        write(text)?;
        let said = reload(&mut hub, "keeping the configuration from before").await?;
        assert!(said.contains(words), "{said}");
        assert_eq!((agents(&first).await?, agents(&second).await?), (200, 401));
    }

    write(format!("tokens = {new:?}\nlog = \"debug\"\n[limits]\nmax_connections = 9\n"))?;
    reload(&mut hub, "changed and not taken over: log, limits.max_connections; it needs a restart").await?;
    assert_eq!((agents(&first).await?, agents(&second).await?), (401, 200));
    let taken = batch().await?;
    assert_ne!(taken, 413, "the body is nonsense, and not too large");
    write(format!("tokens = {new:?}\n[limits]\nmax_batch = \"64KiB\"\n"))?;
    reload(&mut hub, "configuration read again").await?;
    assert_eq!(batch().await?, 413);
    write(format!("tokens = {new:?}\n"))?;
    reload(&mut hub, "configuration read again").await?;
    assert_eq!(batch().await?, taken);
    Ok(())
}

#[tokio::test]
async fn the_secrets_of_a_hub_may_be_credentials_of_the_service_manager() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let handed = folder.path().join("handed");
    std::fs::create_dir(&handed)?;
    let authority = Authority::new(folder.path(), "authority")?;
    let pair = authority.sign("hub", &["127.0.0.1"])?;
    std::fs::copy(&pair.cert, handed.join("hub_cert.pem"))?;
    std::fs::copy(&pair.key, handed.join("hub_key.pem"))?;
    let reader = token(&handed.join("hub_tokens"), "read")?;
    std::fs::write(handed.join("reader"), &reader)?;
    let file = folder.path().join("hub.toml");
    std::fs::write(
        &file,
        "listen = \"127.0.0.1:0\"\ntokens = \"credential:hub_tokens\"\n\
         [tls]\ncert = \"credential:hub_cert.pem\"\nkey = \"credential:hub_key.pem\"\n",
    )?;

    let mut command = Command::new(binary("pyralog-hub")?);
    command.arg("serve").arg("--config").arg(&file).env_remove("CREDENTIALS_DIRECTORY");
    let out = command.output()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("hub.toml:2") && said.contains("LoadCredential=hub_tokens:FILE"), "{said}");

    let mut hub = Hub::absent(folder.path())?;
    hub.speak_tls(http::trusting(&authority.file, None)?);
    let mut command = Command::new(binary("pyralog-hub")?);
    command.arg("serve").arg("--config").arg(&file).arg("--store").arg(&hub.store);
    command.env("CREDENTIALS_DIRECTORY", &handed);
    hub.run(command).await?;
    // Its commands take them, too.
    let mut command = Command::new(binary("pyralog-hub")?);
    command
        .args(["agents", "--token-file", "credential:reader", "--url", &hub.url(), "--ca-file"])
        .arg(&authority.file);
    let out = command.env("CREDENTIALS_DIRECTORY", &handed).output()?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
