//! The loop: gather what happened, tell the sender, do what it says.

use super::client::HubClient;
use super::hubs::Hubs;
use super::link::{Exchange, Link, Packing};
use super::report::{SyncReport, SyncShared, SyncState};
use super::source::RingSource;
use super::{ClientError, SyncConfig};
use crate::ring::{Clock, Reservation, Ring, Use};
use pyralog_service::without_password;
use pyralog_supervision::Beat;
use pyralog_sync_protocol::frame::Reply;
use pyralog_sync_protocol::{Action, Failure, Incarnation, Sender, SenderConfig, SenderState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time between two looks at the sender, so that a clock that jumps cannot keep it asleep.
const MAX_SLEEP: Duration = Duration::from_secs(3600);
/// How long to wait when the budget has no room for a batch.
const NO_ROOM_WAIT: Duration = Duration::from_millis(500);
/// What may pass on a slow board between two looks of the loop, beyond what it waits for.
const SLOWNESS: Duration = Duration::from_secs(60);
/// How long packing all that is sealed may take: whether it gets on is watched by the upkeep.
const PACKING: Duration = Duration::from_secs(600);

/// What the loop woke up for.
enum Happened {
    /// A time came.
    Due,
    /// Much is pending.
    Demand,
    /// The process is about to stop.
    Flush,
    /// An exchange ended.
    Answer(Result<Vec<u8>, Failure>),
}

/// What the loop waits for next.
enum Next {
    Wait(Duration),
    Exchange,
    /// Everything is shipped (after a flush), or nothing ever will be.
    End,
}

/// Ships the ring's logs until the future is dropped or, after [`SyncShared::flush`], until all is shipped.
pub async fn run(
    config: SyncConfig,
    ring: Ring,
    clock: Clock,
    incarnation: [u8; 16],
    shared: Arc<SyncShared>,
) -> Result<(), ClientError> {
    let shown = config.upstream.iter().map(|url| without_password(url));
    let links = shown.zip(HubClient::all(&config)?).collect::<Vec<_>>();
    // One exchange may ask each of them.
    let timeout = config.timeout.saturating_mul(u32::try_from(links.len()).unwrap_or(u32::MAX));
    let link = Hubs::new(links, config.policy, Arc::clone(&shared));
    let config = SyncConfig { timeout, ..config };
    drive(link, Packing::OffThread, &config, ring, clock, incarnation, shared).await;
    Ok(())
}

/// [`run`] over any link. Of `config` it takes the pace alone; who and where is the link's matter.
pub async fn drive(
    link: impl Link,
    packing: Packing,
    config: &SyncConfig,
    ring: Ring,
    clock: Clock,
    incarnation: [u8; 16],
    shared: Arc<SyncShared>,
) {
    ring.events().set_pending_threshold(config.threshold);
    let seed = u64::from_le_bytes(incarnation[..8].try_into().unwrap_or_default());
    // A batch is held in memory beside the ring: under a small cap it must be small.
    let max_batch = config.max_batch.min(u32::try_from(ring.budget().cap() / 8).unwrap_or(u32::MAX));
    let sender_config = SenderConfig { interval: config.interval, max_batch, seed, ..SenderConfig::default() };
    // However it ends: by itself, or dropped by a stop.
    let _rests = Rests(shared.beat.clone());
    let mut driver = Driver {
        timeout: config.timeout,
        sender: Sender::new(Incarnation(incarnation), sender_config),
        max_batch: u64::from(max_batch),
        link,
        packing,
        ring,
        clock,
        shared,
        began: Instant::now(),
        exchange: None,
        held: None,
        flushing: false,
        told: None,
        hub_began_ns: None,
    };
    loop {
        let happened = match driver.act().await {
            Next::End => return,
            Next::Exchange => {
                driver.promise(driver.timeout);
                driver.gather(MAX_SLEEP).await
            }
            Next::Wait(wait) => {
                driver.promise(wait.min(MAX_SLEEP));
                driver.gather(wait).await
            }
        };
        driver.promise(Duration::ZERO);
        driver.apply(happened);
    }
}

/// Lets the beat of a loop rest when the loop has ended.
struct Rests(Beat);

impl Drop for Rests {
    fn drop(&mut self) {
        self.0.rest();
    }
}

struct Driver<L> {
    /// How long an exchange takes at most.
    timeout: Duration,
    sender: Sender,
    /// Bytes that a batch may take.
    max_batch: u64,
    link: L,
    packing: Packing,
    ring: Ring,
    clock: Clock,
    shared: Arc<SyncShared>,
    began: Instant,
    exchange: Option<Exchange>,
    /// The budget of the batch under way.
    held: Option<Reservation>,
    flushing: bool,
    /// The failure that was logged last, so that an outage makes one line and not thousands.
    told: Option<String>,
    /// What the hub's clock showed when ours began, as its last answer to a hello had it.
    hub_began_ns: Option<i64>,
}

impl<L: Link> Driver<L> {
    /// Promises to be heard of again soon after `wait`.
    fn promise(&self, wait: Duration) {
        self.shared.beat.promise(self.clock.now().mono, wait + SLOWNESS);
    }

    /// Only gathers; decides nothing. Of several things that happened, the first of this order comes first, so that a driver
    /// whose time and link are simulated does the same again; none can starve another, as the sender looks at the time
    /// whatever it is told.
    async fn gather(&mut self, wait: Duration) -> Happened {
        let exchange = async {
            match &mut self.exchange {
                Some(exchange) => exchange.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = exchange => Happened::Answer(answer),
            () = self.shared.flush.notified() => Happened::Flush,
            () = self.ring.events().pending() => Happened::Demand,
            () = tokio::time::sleep(wait.min(MAX_SLEEP)) => Happened::Due,
        }
    }

    /// Tells the sender what happened.
    fn apply(&mut self, happened: Happened) {
        let now = self.began.elapsed();
        match happened {
            Happened::Due => {}
            Happened::Demand => self.sender.handle_demand(),
            Happened::Flush => {
                self.flushing = true;
                self.sender.handle_flush();
            }
            Happened::Answer(answer) => {
                self.exchange = None;
                self.held = None;
                match answer {
                    Ok(reply) => {
                        self.compare_clocks(&reply);
                        self.sender.handle_reply(now, &reply, &RingSource::new(&self.ring));
                    }
                    Err(failure) => self.sender.handle_failure(now, failure),
                }
                self.tell();
            }
        }
        self.publish();
    }

    /// Takes the hub's time from an answer to a hello.
    fn compare_clocks(&mut self, reply: &[u8]) {
        if let Ok(Reply::Hello(ack)) = Reply::decode(reply) {
            let passed = i64::try_from(self.clock.now().mono.as_nanos()).unwrap_or(i64::MAX);
            self.hub_began_ns = Some(ack.hub_time.saturating_sub(passed));
        }
    }

    /// Does what the sender says until there is something to wait for.
    async fn act(&mut self) -> Next {
        loop {
            if self.exchange.is_some() {
                return Next::Exchange;
            }
            let now = self.began.elapsed();
            // The room for a batch is taken before the sender builds it, and only then: it may cost records in the ring.
            if self.held.is_none() && self.sender.may_build(now) {
                match self.ring.reserve_for(Use::Batch, self.max_batch) {
                    Ok(held) => self.held = Some(held),
                    Err(_) => return Next::Wait(NO_ROOM_WAIT),
                }
            }
            let action = self.sender.poll(now, &RingSource::new(&self.ring));
            self.publish();
            match action {
                Action::Seal => self.seal().await,
                Action::Hello(message) => self.begin(true, message),
                Action::Batch(message) => self.begin(false, message),
                Action::Wait { until } => {
                    self.held = None;
                    return self.wait(now, until);
                }
            }
        }
    }

    fn wait(&self, now: Duration, until: Option<Duration>) -> Next {
        let idle = self.sender.status().state == SenderState::Idle;
        match until {
            // After a flush the round that follows it ships everything; idle means that it did.
            Some(_) if self.flushing && idle => Next::End,
            None if self.flushing => Next::End,
            Some(until) => Next::Wait(until.saturating_sub(now)),
            None => Next::Wait(MAX_SLEEP),
        }
    }

    /// Seals the open segments and waits until they are packed.
    async fn seal(&mut self) {
        self.promise(PACKING);
        self.ring.seal_all(self.clock.now());
        // Should packing break, the round ships what is packed.
        self.packing.pack_all(&self.ring).await;
    }

    fn begin(&mut self, hello: bool, message: Vec<u8>) {
        if let Some(held) = &mut self.held {
            held.shrink_to(message.capacity() as u64);
        }
        self.shared.sent(message.len());
        self.exchange = Some(self.link.exchange(hello, message.into()));
    }

    /// Logs a failure once, and the recovery from it.
    fn tell(&mut self) {
        let status = self.sender.status();
        if status.last_error.is_some() {
            self.shared.failed();
        }
        if status.last_error == self.told {
            return;
        }
        match (&status.last_error, status.state) {
            (Some(why), SenderState::Fenced) => {
                tracing::error!(%why, "FENCED: this agent ships nothing more; its readings stay in the ring until evicted");
            }
            (Some(why), _) => tracing::warn!(%why, "sync failed; readings are kept and it will be tried again"),
            (None, _) => tracing::info!("sync works again"),
        }
        self.told = status.last_error;
    }

    fn publish(&self) {
        let status = self.sender.status();
        let state = match status.state {
            SenderState::Idle => SyncState::Idle,
            SenderState::Sending => SyncState::Sending,
            SenderState::Backoff => SyncState::Backoff,
            SenderState::Fenced => SyncState::Fenced,
        };
        self.shared.set(SyncReport {
            state,
            epoch: status.epoch.map(|epoch| epoch.0),
            last_error: status.last_error,
            next_attempt: status.next_attempt.map(|at| self.began + at),
            hub_began_ns: self.hub_began_ns,
            ..SyncReport::default()
        });
    }
}
