//! The agent's configuration: flags over environment over file over defaults, every value typed, every mistake named
//! with its place and a remedy.

mod agent_id;
mod changes;
mod problem;
mod reader;
mod secret;
mod sections;
mod tree;
mod types;
mod units;
mod validate;

use std::path::PathBuf;

pub use changes::changed_keys;
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use types::{Config, Host, Http, Log, LogStyle, Mqtt, MqttUser, Sidecar, Sync};
pub use units::{format_duration, format_size, parse_duration, parse_size};

use reader::Reader;
use tree::{Origin, Raw, Table};

/// Where a configuration comes from, weakest first: defaults, `file`, `env`, `sets`.
#[derive(Default, Clone)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// Environment variables; those that begin with `PYRALOG_` are read.
    pub env: Vec<(String, String)>,
    /// Flags: the flag as typed, the key path, the value.
    pub flags: Vec<FlagValue>,
}

/// A value given on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// What messages call it, such as `--max-memory`.
    pub flag: String,
    /// The key it sets, such as `storage.max_memory`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// Shows what is given and not what it is: any of it may be a secret.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlagValue").field("flag", &self.flag).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A configuration that can be run, with what `check` shows about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// The whole configuration as TOML with the origin of each value; secrets are shown as `***`.
    pub resolved: String,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// Environment variables with our prefix that are not configuration of the agent.
const FOREIGN_ENV: [&str; 4] = ["PYRALOG_URL", "PYRALOG_TOKEN", "PYRALOG_DATA", "PYRALOG_LOG"];
const ENV_PREFIX: &str = "PYRALOG_";

/// Loads, merges and validates a configuration.
///
/// # Errors
/// All problems found, each with its place and what to do about it.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut root = match &sources.file {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| Problem {
                place: Some(name.clone()),
                key: String::new(),
                message: format!("cannot read the configuration file: {error}"),
            })?;
            tree::parse_file(&name, &text)?
        }
        None => Table::new(),
    };
    let (known, _) = described();
    let mut warnings = Vec::new();
    for (name, value) in env_keys(&sources.env) {
        let key = name.to_ascii_lowercase().replace("__", ".");
        let variable = format!("{ENV_PREFIX}{name}");
        if !known.contains(&key) {
            warnings.push(unknown_variable(&variable, &key, &known));
            continue;
        }
        let path: Vec<&str> = key.split('.').collect();
        tree::overlay(&mut root, &path, Raw::Loose(value.to_owned()), Origin::Env(variable))?;
    }
    for FlagValue { flag, key, value } in &sources.flags {
        let path: Vec<&str> = key.split('.').collect();
        tree::overlay(&mut root, &path, Raw::Loose(value.clone()), Origin::Flag(flag.clone()))?;
    }
    let mut reader = Reader::default();
    let mut config = reader.read(root, sections::config);
    warnings.extend(validate::settle(&mut config, &mut reader));
    if reader.problems.is_empty() {
        Ok(Loaded { config, resolved: reader.resolved, warnings })
    } else {
        Err(ConfigError { problems: reader.problems })
    }
}

/// Full paths of all keys and sections that exist.
pub fn known_keys() -> Vec<String> {
    described().0
}

fn described() -> (Vec<String>, Config) {
    let mut reader = Reader::default();
    let config = reader.read(Table::new(), sections::config);
    (reader.known, config)
}

/// The most similar of `names`, if one is similar enough to be meant.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let (distance, best) = names.into_iter().map(|other| (distance(other), other)).min()?;
    let last = name.rsplit('.').next().unwrap_or(name);
    (distance <= (last.chars().count() / 3).max(2)).then_some(best)
}

fn env_keys(env: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    let ours = env.iter().filter(|(name, _)| !FOREIGN_ENV.contains(&name.as_str()));
    ours.filter_map(|(name, value)| Some((name.strip_prefix(ENV_PREFIX)?, value.as_str())))
}

/// The environment is shared with other programs, so a stranger there is a warning where it would be an error in a file.
fn unknown_variable(variable: &str, key: &str, known: &[String]) -> String {
    match reader::nearest_key(key, known) {
        Some(near) => {
            let meant = near.to_ascii_uppercase().replace('.', "__");
            format!("environment variable {variable} names no key and is ignored; did you mean {ENV_PREFIX}{meant}?")
        }
        None => format!("environment variable {variable} names no key and is ignored"),
    }
}

#[cfg(test)]
mod tests;
