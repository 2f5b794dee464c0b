//! The MQTT subscriber: takes topics from a broker that is already there, and acknowledges a message after the ring has it.
//!
//! MQTT 3.1.1 with a persistent session: while the agent or the network is away, the broker keeps what it may, and what
//! was not acknowledged comes again. One task per broker; it gathers events, and a plain function decides.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, Event, EventLoop, Packet, Publish, StateError, SubscribeReasonCode};
use rumqttc::{PubAck, QoS, Request, Subscribe, SubscribeFilter};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{PublishError, PublishSink};
use crate::records::Records;

mod config;
mod held;
mod status;

pub use config::{SubscribeSpec, SubscriberConfig, SubscriberError};
pub use status::{Snapshot, SubscriberStatus};

use super::backoff::Backoff;
use held::Held;

/// How long one acknowledgement or subscription may take to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests in rumqttc's own queue, which we pass by: answers are written straight to the connection.
const QUEUE: usize = 4;

/// One broker's subscriber.
pub struct Subscriber {
    config: SubscriberConfig,
    sink: Arc<dyn PublishSink>,
    status: Arc<SubscriberStatus>,
    events: EventLoop,
    scratch: Records,
    held: Held,
    backoff: Backoff,
    retry: Backoff,
    /// Whether this process has subscribed within the broker's session.
    subscribed: bool,
    /// Acknowledgements written but not flushed.
    unflushed: bool,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What happened.
enum Happened {
    Stopped,
    Retry,
    Event(Event),
    Lost(ConnectionError),
}

impl Subscriber {
    /// A subscriber that has not connected yet.
    pub fn new(config: SubscriberConfig, sink: Arc<dyn PublishSink>) -> Self {
        let mut options = config.options();
        options.set_manual_acks(true);
        Self {
            status: Arc::new(SubscriberStatus::new(config.name())),
            events: EventLoop::new(options, QUEUE),
            held: Held::default(),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            retry: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            config,
            sink,
            scratch: Records::new(),
            subscribed: false,
            unflushed: false,
        }
    }

    /// What the status page shows; it stays valid while the subscriber runs.
    pub fn status(&self) -> Arc<SubscriberStatus> {
        Arc::clone(&self.status)
    }

