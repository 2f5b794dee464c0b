//! Hubs: they take requests and drive the receivers step by step, and anything may happen between two steps.

use crate::actions::How;
use crate::bounds::Bounds;
use crate::breaks;
use crate::shared::Shared;
use crate::world::{Content, Job, Letter, Model, Receiver, Stored, World};
use pyralog_sync_protocol::frame::{Refusal, RefusalKind, Reply};
use pyralog_sync_protocol::receiver::{BatchReceiver, HelloReceiver, Terms};
use pyralog_sync_protocol::{Answer, Step};
use std::time::Duration;

impl Receiver {
    /// What the receiver asks for.
    pub fn asks(&self) -> &Step {
        match self {
            Self::Hello(receiver) => receiver.poll(),
            Self::Batch(receiver) => receiver.poll(),
        }
    }

    fn handle(&mut self, answer: Answer) {
        match self {
            Self::Hello(receiver) => receiver.handle(answer),
            Self::Batch(receiver) => receiver.handle(answer),
        }
    }
}

impl World {
    /// A hub takes a request.
    pub fn accept(&mut self, letter: &Letter, bounds: &Bounds) {
        let terms = Terms { pause: bounds.pause, retry_after: Duration::ZERO, ..Terms::default() };
        let (request, receiver) = match &letter.content {
            Content::Hello(bytes) => (bytes, Receiver::Hello(HelloReceiver::new(bytes, terms, 0))),
            Content::Batch(bytes) => (bytes, Receiver::Batch(BatchReceiver::new(bytes.clone(), terms, 0))),
            Content::Reply(_) => return,
        };
        let request = request.clone();
        self.jobs.push(Shared::new(Job { agent: letter.agent, current: letter.current, request, receiver }));
        self.answer_if_done(self.jobs.len() - 1);
    }

    /// A hub takes a step; `None` when it cannot end in this way.
    pub fn step(&mut self, job: usize, how: How, model: &Model) -> Option<()> {
        let asked = self.jobs[job].receiver.asks().clone();
        match how {
            How::FailsBefore | How::FailsAfter => {
                self.left.store_failures -= 1;
                if how == How::FailsAfter {
                    // A read that happened is as one that did not.
                    self.store.store.read(&asked).is_none().then_some(())?;
                    take(&mut self.store, &self.jobs[job], &asked, model);
                }
                let kind = RefusalKind::Busy { retry_after: Duration::ZERO };
                self.reply(job, &Reply::Refusal(Refusal::new(kind, "away", Vec::new())));
                return Some(());
            }
            How::Well | How::Echoes => {}
        }
        let mut answer = take(&mut self.store, &self.jobs[job], &asked, model);
        if how == How::Echoes {
            self.left.echoes -= 1;
            (answer == Answer::Created(true)).then_some(())?;
            answer = Answer::Created(false);
        }
        self.jobs[job].change(|job| job.receiver.handle(answer));
        self.answer_if_done(job);
        Some(())
    }

    fn answer_if_done(&mut self, job: usize) {
        if let Step::Reply(reply) = self.jobs[job].receiver.asks().clone() {
            self.reply(job, &reply);
        }
    }

    /// The request is done. An answer that nobody waits for is no part of the world.
    fn reply(&mut self, job: usize, reply: &Reply) {
        let job = self.jobs.remove(job);
        if job.current {
            let content = Content::Reply(reply.encode().into());
            self.letters.push(Shared::new(Letter { agent: job.agent, current: true, content }));
        }
    }
}

/// One operation of the store, as the model's hubs do it: rightly, or broken in one way.
fn take(stored: &mut Shared<Stored>, job: &Job, step: &Step, model: &Model) -> Answer {
    let wrong = model.broken.and_then(|broken| breaks::read(broken, stored, job, step));
    // A read leaves the store as it is: no need to copy and hash it.
    if let Some(answer) = wrong.or_else(|| stored.store.read(step)) {
        return answer;
    }
    stored.change(|stored| {
        let before = entry_at(stored, step);
        let wrong = model.broken.and_then(|broken| breaks::write(broken, stored, step));
        let answer = wrong.unwrap_or_else(|| stored.store.take(step));
        stored.rewritten |= before.is_some() && entry_at(stored, step) != before;
        if matches!(step, Step::Commit { .. }) {
            stored.fault = stored.store.check().err();
        }
        answer
    })
}

/// What the store holds where a commit goes.
fn entry_at(stored: &Stored, step: &Step) -> Option<Vec<u8>> {
    let Step::Commit { epoch, log, base, .. } = step else { return None };
    stored.store.entries.get(&(*epoch, log.clone()))?.get(base).cloned()
}
