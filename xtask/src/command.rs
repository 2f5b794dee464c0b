//! Other programs, run so that a failure says which command it was.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command about to run in the workspace's root.
pub(crate) struct Run {
    command: Command,
    shown: String,
}

impl Run {
    /// `program`, with the workspace's root as its directory.
    pub(crate) fn new(program: impl AsRef<OsStr>, root: &Path) -> Self {
        let mut command = Command::new(program.as_ref());
        command.current_dir(root);
        Self { shown: program.as_ref().to_string_lossy().into_owned(), command }
    }

    /// The cargo that runs us.
    pub(crate) fn cargo(root: &Path) -> Self {
        let mut run = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), root);
        run.shown = "cargo".to_owned();
        // Set by `cargo run` for this crate; another package's build must not see it as its own.
        run.command.env_remove("CARGO_MANIFEST_DIR");
        run
    }

    /// The cargo of another toolchain, by way of rustup.
    pub(crate) fn cargo_of(toolchain: &str, root: &Path) -> Self {
        let mut run = Self::new("rustup", root).words("run").arg(toolchain).arg("cargo");
        // Set by `cargo run`: ours, which must not be taken for that of the other.
        for key in ["CARGO", "CARGO_MANIFEST_DIR", "RUSTUP_TOOLCHAIN"] {
            run.command.env_remove(key);
        }
        run
    }

    /// Appends arguments given as one line of words.
    pub(crate) fn words(mut self, line: &str) -> Self {
        for word in line.split_whitespace() {
            self = self.arg(word);
        }
        self
    }

    /// Appends one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let _ = write!(self.shown, " {}", arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs it with our terminal.
    pub(crate) fn go(mut self) -> Result<(), String> {
        println!("$ {}", self.shown);
        let status = self.command.status().map_err(|error| format!("cannot start `{}`: {error}", self.shown))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", self.shown)) }
    }

    /// Runs it silently and returns what it printed; what it said on stderr becomes the error.
    pub(crate) fn output(mut self) -> Result<String, String> {
        let out = self.command.output().map_err(|error| format!("cannot start `{}`: {error}", self.shown))?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&out.stderr);
            Err(format!("`{}` ended with {}:\n{}", self.shown, out.status, said.trim_end()))
        }
    }

    /// Runs it, passes its stdout on line by line, and gives every line to `each`.
    pub(crate) fn lines(mut self, mut each: impl FnMut(&str)) -> Result<(), String> {
        println!("$ {}", self.shown);
        let fail = |error: std::io::Error, shown: &str| format!("cannot run `{shown}`: {error}");
        let mut child = self.command.stdout(Stdio::piped()).spawn().map_err(|error| fail(error, &self.shown))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.map_err(|error| fail(error, &self.shown))?;
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                each(&line);
            }
        }
        let status = child.wait().map_err(|error| fail(error, &self.shown))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", self.shown)) }
    }
}

/// Where `program` lies on the search path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps daemons where a plain user's path does not look.
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(daemons).map(|folder| folder.join(program)).find(|file| file.is_file())
}
