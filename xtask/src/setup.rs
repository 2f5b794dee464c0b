//! What the tests need beyond Rust, gcc and Python: installed when missing, left alone when there.

use std::path::{Path, PathBuf};

use crate::command::{Run, which};

/// Debian packages, each with a program that proves it is there.
const PACKAGES: &[(&str, &str)] = &[
    // The allocator's build.
    ("make", "make"),
    ("mosquitto", "mosquitto"),
    ("mosquitto-clients", "mosquitto_pub"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    // Another clock for a program.
    ("faketime", "faketime"),
    ("python3", "python3"),
];

/// The same, for what can be done without.
const OPTIONAL: &[(&str, &str)] = &[("groff-base", "groff"), ("lintian", "lintian")];

const DENY_VERSION: &str = "0.20.2";

/// Installs what is missing and fetches the sources of the dependencies, so that later steps can stay offline.
pub(crate) fn run(root: &Path) -> Result<String, String> {
    let packages = debian(root)?;
    let clients = clients(root)?;
    Run::cargo(root).words("fetch --locked").go()?;
    let deny = install_cargo_deny(root)?;
    Ok([packages, clients, deny].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; "))
}

/// The Python that has the clients.
pub(crate) fn python(root: &Path) -> PathBuf {
    root.join(".venv/bin/python")
}

/// cargo-deny in the version that we pin: ours, or the user's if it is the same.
pub(crate) fn cargo_deny(root: &Path) -> Option<PathBuf> {
    let is_pinned = |program: &PathBuf| {
        let version = Run::new(program, root).arg("--version").output();
        version.is_ok_and(|text| text.split_whitespace().any(|word| word == DENY_VERSION))
    };
    [Some(tools(root).join("bin/cargo-deny")), which("cargo-deny")].into_iter().flatten().find(is_pinned)
}

fn tools(root: &Path) -> PathBuf {
    root.join("target/tools")
}

fn debian(root: &Path) -> Result<String, String> {
    let lacking = |packages: &[(&'static str, &str)]| -> Vec<&str> {
        packages.iter().filter(|(_, program)| which(program).is_none()).map(|(name, _)| *name).collect()
    };
    let (mut missing, optional) = (lacking(PACKAGES), lacking(OPTIONAL));
    if !missing.is_empty() {
        apt(root, &missing)?;
    }
    if !optional.is_empty() {
        match apt(root, &optional) {
            Ok(()) => missing.extend(optional),
            Err(message) => println!("{message}; going on without {}", optional.join(", ")),
        }
    }
    if missing.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("installed {}", missing.join(", ")))
}

fn apt(root: &Path, packages: &[&str]) -> Result<(), String> {
    if which("apt-get").is_none() {
        return Err(format!("please install: {} (this machine has no apt-get)", packages.join(", ")));
    }
    let apt = |words: &str| {
        let is_root = Run::new("id", root).arg("-u").output().is_ok_and(|id| id.trim() == "0");
        let run = if is_root { Run::new("apt-get", root) } else { Run::new("sudo", root).words("-n apt-get") };
        run.words(words).env("DEBIAN_FRONTEND", "noninteractive").go()
    };
    // One dead third-party list must not stop us: whether the packages are to be had, the install decides.
    if let Err(message) = apt("update -q") {
        println!("{message}; going on with the package lists there are");
    }
    apt(&format!("install -q -y --no-install-recommends {}", packages.join(" ")))
}

/// The clients that tests drive.
fn clients(root: &Path) -> Result<String, String> {
    let made = virtual_environment(root, &root.join(".venv"), &root.join("xtask/requirements.txt"))?;
    Ok(if made { "Python clients installed".to_owned() } else { String::new() })
}

/// A virtual environment at `venv` with what the file `wanted` pins, made anew when the pins change. Says whether it was.
pub(crate) fn virtual_environment(root: &Path, venv: &Path, wanted: &Path) -> Result<bool, String> {
    let text = std::fs::read_to_string(wanted).map_err(|error| format!("cannot read {}: {error}", wanted.display()))?;
    let stamp = venv.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(false);
    }
    let make = || Run::new("python3", root).words("-m venv --clear").arg(venv).go();
    if make().is_err() {
        // Debian keeps the module in a package of its own.
        apt(root, &["python3-venv"])?;
        make()?;
    }
    let pip = Run::new(venv.join("bin/python"), root)
        .words("-m pip install --quiet --disable-pip-version-check --no-deps -r");
    pip.arg(wanted).go()?;
    std::fs::write(&stamp, text).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(true)
}

/// The emulator called `program`, installed if it is missing. Newer distributions call it the same without `-static`.
pub(crate) fn emulator(root: &Path, program: &str) -> Result<PathBuf, String> {
    let find = || which(program).or_else(|| which(program.strip_suffix("-static")?));
    if let Some(found) = find() {
        return Ok(found);
    }
    apt(root, &["qemu-user-static"])?;
    find().ok_or_else(|| format!("qemu-user-static is installed, and there is no {program}"))
}

/// Builds cargo-deny without optimisation: a minute on two cores, and its checks take a second either way.
fn install_cargo_deny(root: &Path) -> Result<String, String> {
    if cargo_deny(root).is_some() {
        return Ok(String::new());
    }
    let scratch = tools(root).join("build");
    let install = Run::cargo(root).words("install --quiet --locked --debug cargo-deny --version").arg(DENY_VERSION);
    let install = install.arg("--root").arg(tools(root)).arg("--target-dir").arg(&scratch);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0").go()?;
    // Half a gigabyte that nothing needs again; if it will not go, nothing is lost but room.
    let _ = std::fs::remove_dir_all(&scratch);
    Ok(format!("cargo-deny {DENY_VERSION} installed"))
}
