//! A page for each program, and one for each of its subcommands.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

use crate::page::{MANUAL, see_also, source, text};

/// File names and pages of `command` and all that is below it.
pub(crate) fn pages(command: &Command, date: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    // Built once from the top, so that each subcommand knows its full name; `help` is in every shell anyway.
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let program = command.get_name().to_owned();
    let mut pages = Vec::new();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        let man = man(&command, date);
        pages.push((man.get_filename(), render(&man, &command, &program)?));
    }
    pages.sort();
    Ok(pages)
}

fn man(command: &Command, date: &str) -> Man {
    let man = Man::new(command.clone()).source(source()).manual(MANUAL).date(date);
    let title = command.get_display_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    man.title(title)
}

fn render(man: &Man, command: &Command, program: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        let after = after.to_string();
        let mut lines: Vec<&str> = after.lines().collect();
        let examples = lines.iter().any(|line| line.starts_with(' '));
        roff.control("SH", [if examples { "EXAMPLES" } else { "NOTES" }]);
        lines.retain(|line| !matches!(line.trim_end_matches(':'), "Example" | "Examples"));
        text(&mut roff, &lines);
    }
    let mut others = Vec::new();
    if command.get_name() != program {
        others.push((program.to_owned(), 1));
    }
    others.push((format!("{program}.toml"), 5));
    see_also(&mut roff, &others);
    roff.to_writer(&mut page)?;
    Ok(page)
}
