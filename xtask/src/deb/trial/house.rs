//! A small Debian in a folder, made of this machine's own packages, where packages can be tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::Run;
use crate::deb::package::Program;

/// What maintainer scripts may count on, and what the programs are linked with.
const PACKAGES: &str = "base-files dash coreutils perl-base init-system-helpers libc6 libgcc-s1 libcrypt1 libselinux1 \
                        libpcre2-8-0 libacl1 libattr1 libgmp10 libssl3 zlib1g";
const LINE: &str = "\n# A line of the administrator's.\n";
const NEWER: &str = "\n# A line of the next version's.\n";

/// The folder; it stays when a trial fails, to be looked at.
pub(super) struct House<'a> {
    root: &'a Path,
    at: PathBuf,
    before: String,
}

impl<'a> House<'a> {
    /// Builds one below `folder`.
    pub(super) fn build(root: &'a Path, folder: &Path) -> Result<Self, String> {
        let at = folder.join("house");
        let mut house = Self { root, at, before: String::new() };
        house.demolish()?;
        house.furnish()?;
        house.before = house.listing()?;
        Ok(house)
    }

    /// Copies the packages that are needed, with what dpkg knows of them.
    fn furnish(&self) -> Result<(), String> {
        let script = r#"
            set -eu
            mkdir -p "$1/usr" "$1/var/lib/dpkg/info" "$1/var/lib/dpkg/updates" "$1/var/lib/dpkg/triggers" "$1/tmp" "$1/dev" \
                "$1/etc/systemd/system" "$1/var/lib/systemd" "$1/var/lib/private"
            touch "$1/dev/null"
            for link in bin sbin lib lib64; do
                if [ -L "/$link" ]; then mkdir -p "$1/usr/$link"; ln -s "usr/$link" "$1/$link"; fi
            done
            house=$1; shift
            known=
            for package in "$@"; do
                if dpkg-query -s "$package" >/dev/null 2>&1; then known="$known $package"; fi
            done
            dpkg-query -L $known | grep -e '^/' | grep -v -e ^/usr/share/doc -e ^/usr/share/man -e ^/usr/share/locale |
                while read -r path; do if [ ! -d "$path" ] && [ -e "$path" ]; then echo ".$path"; fi; done |
                tar --create --directory=/ --files-from=- | tar --extract --directory="$house" --keep-directory-symlink
            for package in $known; do
                dpkg-query -s "$package" >>"$house/var/lib/dpkg/status"
                echo >>"$house/var/lib/dpkg/status"
                for list in /var/lib/dpkg/info/$package.list /var/lib/dpkg/info/$package:*.list; do
                    if [ -e "$list" ]; then cp "$list" "$house/var/lib/dpkg/info/"; fi
                done
            done
        "#;
        let run = Run::new("sh", self.root).arg("-c").arg(script).arg("sh").arg(&self.at).words(PACKAGES);
        run.output().map(drop)
    }

