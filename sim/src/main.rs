//! `pyralog-sim`: runs histories until a promise breaks.

#![allow(clippy::print_stdout, reason = "it talks to its terminal")]

fn main() {
    let mut bad = 0;
    for seed in 0..20 {
        let r = pyralog_sim::run(seed, pyralog_sim::Options::default());
        println!("{seed} {:?} {:?} {} {:x} {:?}", r.profile, r.lasted, r.events, r.hash, r.violation);
        bad += u32::from(r.violation.is_some());
    }
    println!("{bad}");
}
