//! What the bytes of a binary are, by crate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// A table of the crates that the symbols of `binary` come from, the largest first, and of the sections that hold the rest.
///
/// Sizes are those that symbols have; link-time optimisation moves code of one crate into functions of another, where it is
/// counted as the other's.
pub(super) fn table(binary: &Path, lines: usize) -> Result<String, String> {
    let bytes = std::fs::read(binary).map_err(|error| format!("cannot read {}: {error}", binary.display()))?;
    let file = object::File::parse(bytes.as_slice()).map_err(|error| format!("{}: {error}", binary.display()))?;
    let mut crates = BTreeMap::<String, u64>::new();
    let mut at_last = None;
    let mut symbols: Vec<_> = file.symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition()).collect();
    symbols.sort_by_key(|symbol| symbol.address());
    for symbol in symbols {
        let loaded = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        let is_in_file = loaded.is_some_and(|section| is_loaded(section.kind()));
        // Two names for one address are one thing.
        if is_in_file && at_last != Some(symbol.address()) {
            at_last = Some(symbol.address());
            *crates.entry(owner(symbol.name().unwrap_or_default())).or_default() += symbol.size();
        }
    }
    let sections: u64 = file.sections().filter(|section| is_loaded(section.kind())).map(|section| section.size()).sum();
    let named: u64 = crates.values().sum();
    crates.insert("(constants, unwind tables and others without a name)".into(), sections.saturating_sub(named));
    Ok(render(crates, sections, lines))
}

fn is_loaded(kind: SectionKind) -> bool {
    matches!(
        kind,
        SectionKind::Text
            | SectionKind::Data
            | SectionKind::ReadOnlyData
            | SectionKind::ReadOnlyString
            | SectionKind::Tls
    )
}

fn render(crates: BTreeMap<String, u64>, all: u64, lines: usize) -> String {
    let mut sorted: Vec<_> = crates.into_iter().collect();
    sorted.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), name.clone()));
    let rest: u64 = sorted.iter().skip(lines).map(|(_, bytes)| bytes).sum();
    let others = sorted.len().saturating_sub(lines);
    sorted.truncate(lines);
    if rest > 0 {
        sorted.push((format!("({others} others)"), rest));
    }
    let mut text = String::from("     bytes  share  crate\n");
    for (name, bytes) in sorted {
        let share = bytes as f64 * 100.0 / all.max(1) as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{bytes:>10} {share:>5.1}%  {name}");
    }
    text
}

/// The crate that a symbol belongs to: the first path segment of its demangled name; C has no crates.
fn owner(symbol: &str) -> String {
    let Ok(name) = rustc_demangle::try_demangle(symbol) else { return library(symbol).to_owned() };
    let name = format!("{name:#}");
    let path = name.trim_start_matches(['<', '&', '*', '(', '[']).trim_start_matches("mut ").trim_start_matches("dyn ");
    let end = path.find("::").unwrap_or(path.len());
    let first = &path[..end];
    let is_name = !first.is_empty() && first.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    if is_name { first.to_owned() } else { "core".to_owned() }
}

/// The C library that a symbol looks like one of.
fn library(symbol: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 8] = [
        ("ZSTD_", "zstd (C)"),
        ("HUF_", "zstd (C)"),
        ("FSE_", "zstd (C)"),
        ("ring_core", "ring (C and assembly)"),
        ("_rjem_", "jemalloc (C)"),
        ("je_", "jemalloc (C)"),
        ("blake3_", "blake3 (C)"),
        ("__", "compiler's and C library's"),
    ];
    PREFIXES.iter().find(|(prefix, _)| symbol.starts_with(prefix)).map_or("other C", |(_, library)| library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_its_crates() {
        for (symbol, expected) in [
            ("_ZN5tokio7runtime4task3raw7RawTask3new17h0123456789abcdefE", "tokio"),
            ("_ZN58_$LT$alloc..string..String$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", "alloc"),
            ("ZSTD_compressBlock_fast", "zstd (C)"),
            ("main", "other C"),
        ] {
            assert_eq!(owner(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn the_table_adds_up_and_begins_with_the_largest() {
        let crates =
            BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 70), ("c".to_owned(), 15), ("d".to_owned(), 5)]);
        let text = render(crates, 100, 2);
        let lines: Vec<_> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(lines, ["70  70.0%  b", "15  15.0%  c", "15  15.0%  (2 others)"]);
    }
}
