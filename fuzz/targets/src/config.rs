//! Configuration files of agent and hub.

use std::path::PathBuf;
use std::sync::LazyLock;

use pyralog_agent::config as agent;
use pyralog_hub::config as hub;
use tempfile::TempDir;

use crate::bytes_in::Input;

/// A folder of this process for the file that is read.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The first byte chooses the program; the rest is the file.
pub fn config(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let file = FOLDER.path().join("config.toml");
    std::fs::write(&file, input.0).unwrap();
    match choice % 2 {
        0 => agent_file(file),
        _ => hub_file(file),
    }
}

fn agent_file(file: PathBuf) {
    let sources = agent::Sources { file: Some(file.clone()), ..agent::Sources::default() };
    match agent::load(&sources) {
        Err(error) => {
            let named = |problem: &agent::Problem| problem.place.is_some() || !problem.key.is_empty();
            assert!(
                !error.problems.is_empty() && error.problems.iter().all(named),
                "an error that names no place: {error}"
            );
        }
        Ok(loaded) => {
            // What `check` prints is a configuration itself, but for secrets, and means the same.
            if loaded.resolved.contains("***") {
                return;
            }
            std::fs::write(&file, &loaded.resolved).unwrap();
            let again = agent::load(&sources).unwrap_or_else(|error| panic!("{error}\n{}", loaded.resolved));
            assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config), "{}", loaded.resolved);
        }
    }
}

fn hub_file(file: PathBuf) {
    if let Err(error) = hub::Config::resolve(Some(&file), Vec::new(), &[]) {
        let text = error.to_string();
        let combination = matches!(error, hub::ConfigError::Combination(_));
        assert!(combination || text.contains("config.toml"), "an error that names no place: {text}");
    }
}
