//! One package: its files in their places, the papers about them, and `dpkg-deb`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::architecture::Architecture;
use super::{binary, contents};
use crate::command::{Run, which};

/// A program that has a package.
#[derive(Debug)]
pub(crate) struct Program {
    /// The package's name, and the program's.
    pub(crate) name: &'static str,
    /// What its configuration is called: `/etc/pyralog/SHORT.toml`.
    pub(crate) short: &'static str,
    /// Examples for its administrator, from `cross/systemd`.
    examples: &'static [&'static str],
}

/// All of them.
pub(crate) const PROGRAMS: &[Program] = &[
    Program { name: "pyralog-agent", short: "agent", examples: &["pyralog-agent.service.d/serial.conf"] },
    Program { name: "pyralog-hub", short: "hub", examples: &[] },
];

/// The program of that name.
pub(crate) fn named(name: &str) -> Result<&'static Program, String> {
    let known = || PROGRAMS.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    PROGRAMS
        .iter()
        .find(|program| program.name == name)
        .ok_or_else(|| format!("there is no package `{name}`; there are {}", known()))
}

/// A package to make.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Program,
    pub(crate) architecture: &'a Architecture,
    pub(crate) binary: &'a Path,
    pub(crate) version: &'a str,
    /// Pack in a hurry, for a package that nobody will download.
    pub(crate) quick: bool,
}

/// Makes a package with the manuals that lie below `made`, and leaves it in `folder`.
pub(crate) fn make(root: &Path, order: &Order<'_>, made: &Path, folder: &Path) -> Result<PathBuf, String> {
    if which("dpkg-deb").is_none() {
        return Err("dpkg-deb is not here: packages are made on Debian and its kin".to_owned());
    }
    binary::fits(order.binary, order.architecture)?;
    let tree = Tree { root, order, made, at: folder.join(format!("{}.tree", order.program.name)) };
    let fail = |error: io::Error| format!("cannot write {}: {error}", tree.at.display());
    match fs::remove_dir_all(&tree.at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => fs::create_dir_all(&tree.at).map_err(fail)?,
    }
    tree.program()?;
    tree.papers()?;
    tree.control()?;
    let epoch = contents::epoch(root)?;
    age(&tree.at, SystemTime::UNIX_EPOCH + Duration::from_secs(epoch)).map_err(fail)?;
    let Order { program, architecture, version, .. } = order;
    let package = folder.join(format!("{}_{version}_{}.deb", program.name, architecture.debian));
    let run = Run::new("dpkg-deb", root).words("--root-owner-group -Zxz").words(if order.quick { "-z1" } else { "" });
    run.arg("--build").arg(&tree.at).arg(&package).env("SOURCE_DATE_EPOCH", epoch.to_string()).output()?;
    // What it was made of is in it.
    let _ = fs::remove_dir_all(&tree.at);
    Ok(package)
}

/// A package's files before they are packed.
struct Tree<'a> {
    root: &'a Path,
    order: &'a Order<'a>,
    made: &'a Path,
    at: PathBuf,
}

