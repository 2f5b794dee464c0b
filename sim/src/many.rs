//! Many histories, one after the other or on several threads, until a promise breaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::history::{Options, Report, run};
use crate::plan::Profile;
use crate::sabotage::Sabotage;
use crate::world::Tally;

/// Violations after which nothing more is tried.
const ENOUGH: usize = 10;

/// Which histories to run.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// The first seed.
    pub first: u64,
    /// How many at most.
    pub histories: u64,
    /// How long at most: none begins after this.
    pub most: Duration,
    /// On how many threads.
    pub jobs: usize,
    /// All of one kind.
    pub profile: Option<Profile>,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

/// What came of them.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many came to their end.
    pub histories: u64,
    /// How much happened in them.
    pub events: u64,
    /// How long they were, by their own clocks.
    pub simulated: Duration,
    /// How long they took.
    pub took: Duration,
    /// What happened how often; what is called "at most" is the greatest.
    pub tally: Tally,
    /// Those in which a promise broke, by seed.
    pub broken: Vec<Report>,
}

impl Summary {
    fn add(&mut self, report: Report) {
        self.histories += 1;
        self.events += report.events;
        self.simulated += report.lasted;
        for (what, count) in &report.tally {
            let sum = self.tally.entry(what).or_default();
            *sum = if what.ends_with("at most") { *count.max(sum) } else { *sum + count };
        }
        if report.violation.is_some() {
            self.broken.push(report);
        }
    }
}

impl Series {
    /// Runs them; `progress` is called every two seconds.
    pub fn run(&self, progress: impl Fn(&Summary) + Sync) -> Summary {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        let began = Instant::now();
        let last = Mutex::new(began);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= self.histories || began.elapsed() >= self.most {
                    return;
                }
                let options = Options { profile: self.profile, sabotage: self.sabotage, sink: None };
                let report = run(self.first.wrapping_add(at), options);
                let mut summary = summary.lock();
                summary.add(report);
                summary.took = began.elapsed();
                if summary.broken.len() >= ENOUGH {
                    stop.store(true, Ordering::Relaxed);
                }
                let mut last = last.lock();
                if last.elapsed() >= Duration::from_secs(2) {
                    *last = Instant::now();
                    progress(&summary);
                }
            }
        };
        std::thread::scope(|scope| (0..self.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
        let mut summary = summary.into_inner();
        summary.broken.sort_by_key(|report| report.seed);
        summary
    }
}
