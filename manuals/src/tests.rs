#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;

use clap::Command;

use super::*;

/// Every file that is made, by name.
fn made(folder: &Path) -> BTreeMap<String, String> {
    write(folder, "2026-01-02").unwrap();
    let files = ["man", "completions"].map(|part| fs::read_dir(folder.join(part)).unwrap());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let files = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// A program's commands by their full names, itself first.
fn commands(program: &Program) -> Vec<(String, Command)> {
    let mut top = program.command.clone().disable_help_subcommand(true);
    top.build();
    let mut found = vec![(top.get_name().to_owned(), top)];
    let mut next = 0;
    while let Some((name, command)) = found.get(next) {
        let below: Vec<_> =
            command.get_subcommands().map(|sub| (format!("{name}-{}", sub.get_name()), sub.clone())).collect();
        found.extend(below);
        next += 1;
    }
    found
}

#[test]
fn every_subcommand_has_a_page_and_every_flag_is_on_it_and_in_the_completions() {
    let folder = tempfile::tempdir().unwrap();
    let files = made(folder.path());
    for program in programs() {
        let name = program.command.get_name().to_owned();
        let completions = [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")];
        let commands = commands(&program);
        assert!(commands.len() > 4, "{name} has subcommands");
        for (page, command) in commands {
            let text = &files[&format!("{page}.1")];
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                let escaped = format!("\\-\\-{}", flag.replace('-', "\\-"));
                assert!(text.contains(&escaped), "{page}.1 lacks --{flag}");
                for file in &completions {
                    // Fish names a flag by `-l`.
                    assert!(files[file].contains(flag), "{file} lacks --{flag}");
                }
            }
            for value in command.get_positionals().flat_map(|value| value.get_value_names().unwrap()) {
                assert!(text.contains(value.as_str()), "{page}.1 lacks {value}");
            }
            for below in command.get_subcommands() {
                let word = below.get_name();
                let listed = format!("{page}-{word}").replace('-', "\\-");
                assert!(text.contains(&listed), "{page}.1 does not list {word}");
                assert!(completions.iter().all(|file| files[file].contains(word)), "{word} is not completed");
            }
        }
    }
}

#[test]
fn every_key_of_the_configurations_is_on_their_pages() {
    let folder = tempfile::tempdir().unwrap();
    let files = made(folder.path());
    let agent = pyralog_agent::config::known_keys();
    let hub: Vec<_> = pyralog_hub::config::keys::KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert!(agent.len() > 50 && hub.len() > 15);
    for (program, keys) in [("pyralog-agent", agent), ("pyralog-hub", hub)] {
        let page = &files[&format!("{program}.toml.5")];
        for key in keys {
            let (above, last) = key.rsplit_once('.').unwrap_or(("", &key));
            let is_section = [format!("SS [{key}]"), format!("SS [[{key}]]")].iter().any(|head| page.contains(head));
            assert!(is_section || page.contains(&format!("\\fB{last}\\fR = ")), "{program}.toml.5 lacks {key}");
            assert!(above.is_empty() || page.contains(&format!("[{above}]")), "{program}.toml.5 lacks [{above}]");
        }
    }
}

#[test]
fn pages_are_formatted_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let files = made(folder.path());
    let groff =
        |page: &Path| Process::new("groff").args(["-man", "-Tutf8", "-ww", "-z", "-K", "utf8"]).arg(page).output();
    let pages: Vec<_> = files.keys().filter(|name| name.ends_with(".1") || name.ends_with(".5")).collect();
    assert!(pages.len() >= 16);
    for page in pages {
        let Ok(out) = groff(&folder.path().join("man").join(page)) else {
            println!("skipped: groff is not here");
            return;
        };
        assert!(out.status.success() && out.stderr.is_empty(), "{page}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn what_is_made_is_the_same_each_time() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    assert_eq!(made(first.path()), made(second.path()));
}
