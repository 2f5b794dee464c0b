//! What a panic ends, seen in a process of its own: this program, started anew.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::{Command, ExitStatus};

const THREAD: &str = "PYRALOG_TEST_PANIC_IN";

fn panics_in(thread: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_program_of_which_one_thread_panics", "--ignored"]).env(THREAD, thread);
    command.output().unwrap().status
}

#[test]
fn a_panic_ends_the_process_unless_its_thread_may() {
    assert!(panics_in("spared").success());
    assert!(!panics_in("worker").success());
}

#[test]
#[ignore = "is the program that the other test starts"]
fn a_program_of_which_one_thread_panics() {
    let Ok(thread) = std::env::var(THREAD) else { return };
    pyralog_service::panics::end_the_process(&["spared"]);
    let thread = std::thread::Builder::new().name(thread).spawn(|| panic!("a bug")).unwrap();
    // Whoever gets here outlived it.
    assert!(thread.join().is_err());
}