impl Tree<'_> {
    /// What runs: the program, its unit and its configuration.
    fn program(&self) -> Result<(), String> {
        let Program { name, short, .. } = self.order.program;
        let program = self.copy(self.order.binary, &format!("usr/bin/{name}"), 0o755)?;
        if self.order.architecture.is_here() {
            Run::new("strip", self.root).arg("--strip-unneeded").arg(&program).output()?;
        }
        let unit = self.root.join("cross/systemd").join(format!("{name}.service"));
        self.copy(&unit, &format!("usr/lib/systemd/system/{name}.service"), 0o644)?;
        let example = self.root.join("examples/config").join(format!("{short}.toml"));
        self.copy(&example, &format!("etc/pyralog/{short}.toml"), 0o644)?;
        // The unit names it, so it must be there; what is in it is for root alone.
        self.folder(&format!("etc/pyralog/{short}.credentials"), 0o700)
    }

    /// What is read: manual pages, completions, and what Debian wants to be told.
    fn papers(&self) -> Result<(), String> {
        let name = self.order.program.name;
        let manuals = self.made.join("man");
        let mut pages = 0;
        for page in listed(&manuals)? {
            let file = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let rest = file.strip_prefix(name).unwrap_or_default();
            if let (true, Some((_, section))) = (rest.starts_with(['.', '-']), rest.rsplit_once('.')) {
                self.packed(&page, &format!("usr/share/man/man{section}/{file}"))?;
                pages += 1;
            }
        }
        if pages == 0 {
            return Err(format!(
                "there are no pages of {name} in {}: `cargo xtask manuals` makes them",
                manuals.display()
            ));
        }
        let completions = self.made.join("completions");
        for (file, place) in [
            (format!("{name}.bash"), format!("usr/share/bash-completion/completions/{name}")),
            (format!("_{name}"), format!("usr/share/zsh/vendor-completions/_{name}")),
            (format!("{name}.fish"), format!("usr/share/fish/vendor_completions.d/{name}.fish")),
        ] {
            self.copy(&completions.join(file), &place, 0o644)?;
        }
        let doc = format!("usr/share/doc/{name}");
        self.copy(&self.root.join("cross/debian/copyright"), &format!("{doc}/copyright"), 0o644)?;
        self.packed(&self.root.join("cross/debian/changelog"), &format!("{doc}/changelog.Debian"))?;
        self.packed(&self.root.join("CHANGELOG.md"), &format!("{doc}/changelog"))?;
        for example in self.order.program.examples {
            let file = Path::new(example).file_name().unwrap_or_default().to_string_lossy();
            self.copy(&self.root.join("cross/systemd").join(example), &format!("{doc}/examples/{file}"), 0o644)?;
        }
        Ok(())
    }

    /// What dpkg goes by; last, since it sums up the rest.
    fn control(&self) -> Result<(), String> {
        let Order { program, architecture, version, binary, .. } = self.order;
        let depends = binary::depends(binary, self.root)?;
        let is_static = depends.is_empty();
        let mut overrides = self.template("lintian-overrides")?;
        if is_static {
            overrides += &self.template("lintian-overrides.static")?;
        }
        self.write(&format!("usr/share/lintian/overrides/{}", program.name), &overrides, 0o644)?;
        let (bytes, sums) = self.sums()?;
        let size = bytes.div_ceil(1024).to_string();
        let template = self.template(&format!("{}.control", program.name))?;
        let mut control = template
            .replace("@VERSION@", version)
            .replace("@ARCHITECTURE@", architecture.debian)
            .replace("@SIZE@", &size)
            .replace("@DEPENDS@", &depends);
        if is_static {
            control = control.replace("Depends: \n", "");
        }
        self.write("DEBIAN/control", &control, 0o644)?;
        self.write("DEBIAN/conffiles", &format!("/etc/pyralog/{}.toml\n", program.short), 0o644)?;
        self.write("DEBIAN/md5sums", &sums, 0o644)?;
        for script in ["postinst", "prerm", "postrm"] {
            self.write(&format!("DEBIAN/{script}"), &self.template(script)?, 0o755)?;
        }
        Ok(())
    }

    /// The size of all files, and the sums of those that are not configuration.
    fn sums(&self) -> Result<(u64, String), String> {
        let mut files = Vec::new();
        let mut folders = vec![self.at.clone()];
        while let Some(folder) = folders.pop() {
            for path in listed(&folder)? {
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        let bytes = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum();
        let names = files.iter().filter_map(|file| file.strip_prefix(&self.at).ok());
        let names = names.filter(|name| !name.starts_with("etc"));
        // A path of its own for each, below the tree: that is how they are to be listed.
        let run = Run::new("env", self.root).arg("--chdir").arg(&self.at).arg("md5sum");
        Ok((bytes, names.fold(run, Run::arg).output()?))
    }

    /// A file of `cross/debian`, for this program.
    fn template(&self, name: &str) -> Result<String, String> {
        let path = self.root.join("cross/debian").join(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let Program { name, short, .. } = self.order.program;
        Ok(text.replace("@PACKAGE@", name).replace("@SHORT@", short))
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<PathBuf, String> {
        let place = self.place(to)?;
        let fail = |error: io::Error| format!("cannot copy {} to {}: {error}", from.display(), place.display());
        fs::copy(from, &place).map_err(fail)?;
        fs::set_permissions(&place, Permissions::from_mode(mode)).map_err(fail)?;
        Ok(place)
    }

    fn packed(&self, from: &Path, to: &str) -> Result<(), String> {
        let place = self.copy(from, to, 0o644)?;
        Run::new("gzip", self.root).words("-9n --force").arg(place).output().map(drop)
    }

    fn write(&self, to: &str, text: &str, mode: u32) -> Result<(), String> {
        let place = self.place(to)?;
        let written = fs::write(&place, text).and_then(|()| fs::set_permissions(&place, Permissions::from_mode(mode)));
        written.map_err(|error| format!("cannot write {}: {error}", place.display()))
    }

    fn folder(&self, at: &str, mode: u32) -> Result<(), String> {
        let place = self.place(at)?;
        let made = fs::create_dir(&place).and_then(|()| fs::set_permissions(&place, Permissions::from_mode(mode)));
        made.map_err(|error| format!("cannot make {}: {error}", place.display()))
    }

    /// Where a file goes; the folders above it are made, open to all whatever the umask.
    fn place(&self, to: &str) -> Result<PathBuf, String> {
        let mut folder = self.at.clone();
        let fail = |error: io::Error, at: &Path| format!("cannot make {}: {error}", at.display());
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(|error| fail(error, &folder))?;
        for part in Path::new(to).parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            if !folder.is_dir() {
                let made =
                    fs::create_dir(&folder).and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o755)));
                made.map_err(|error| fail(error, &folder))?;
            }
        }
        Ok(self.at.join(to))
    }
}

/// What is in a folder, sorted.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    entries.sort();
    Ok(entries)
}

/// Gives everything below `path` one time, `path` last.
fn age(path: &Path, time: SystemTime) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            age(&entry?.path(), time)?;
        }
    }
    fs::File::open(path)?.set_modified(time)
}
