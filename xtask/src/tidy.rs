//! The style that no lint holds: size of files, left-overs, unsafe code, and which crate may know which.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::Run;

/// Above this a file holds more than one idea.
const MAX_LINES: usize = 600;

/// Who must never depend on whom, tests included.
const FORBIDDEN: &[(&str, &str)] = &[
    ("pyralog-agent", "pyralog-hub"),
    ("pyralog-hub", "pyralog-agent"),
    ("pyralog-service", "pyralog-agent"),
    ("pyralog-service", "pyralog-hub"),
    ("pyralog-service", "pyralog-segment"),
    ("pyralog-service", "pyralog-sync-protocol"),
    ("pyralog-segment", "pyralog-service"),
    ("pyralog-segment", "pyralog-sync-protocol"),
    ("pyralog-segment", "pyralog-agent"),
    ("pyralog-segment", "pyralog-hub"),
    ("pyralog-sync-protocol", "pyralog-service"),
    ("pyralog-sync-protocol", "pyralog-segment"),
    ("pyralog-sync-protocol", "pyralog-agent"),
    ("pyralog-sync-protocol", "pyralog-hub"),
    // DataFusion's Arrow stays behind its border.
    ("pyralog-sql", "pyralog-hub"),
    ("pyralog-sql", "pyralog-lake"),
    ("pyralog-sql", "pyralog-segment"),
    ("pyralog-lake", "pyralog-hub"),
    ("pyralog-lake", "pyralog-sql"),
    ("pyralog-supervision", "pyralog-agent"),
    ("pyralog-supervision", "pyralog-hub"),
];

/// Checks the whole tree and names every fault at once.
pub(crate) fn run(root: &Path) -> Result<String, String> {
    let files = sources(root)?;
    let mut faults = Vec::new();
    let mut lengths = Vec::new();
    for (path, text) in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let lines = text.lines().count();
        lengths.push((lines, name.clone()));
        faults.extend(faults_in(&name, text));
    }
    lengths.sort();
    let metadata = Run::cargo(root).words("metadata --locked --no-deps --format-version 1").output()?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    faults.extend(wrong_arrows(&metadata));
    faults.extend(crates_that_allow_unsafe(root, &metadata)?);
    if !faults.is_empty() {
        return Err(format!("{} faults\n  {}", faults.len(), faults.join("\n  ")));
    }
    let median = lengths.get(lengths.len() / 2).map_or(0, |(lines, _)| *lines);
    let longest = lengths.last().map_or_else(String::new, |(lines, name)| format!(", longest {lines} ({name})"));
    Ok(format!("{} files, median {median} lines{longest}", files.len()))
}

/// Every `.rs` file below `folder` with its text, sorted by path; build output and hidden folders apart.
pub(crate) fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let fail = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if entry.file_type().map_err(fail)?.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                found.push((path, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn faults_in(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{name}: {lines} lines, more than {MAX_LINES}: split it by idea"));
    }
    // Written in two parts, so that this file does not accuse itself.
    let left_overs = [concat!("to", "do!("), concat!("d", "bg!("), concat!("unimpl", "emented!(")];
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        if let Some(word) = left_overs.iter().find(|word| line.contains(**word)) {
            faults.push(format!("{name}:{at}: `{word}..)` was left behind"));
        }
        if line.trim() == concat!("#[", "ignore]") {
            faults.push(format!("{name}:{at}: an ignored test needs its reason: #[ignore = \"...\"]"));
        }
    }
    faults
}

fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let from = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            if FORBIDDEN.contains(&(from, to)) {
                faults.push(format!("{from} depends on {to}: dependencies point one way, see ARCHITECTURE.md"));
            }
        }
    }
    faults
}

/// Unsafe code is forbidden by the workspace's lint table, which every member must have taken over.
fn crates_that_allow_unsafe(root: &Path, metadata: &Value) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let table = manifest(&root.join("Cargo.toml"))?;
    let lint = table.get("workspace").and_then(|t| t.get("lints")?.get("rust")?.get("unsafe_code")?.as_str());
    if lint != Some("forbid") {
        faults.push("Cargo.toml: the lint table does not forbid unsafe_code".to_owned());
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let taken = manifest(Path::new(path))?.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        if taken != Some(true) {
            faults.push(format!("{path}: lacks `[lints] workspace = true`, so unsafe code is not forbidden there"));
        }
    }
    Ok(faults)
}

fn manifest(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_and_left_overs_are_faults() {
        let text =
            format!("{}\n    {}1)\n{}\n", "line\n".repeat(MAX_LINES), concat!("d", "bg!("), concat!("#[", "ignore]"));
        let faults = faults_in("a.rs", &text);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[1].starts_with("a.rs:602"), "{faults:?}");
        assert!(faults_in("b.rs", "fn main() {}\n").is_empty());
    }

    #[test]
    fn agent_and_hub_may_not_know_each_other() {
        let package = |name: &str, on: &str| serde_json::json!({"name": name, "dependencies": [{"name": on}]});
        let wrong = serde_json::json!({"packages": [package("pyralog-agent", "pyralog-hub")]});
        assert_eq!(wrong_arrows(&wrong).len(), 1);
        let right = serde_json::json!({"packages": [package("pyralog-agent", "pyralog-segment"), package("pyralog-e2e", "pyralog-hub")]});
        assert!(wrong_arrows(&right).is_empty());
    }

    #[test]
    fn build_output_and_hidden_folders_are_not_read() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/b.rs", "a/c.txt", "target/d.rs", ".venv/e.rs"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = sources(root.path()).unwrap();
        assert_eq!(found, [(root.path().join("a/b.rs"), "x".to_owned())]);
    }
}
