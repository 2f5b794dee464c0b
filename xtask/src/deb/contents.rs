//! What a package says of itself: its version and its time, both by the changelog.

use std::path::Path;

use crate::command::Run;

const CHANGELOG: &str = "cross/debian/changelog";

/// The version of the newest entry.
pub(crate) fn version(root: &Path) -> Result<String, String> {
    let text = read(root)?;
    let version = text.lines().next().and_then(|line| line.split(['(', ')']).nth(1));
    version.map(str::to_owned).ok_or_else(|| format!("{CHANGELOG}: its first line names no (VERSION)"))
}

/// The time that all files of a package bear, as Unix seconds: `SOURCE_DATE_EPOCH`, else that of the newest entry.
pub(crate) fn epoch(root: &Path) -> Result<u64, String> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(given) => given,
        Err(_) => date(root, &written(root)?, "+%s")?,
    };
    text.trim().parse().map_err(|_| format!("{text:?} are no Unix seconds"))
}

/// The same, as a day.
pub(crate) fn day(root: &Path) -> Result<String, String> {
    date(root, &format!("@{}", epoch(root)?), "+%Y-%m-%d")
}

fn written(root: &Path) -> Result<String, String> {
    let text = read(root)?;
    let line = text.lines().find(|line| line.starts_with(" -- "));
    let date = line.and_then(|line| line.split_once(">  ")).map(|(_, date)| date.to_owned());
    date.ok_or_else(|| format!("{CHANGELOG}: its newest entry does not end with ` -- NAME <ADDRESS>  DATE`"))
}

fn date(root: &Path, what: &str, format: &str) -> Result<String, String> {
    let said = Run::new("date", root).words("--utc --date").arg(what).arg(format).env("LC_ALL", "C").output()?;
    Ok(said.trim().to_owned())
}

fn read(root: &Path) -> Result<String, String> {
    std::fs::read_to_string(root.join(CHANGELOG)).map_err(|error| format!("cannot read {CHANGELOG}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_time_are_those_of_the_newest_entry() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("cross/debian")).unwrap();
        let text = "pyralog-edge (0.2.0-3) unstable; urgency=medium\n\n  * It.\n\n -- Us <a@b.c>  Thu, 01 Jan 1970 00:01:40 +0000\n\n\
                    pyralog-edge (0.1.0-1) unstable; urgency=medium\n";
        std::fs::write(root.path().join(CHANGELOG), text).unwrap();
        assert_eq!(version(root.path()).unwrap(), "0.2.0-3");
        let written = written(root.path()).unwrap();
        assert_eq!(date(root.path(), &written, "+%s").unwrap(), "100");
        assert_eq!(date(root.path(), "@100", "+%Y-%m-%d").unwrap(), "1970-01-01");
    }
}