    /// Installs a package, and looks whether all is in its place and the program runs.
    pub(super) fn installs(&self, program: &Program, package: &Path) -> Result<(), String> {
        let Program { name, short, .. } = program;
        self.dpkg("--install", package)?;
        let config = format!("etc/pyralog/{short}.toml");
        for file in [
            format!("usr/bin/{name}"),
            format!("usr/lib/systemd/system/{name}.service"),
            config.clone(),
            format!("usr/share/man/man1/{name}.1.gz"),
            format!("usr/share/man/man1/{name}-serve.1.gz"),
            format!("usr/share/man/man5/{name}.toml.5.gz"),
            format!("usr/share/bash-completion/completions/{name}"),
            format!("usr/share/zsh/vendor-completions/_{name}"),
            format!("usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("usr/share/doc/{name}/copyright"),
            format!("usr/share/doc/{name}/changelog.Debian.gz"),
        ] {
            self.expect(self.at.join(&file).is_file(), &format!("{file} is there after {name} was installed"))?;
        }
        let credentials = fs::metadata(self.at.join(format!("etc/pyralog/{short}.credentials")));
        let mode = credentials.map_or(0, |folder| folder.permissions().mode() & 0o777);
        self.expect(mode == 0o700, &format!("the credentials of {name} are for root alone (mode {mode:o})"))?;
        let enabled = format!("etc/systemd/system/multi-user.target.wants/{name}.service");
        self.expect(self.at.join(&enabled).is_symlink(), &format!("{name} is enabled without a systemd that runs"))?;
        let said = self.inside().arg(format!("/usr/bin/{name}")).arg("--version").output()?;
        self.expect(said.starts_with(name), &format!("the installed {name} runs"))?;
        if *short == "agent" {
            self.inside().words("/usr/bin/pyralog-agent check --config").arg(format!("/{config}")).output()?;
        }
        let wrong = Run::new("dpkg", self.root).arg("--root").arg(&self.at).arg("--verify").arg(name).output()?;
        self.expect(wrong.is_empty(), &format!("{name} is as its sums say; dpkg found {wrong}"))
    }

    /// Upgrades it twice: a configuration that nobody touched becomes the new one, and an edited one stays.
    pub(super) fn upgrades(&self, program: &Program, package: &Path) -> Result<(), String> {
        let Program { name, short, .. } = program;
        let config = self.at.join(format!("etc/pyralog/{short}.toml"));
        let read = || fs::read_to_string(&config).map_err(|error| format!("cannot read {}: {error}", config.display()));
        self.dpkg("--install", &self.newer(program, package, "+1")?)?;
        self.expect(read()?.ends_with(NEWER), &format!("a configuration of {name} that nobody touched is renewed"))?;
        let edited = read()? + LINE;
        fs::write(&config, &edited).map_err(|error| error.to_string())?;
        self.dpkg("--install", &self.newer(program, package, "+2")?)?;
        self.expect(read()? == edited, &format!("an edited configuration of {name} survives an upgrade"))
    }

    /// Removes it, which leaves what is the administrator's, and purges it, which leaves nothing.
    pub(super) fn removes_and_purges(&self, program: &Program) -> Result<(), String> {
        let Program { name, short, .. } = program;
        let token = self.at.join(format!("etc/pyralog/{short}.credentials/token"));
        let state = self.at.join(format!("var/lib/private/{name}"));
        let link = self.at.join(format!("var/lib/{name}"));
        let filled = fs::write(&token, "secret\n")
            .and_then(|()| fs::create_dir_all(state.join("agents")))
            .and_then(|()| std::os::unix::fs::symlink(format!("private/{name}"), &link));
        filled.map_err(|error| error.to_string())?;
        self.dpkg("--remove", name)?;
        self.expect(!self.at.join(format!("usr/bin/{name}")).exists(), &format!("{name} is gone when removed"))?;
        let config = self.at.join(format!("etc/pyralog/{short}.toml"));
        for kept in [&config, &token, &state] {
            self.expect(kept.exists(), &format!("{} outlives the removal of {name}", kept.display()))?;
        }
        self.dpkg("--purge", name)?;
        for gone in [&config, &token, &state] {
            self.expect(!gone.exists(), &format!("{} goes when {name} is purged", gone.display()))?;
        }
        self.expect(!link.is_symlink(), &format!("no link to the state of {name} is left"))
    }

    /// After all was purged, the house holds what it held before.
    pub(super) fn is_as_it_was(&self) -> Result<(), String> {
        let after = self.listing()?;
        let left: Vec<_> = after.lines().filter(|line| !self.before.lines().any(|before| before == *line)).collect();
        self.expect(left.is_empty(), &format!("nothing is left after purging, but for {left:?}"))
    }

    /// The same package with a higher version and another default configuration.
    fn newer(&self, program: &Program, package: &Path, suffix: &str) -> Result<PathBuf, String> {
        let tree = self.at.with_extension("newer");
        let fail = |error: std::io::Error| format!("cannot make a newer {}: {error}", program.name);
        if tree.exists() {
            fs::remove_dir_all(&tree).map_err(fail)?;
        }
        Run::new("dpkg-deb", self.root).arg("--raw-extract").arg(package).arg(&tree).output()?;
        for (file, edit) in [
            (tree.join("DEBIAN/control"), None),
            (
                tree.join(format!("etc/pyralog/{}.toml", program.short)),
                Some(format!("{}{NEWER}", suffix.replace('+', "\n# "))),
            ),
        ] {
            let text = fs::read_to_string(&file).map_err(fail)?;
            let text = match edit {
                Some(more) => text + &more,
                None => {
                    text.lines()
                        .map(|line| {
                            if line.starts_with("Version: ") {
                                format!("{line}{suffix}\n")
                            } else {
                                format!("{line}\n")
                            }
                        })
                        .collect()
                }
            };
            fs::write(&file, text).map_err(fail)?;
        }
        let made = tree.with_extension("deb");
        Run::new("dpkg-deb", self.root).words("--root-owner-group -z1 --build").arg(&tree).arg(&made).output()?;
        Ok(made)
    }

    fn dpkg(&self, action: &str, what: impl AsRef<std::ffi::OsStr>) -> Result<(), String> {
        // As a person decides who is asked about a configuration that both sides changed.
        // Images for containers tell dpkg to leave manuals out; here they are wanted.
        let run =
            Run::new("dpkg", self.root).words("--force-confold --log=/dev/null --path-include=/* --root").arg(&self.at);
        run.arg(action).arg(what).env("DEBIAN_FRONTEND", "noninteractive").output().map(drop)
    }

    fn inside(&self) -> Run {
        Run::new("chroot", self.root).arg(&self.at)
    }

    /// Every path, but for dpkg's own books.
    fn listing(&self) -> Result<String, String> {
        let run = Run::new("find", self.root).arg(&self.at).words("-path */var/lib/dpkg -prune -o -print");
        run.output()
    }

    fn expect(&self, holds: bool, what: &str) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("packages: it does not hold that {what} (in {})", self.at.display())) }
    }

    /// Removes it.
    pub(super) fn demolish(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.at) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", self.at.display()))
            }
            _ => Ok(()),
        }
    }
}
