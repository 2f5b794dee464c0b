//! A small disk of the hubs' own, which can be made read-only or full while they run.
//!
//! Permissions bind nobody who runs as root, so the disk is a real one: a tmpfs in a mount name space that ends with its keeper.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{Result, wait};

const SIZE: &str = "6g";

/// How long a disk that is being written to may take to become read-only.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// As it should be.
    Well,
    /// Read-only.
    ReadOnly,
    /// Full but for some pages.
    Full,
}

/// The mount name space with the disk.
#[derive(Debug)]
pub struct Space {
    disk: PathBuf,
    keeper: Process,
    enter: &'static [&'static str],
}

impl Space {
    /// Mounts a disk at the folder `disk`; `None` where this machine does not let us.
    ///
    /// # Errors
    /// When the keeper cannot be started.
    pub async fn open(disk: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(disk)?;
        let ways: [(&[&str], &'static [&'static str]); 2] =
            [(&["--mount"], &["--mount"]), (&["--user", "--map-root-user", "--mount"], USER)];
        for (unshare, enter) in ways {
            let mut command = Command::new("unshare");
            // It ends with whoever started it, however that one ends.
            let script = r#"mount -t tmpfs -o size="$2" tmpfs "$1" && echo mounted || exit 1
                            while kill -0 "$PPID" 2>/dev/null; do sleep 1; done"#;
            command.args(unshare).args(["--", "sh", "-c", script, "sh"]).arg(disk).arg(SIZE);
            let Ok(mut keeper) = Process::start("the disk's keeper", command) else { continue };
            let mounted = keeper.find("the disk", |said| said.contains("mounted").then_some(()));
            if mounted.await.is_ok() {
                return Ok(Some(Self { disk: disk.to_owned(), keeper, enter }));
            }
        }
        Ok(None)
    }

    /// A command that sees the disk; the program takes the place of the one that leads it in, so its id is the child's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.keeper.pid().to_string()).args(self.enter).arg("--").arg(program);
        command
    }

    /// Changes the disk.
    ///
    /// # Errors
    /// When the system refuses for too long.
    pub async fn set(&self, disk: Disk) -> Result<()> {
        let script = r#"used=$(df --output=used -B1 "$1" | tail -n 1) && mount -o "remount,size=$((used + $2))" "$1""#;
        match disk {
            Disk::Well => self.mount(r#"mount -o "remount,rw,size=$2" "$1""#, SIZE).await,
            Disk::ReadOnly => self.mount(r#"mount -o "$2" "$1""#, "remount,ro").await,
            Disk::Full => self.mount(script, "16384").await,
        }
    }

    async fn mount(&self, script: &str, argument: &str) -> Result<()> {
        wait::until(argument, PATIENCE, async || {
            let mut command = self.command(Path::new("sh"));
            let output = command.args(["-c", script, "sh"]).arg(&self.disk).arg(argument).output()?;
            // Somebody may just be writing, and then the system says busy.
            if output.status.success() { Ok(Some(())) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
        })
        .await
    }
}

const USER: &[&str] = &["--user", "--preserve-credentials", "--mount"];
