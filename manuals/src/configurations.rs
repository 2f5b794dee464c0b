//! A page for each configuration file, made from the documented example: what is a comment there explains the keys below it.

use std::io;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::page::{MANUAL, see_also, source, text};

/// The page of `program`'s configuration.
pub(crate) fn page(program: &str, example: &str, date: &str) -> io::Result<Vec<u8>> {
    let (head, body) = example.split_once("\n\n").unwrap_or((example, ""));
    let mut roff = Roff::new();
    let title = format!("{program}.toml").to_uppercase();
    roff.control("TH", [title.as_str(), "5", date, source().as_str(), MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{program}.toml - configuration of {program}"))]);
    roff.control("SH", ["DESCRIPTION"]);
    let head = head.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim()));
    // Columns stay columns.
    let head: Vec<String> = head.map(|line| format!("{}{line}", if line.contains("  ") { " " } else { "" })).collect();
    text(&mut roff, &head.iter().map(String::as_str).collect::<Vec<_>>());
    roff.control("SH", ["KEYS"]);
    let mut keys = Keys { roff, explained: Vec::new(), keys: Vec::new() };
    for line in body.lines() {
        keys.line(line);
    }
    let mut roff = keys.end();
    roff.control("SH", ["FILES"]);
    roff.text([roman(format!(
        "/etc/pyralog/{}.toml, where there is a service",
        program.trim_start_matches("pyralog-")
    ))]);
    see_also(&mut roff, &[(program.to_owned(), 1), (format!("{program}-serve"), 1)]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The part of the page that has been made, and the comment and keys that belong together and are not in it yet.
struct Keys<'a> {
    roff: Roff,
    explained: Vec<&'a str>,
    keys: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn line(&mut self, line: &'a str) {
        let key = line.strip_prefix("#= ").unwrap_or(line);
        if key.starts_with('[') {
            self.finish();
            self.roff.control("SS", [key]);
            // What stood above a section is about all of it.
            let about = std::mem::take(&mut self.explained);
            text(&mut self.roff, &about);
        } else if let Some(words) = key.strip_prefix('#') {
            if !self.keys.is_empty() {
                self.finish();
            }
            self.explained.push(words.trim());
        } else if key.is_empty() {
            if !self.keys.is_empty() {
                self.finish();
            }
        } else {
            self.keys.push(key);
        }
    }

    /// Puts the keys with their explanation into the page; comments without a key wait for what comes below them.
    fn finish(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        for (index, key) in self.keys.drain(..).enumerate() {
            self.roff.control(if index == 0 { "TP" } else { "TQ" }, []);
            let (name, value) = key.split_once(" = ").unwrap_or((key, ""));
            self.roff.text([bold(name), roman(" = "), roman(value)]);
        }
        if self.explained.is_empty() {
            self.roff.text([Inline::LineBreak]);
        }
        for line in self.explained.drain(..) {
            self.roff.text([roman(line)]);
        }
    }

    fn end(mut self) -> Roff {
        self.finish();
        self.roff
    }
}
