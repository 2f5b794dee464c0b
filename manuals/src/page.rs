//! What all pages have in common.

use clap_mangen::roff::{Roff, bold, roman};

/// Stands at the foot of every page.
pub(crate) const MANUAL: &str = "Pyralog Edge";

/// Who made a page's program, and in which version.
pub(crate) fn source() -> String {
    format!("pyralog {}", env!("CARGO_PKG_VERSION"))
}

/// Text as it stands in the source: indented lines as they are, others filled. A line that is empty ends a paragraph.
pub(crate) fn text(roff: &mut Roff, lines: &[&str]) {
    let mut verbatim = false;
    let mut begins = true;
    for line in lines {
        let is_verbatim = line.starts_with(' ');
        if is_verbatim != verbatim {
            if is_verbatim {
                roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            } else {
                roff.control("fi", []).control("RE", []);
                begins = true;
            }
            verbatim = is_verbatim;
        }
        if line.trim().is_empty() {
            begins = true;
            continue;
        }
        if begins && !verbatim {
            roff.control("PP", []);
        }
        begins = false;
        roff.text([roman(line.trim())]);
    }
    if verbatim {
        roff.control("fi", []).control("RE", []);
    }
}

/// The section that names other pages.
pub(crate) fn see_also(roff: &mut Roff, pages: &[(String, u8)]) {
    roff.control("SH", ["SEE ALSO"]);
    for (index, (name, section)) in pages.iter().enumerate() {
        let comma = if index + 1 < pages.len() { "," } else { "" };
        roff.text([bold(name), roman(format!("({section}){comma}"))]);
    }
}
