//! The figures for people and programs: a row on the terminal, points as CSV, all outcomes as JSON, a page with the table.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::cases::{self, Case};
use super::plot;
use super::run::Outcome;
use crate::Result;

const MIB: f64 = 1_048_576.0;
/// Points of a curve in its file: enough for the eye.
const MAX_POINTS: usize = 200;
/// Different answers that a row of the table tells of.
const MAX_ANSWERS: usize = 5;

/// The head of the rows that [`row`] makes.
pub fn heading() -> String {
    format!(
        "{:<16} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>8}  {}",
        "case", "cap", "peak", "limit", "margin", "served", "failed", "slowest", "others were answered"
    )
}

/// One outcome in a line.
pub fn row(outcome: &Outcome) -> String {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    let margin = format!("{:.1}", margin(outcome));
    let neighbour = &outcome.neighbour;
    let mut line = format!(
        "{:<16} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>8}  {}",
        outcome.case,
        mib(outcome.cap),
        mib(outcome.peak),
        mib(outcome.limit),
        margin,
        neighbour.served,
        neighbour.failed,
        format!("{:.2} s", neighbour.slowest.as_secs_f64()),
        answers(outcome)
    );
    if !outcome.is_within() {
        line += "\n    OVER ITS LIMIT";
    }
    for (reason, count) in &neighbour.reasons {
        let _ = write!(line, "\n    NOT SERVED {count} times: {reason}");
    }
    line
}

/// Writes the page, the curves' points and pictures, and the outcomes into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, outcomes: &[Outcome], command: &str, machine: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for case in cases::CASES {
        let of_case: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.case == case.name).collect();
        if of_case.is_empty() {
            continue;
        }
        std::fs::write(folder.join(format!("{}.csv", case.name)), points(&of_case))?;
        plot::draw(&folder.join(format!("{}.svg", case.name)), case.about, &of_case)?;
    }
    let all: Vec<Value> = outcomes.iter().map(as_json).collect();
    let all = json!({"command": command, "machine": machine, "outcomes": all});
    std::fs::write(folder.join("outcomes.json"), serde_json::to_string_pretty(&all)? + "\n")?;
    std::fs::write(folder.join("README.md"), page(outcomes, command, machine))?;
    Ok(())
}

fn margin(outcome: &Outcome) -> f64 {
    (outcome.limit as f64 - outcome.peak as f64) / MIB
}

fn answers(outcome: &Outcome) -> String {
    let mut counts: Vec<(&String, &u64)> = outcome.answers.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown: Vec<String> =
        counts.iter().take(MAX_ANSWERS).map(|(answer, count)| format!("{answer}: {count}")).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn points(outcomes: &[&Outcome]) -> String {
    let mut out = "cap_bytes,seconds,resident_bytes\n".to_owned();
    for outcome in outcomes {
        let step = outcome.samples.len().div_ceil(MAX_POINTS).max(1);
        // The highest of each stretch: a peak is what is looked for.
        for stretch in outcome.samples.chunks(step) {
            if let Some(highest) = stretch.iter().max_by_key(|sample| sample.resident) {
                let _ = writeln!(out, "{},{:.2},{}", outcome.cap, highest.seconds, highest.resident);
            }
        }
    }
    out
}

fn as_json(outcome: &Outcome) -> Value {
    let neighbour = &outcome.neighbour;
    json!({
        "case": outcome.case,
        "cap": outcome.cap,
        "peak": outcome.peak,
        "limit": outcome.limit,
        "accepted": outcome.accepted,
        "neighbour": {
            "served": neighbour.served,
            "failed": neighbour.failed,
            "slowest_s": neighbour.slowest.as_secs_f64(),
            "reasons": neighbour.reasons,
        },
        "answers": outcome.answers,
    })
}

fn page(outcomes: &[Outcome], command: &str, machine: &str) -> String {
    let mut out = format!(
        "# Resident memory under a cap\n\n\
         Written by `{command}` on {machine}; do not edit.\n\n\
         Each case starts the release agent under a cap and lets clients loose on it. *Peak* is `VmHWM` at the end, the limit is \
         the cap plus 16 MiB. Beside them a neighbour who behaves publishes ten messages a second at QoS 1, posts five small \
         bodies a second, asks for the newest records and connects anew every second, by MQTT and by HTTP. *Failed* counts \
         whatever it was refused, or had to wait ten seconds for. All in MiB.\n\n\
         The curves: time to the right, resident memory upwards, a colour for each cap, its limit dashed.\n\n"
    );
    let over = outcomes.iter().filter(|outcome| !outcome.is_within()).count();
    let unfair = outcomes.iter().filter(|outcome| !outcome.is_fair()).count();
    let _ = writeln!(
        out,
        "**{} runs: {over} over their limit, {unfair} in which the neighbour was refused something.**\n",
        outcomes.len()
    );
    out +=
        "| case | cap | peak | limit | margin | served | failed | slowest answer | what the others were answered |\n";
    out += "|---|---:|---:|---:|---:|---:|---:|---:|---|\n";
    for outcome in outcomes {
        let neighbour = &outcome.neighbour;
        let peak = format!("{:.1}", outcome.peak as f64 / MIB);
        let peak = if outcome.is_within() { peak } else { format!("**{peak}**") };
        let _ = writeln!(
            out,
            "| {} | {} | {peak} | {} | {:.1} | {} | {} | {:.2} s | {} |",
            outcome.case,
            outcome.cap >> 20,
            outcome.limit >> 20,
            margin(outcome),
            neighbour.served,
            neighbour.failed,
            neighbour.slowest.as_secs_f64(),
            answers(outcome).replace('|', "/")
        );
    }
    let reasons: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.neighbour.reasons.is_empty()).collect();
    if !reasons.is_empty() {
        out += "\n## What the neighbour was refused\n\n";
        for outcome in reasons {
            for (reason, count) in &outcome.neighbour.reasons {
                let _ = writeln!(out, "* {} at {} MiB, {count} times: {reason}", outcome.case, outcome.cap >> 20);
            }
        }
    }
    out += "\n## Cases\n";
    for case in cases::CASES.iter().filter(|case| outcomes.iter().any(|outcome| outcome.case == case.name)) {
        let Case { name, about, .. } = case;
        let _ = write!(out, "\n### {name}\n\n{about} ([points]({name}.csv))\n\n![{name}]({name}.svg)\n");
    }
    out
}
