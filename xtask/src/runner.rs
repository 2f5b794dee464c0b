//! Runs steps one after the other, times them, and closes with a table.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One step of `cargo xtask test`.
pub(crate) struct Step {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    /// What it checks, in a few words.
    pub(crate) what: &'static str,
    /// Returns a note for the table, or what went wrong.
    pub(crate) run: fn(&Path) -> Result<String, String>,
}

/// The steps called `names`, in the order of `all`; all of them if none is named.
pub(crate) fn select<'a>(all: &'a [Step], names: &[String]) -> Result<Vec<&'a Step>, String> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|step| step.name != **name)) {
        let known: Vec<_> = all.iter().map(|step| step.name).collect();
        return Err(format!("no step is called `{unknown}`; there are: {}", known.join(", ")));
    }
    Ok(all.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name)).collect())
}

/// Runs the steps until one fails; the exit code says whether one did.
pub(crate) fn run(steps: &[&Step], root: &Path) -> ExitCode {
    let begun = Instant::now();
    let mut rows = Vec::new();
    let mut failure = None;
    for (index, step) in steps.iter().enumerate() {
        println!("\n==> [{}/{}] {}: {}", index + 1, steps.len(), step.name, step.what);
        let started = Instant::now();
        let outcome = (step.run)(root);
        let took = started.elapsed();
        match outcome {
            Ok(note) => {
                println!("<== {} passed in {}", step.name, seconds(took));
                rows.push((step.name, "pass", took, note));
            }
            Err(message) => {
                println!("<== {} FAILED after {}", step.name, seconds(took));
                rows.push((step.name, "FAIL", took, String::new()));
                failure = Some((step.name, message));
                break;
            }
        }
    }
    for step in &steps[rows.len()..] {
        rows.push((step.name, "-", Duration::ZERO, "not run".to_owned()));
    }
    println!("\n{:<8} {:<6} {:>8}  note", "step", "", "took");
    for (name, outcome, took, note) in &rows {
        println!("{name:<8} {outcome:<6} {:>8}  {note}", seconds(*took));
    }
    println!("{:<8} {:<6} {:>8}", "total", if failure.is_none() { "pass" } else { "FAIL" }, seconds(begun.elapsed()));
    let Some((name, message)) = failure else {
        return ExitCode::SUCCESS;
    };
    println!("\n`{name}` failed: {message}\nOnce mended, run again: cargo xtask test {name}");
    ExitCode::FAILURE
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[
        Step { name: "one", what: "", run: |_| Ok(String::new()) },
        Step { name: "two", what: "", run: |_| Err("broken".to_owned()) },
        Step { name: "three", what: "", run: |_| Ok(String::new()) },
    ];

    fn names(chosen: &[&Step]) -> Vec<&'static str> {
        chosen.iter().map(|step| step.name).collect()
    }

    #[test]
    fn named_steps_run_in_the_order_of_the_table() {
        let chosen = select(STEPS, &["three".into(), "one".into()]).unwrap();
        assert_eq!(names(&chosen), ["one", "three"]);
        assert_eq!(names(&select(STEPS, &[]).unwrap()), ["one", "two", "three"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_names_there_are() {
        let message = select(STEPS, &["four".into()]).err().unwrap();
        assert!(message.contains("`four`") && message.contains("one, two, three"), "{message}");
    }

    #[test]
    fn a_failing_step_fails_the_run() {
        let all = select(STEPS, &[]).unwrap();
        assert_eq!(run(&all, Path::new(".")), ExitCode::FAILURE);
        assert_eq!(run(&all[..1], Path::new(".")), ExitCode::SUCCESS);
    }
}
