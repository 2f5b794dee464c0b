//! The README's first command.

use std::process::Command;
use std::time::{Duration, Instant};

use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, python};

#[tokio::test]
async fn the_quickstart_ends_within_a_minute_and_every_sum_is_right() -> Result<()> {
    let begun = Instant::now();
    let mut command = Command::new("timeout");
    command.arg("120").arg(binary("quickstart")?);
    let said = python::output("quickstart", command).await?;
    for word in ["accepted", "committed", "pending", "receipted", "bytes per reading"] {
        assert!(said.contains(word), "no {word} in:\n{said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(120), "{said}");
    Ok(())
}