    /// Runs until `stop` turns true or its sender is gone.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            // A retry must not cut a connection attempt short; between connections it comes after each pause.
            let retry_at = self.held.retry_at().filter(|_| self.events.network.is_some());
            let happened = tokio::select! {
                stopped = stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    Happened::Stopped
                }
                () = sleep_until(retry_at) => Happened::Retry,
                // While much is held the broker waits: no more is read from a connection.
                polled = self.events.poll(), if retry_at.is_none() || !self.held.is_full() => match polled {
                    Ok(event) => Happened::Event(event),
                    Err(error) => Happened::Lost(error),
                },
            };
            match happened {
                Happened::Stopped => return,
                other => {
                    let Err(error) = self.apply(other).await else { continue };
                    let pause = self.lost(&error);
                    tokio::select! {
                        stopped = stop.wait_for(|stop| *stop) => {
                            drop(stopped);
                            return;
                        }
                        () = tokio::time::sleep(pause) => {}
                    }
                    // Without a connection there is nothing to acknowledge, so nothing can fail here.
                    if self.store_held().await.is_err() {
                        self.held.forget_acknowledged();
                    }
                }
            }
        }
    }

    async fn apply(&mut self, happened: Happened) -> Result<(), ConnectionError> {
        match happened {
            Happened::Lost(error) => return Err(error),
            Happened::Retry => self.store_held().await?,
            Happened::Event(Event::Incoming(Packet::ConnAck(ack))) => {
                self.status.connected();
                tracing::info!(broker = self.config.name(), session = ack.session_present, "connected");
                // A session that the broker kept has its subscriptions; asking again would bring all retained messages again.
                if ack.session_present && self.subscribed {
                    self.status.subscribed();
                } else {
                    self.subscribe().await?;
                }
            }
            Happened::Event(Event::Incoming(Packet::SubAck(ack))) => self.granted(&ack.return_codes),
            Happened::Event(Event::Incoming(Packet::Publish(publish))) => self.message(publish).await?,
            Happened::Event(Event::Incoming(Packet::PingResp)) => drop(self.backoff.reset()),
            Happened::Event(_) | Happened::Stopped => {}
        }
        self.flush_if_idle().await
    }

    /// Stores one message, or holds it behind those that wait already.
    async fn message(&mut self, publish: Publish) -> Result<(), ConnectionError> {
        if !self.held.is_empty() {
            self.held.push(publish, Instant::now());
            return Ok(());
        }
        match self.store(&publish) {
            Stored::Done => self.acknowledge(&publish).await,
            Stored::Full => {
                self.status.failed("the ring is full: messages wait at the broker");
                self.held.push(publish, self.retry.next_at());
                Ok(())
            }
        }
    }

    async fn store_held(&mut self) -> Result<(), ConnectionError> {
        while let Some(publish) = self.held.front().cloned() {
            match self.store(&publish) {
                Stored::Done => {
                    self.held.pop();
                    self.acknowledge(&publish).await?;
                }
                Stored::Full => {
                    self.held.wait_until(self.retry.next_at());
                    return Ok(());
                }
            }
        }
        if self.retry.reset() {
            self.status.recovered();
        }
        Ok(())
    }

    fn store(&mut self, publish: &Publish) -> Stored {
        match self.sink.publish(&publish.topic, &publish.payload, &mut self.scratch) {
            Ok(()) => {
                // Only now: a message that breaks every new connection must not be asked for again at once.
                self.backoff.reset();
                self.status.stored();
            }
            Err(PublishError::Full) => return Stored::Full,
            Err(error @ PublishError::TooLarge { .. }) => {
                // Not acknowledging would only bring it again for ever.
                self.status.refused();
                tracing::warn!(broker = self.config.name(), topic = publish.topic, %error, "message dropped");
            }
        }
        Stored::Done
    }

    async fn acknowledge(&mut self, publish: &Publish) -> Result<(), ConnectionError> {
        if publish.qos == QoS::AtLeastOnce {
            self.write(Request::PubAck(PubAck::new(publish.pkid))).await?;
        }
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), ConnectionError> {
        let filters = self.config.topics().iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
        let subscribe = Subscribe::new_many(filters);
        self.write(Request::Subscribe(subscribe)).await
    }

    fn granted(&mut self, codes: &[SubscribeReasonCode]) {
        self.subscribed = true;
        for (topic, code) in self.config.topics().iter().zip(codes) {
            if *code == SubscribeReasonCode::Failure {
                self.subscribed = false;
                self.status.failed(&format!("the broker refuses the subscription to {topic:?}: check its access list"));
                tracing::error!(broker = self.config.name(), topic, "the broker refuses the subscription");
            }
        }
        if self.subscribed {
            self.status.subscribed();
        }
    }

    /// Writes past rumqttc's queue, which could be full just when an acknowledgement must go.
    async fn write(&mut self, request: Request) -> Result<(), ConnectionError> {
        let Some(packet) = self.events.state.handle_outgoing_packet(request)? else { return Ok(()) };
        let Some(network) = &mut self.events.network else { return Ok(()) };
        self.unflushed = true;
        match tokio::time::timeout(WRITE_TIMEOUT, network.write(packet)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(ConnectionError::FlushTimeout),
        }
    }

    /// Sends what was written, once the messages that came together are done: one system call for all of them.
    async fn flush_if_idle(&mut self) -> Result<(), ConnectionError> {
        let more = self.events.state.events.iter().any(|event| matches!(event, Event::Incoming(_)));
        if more || !self.unflushed {
            return Ok(());
        }
        self.unflushed = false;
        let Some(network) = &mut self.events.network else { return Ok(()) };
        match tokio::time::timeout(WRITE_TIMEOUT, network.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(ConnectionError::FlushTimeout),
        }
    }

    /// Forgets the connection and says how long to wait before the next.
    fn lost(&mut self, error: &ConnectionError) -> Duration {
        self.unflushed = false;
        self.events.clean();
        // Packet identifiers mean nothing in the next connection, and what was not acknowledged comes again. What no
        // acknowledgement was asked for comes never again: that is stored now.
        let unread: Vec<_> = self.events.state.events.drain(..).collect();
        self.held.forget_acknowledged();
        for event in unread {
            if let Event::Incoming(Packet::Publish(publish)) = event
                && publish.qos == QoS::AtMostOnce
                && matches!(self.store(&publish), Stored::Full)
            {
                self.held.push(publish, self.retry.next_at());
            }
        }
        if let ConnectionError::ConnectionRefused(_) = error {
            self.subscribed = false;
        }
        let pause = self.backoff.next_pause();
        let reason = describe(error, &self.config);
        self.status.lost(&reason);
        tracing::warn!(broker = self.config.name(), reason, retry_in = ?pause, "no connection");
        pause
    }
}

/// What became of a message.
enum Stored {
    Done,
    Full,
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn describe(error: &ConnectionError, config: &SubscriberConfig) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses username and password: check the url or password_file".to_owned(),
        ConnectionError::MqttState(StateError::Deserialization(
            rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(size),
        )) => format!(
            "the broker sends a packet of {size} bytes; max_packet is {}: raise it, or delete the message there",
            config.max_packet()
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
