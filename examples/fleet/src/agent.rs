//! One simulated agent: a real sender with a connection of its own, over real HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use pyralog_sync_protocol::Incarnation;
use pyralog_sync_protocol::sender::{Action, Failure, Sender, SenderConfig};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::device::Device;
use crate::figures::Figures;

/// As a real agent has it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a hub answers at most.
const MAX_ANSWER: usize = 1 << 20;

/// What all agents share.
#[derive(Debug)]
pub struct Fleet {
    /// Hubs, each of which may be asked at any moment.
    pub hubs: Vec<SocketAddr>,
    /// Time between two rounds.
    pub interval: Duration,
    /// What they see.
    pub figures: Figures,
    /// No more readings.
    pub is_over: AtomicBool,
    /// Everybody ships at once.
    pub flush: Notify,
    /// The origin of their clocks.
    pub began: Instant,
}

/// An agent and its ring.
pub struct Agent {
    name: String,
    device: Arc<Device>,
    sender: Sender,
    connection: Option<SendRequest<Full<Bytes>>>,
    hub: usize,
}

impl Agent {
    /// The agent of this number.
    pub fn new(number: usize, device: Arc<Device>, interval: Duration) -> Self {
        let incarnation = Incarnation(fastrand::u128(..).to_le_bytes());
        let config = SenderConfig { interval, seed: fastrand::u64(..), ..SenderConfig::default() };
        let name = format!("board-{number:05}");
        Self { name, device, sender: Sender::new(incarnation, config), connection: None, hub: number }
    }

    /// Records and ships until the fleet's time is over and a hub has everything.
    pub async fn run(mut self, fleet: Arc<Fleet>) {
        // Devices are not started in step.
        tokio::time::sleep(fleet.interval.mul_f64(fastrand::f64())).await;
        self.device.record();
        loop {
            match self.sender.poll(fleet.began.elapsed(), &&*self.device) {
                Action::Seal => self.device.seal(),
                Action::Hello(body) => self.exchange(&fleet, "hello", body).await,
                Action::Batch(body) => self.exchange(&fleet, "batch", body).await,
                Action::Wait { until: None } => return,
                Action::Wait { until: Some(until) } => {
                    if !self.rest(&fleet, until).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the next round, or for everybody's; `false` when all is done.
    async fn rest(&mut self, fleet: &Fleet, until: Duration) -> bool {
        let is_over = fleet.is_over.load(Ordering::Relaxed);
        let (accepted, committed) = self.device.account();
        if is_over && accepted == committed {
            return false;
        }
        let pause = until.saturating_sub(fleet.began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = fleet.flush.notified() => self.sender.handle_flush(),
        }
        if !is_over && accepted == committed {
            self.device.record();
        }
        true
    }

    async fn exchange(&mut self, fleet: &Fleet, what: &'static str, body: Vec<u8>) {
        let began = Instant::now();
        let answer = tokio::time::timeout(TIMEOUT, self.post(fleet, what, body)).await;
        let (now, took) = (fleet.began.elapsed(), began.elapsed());
        let answer = answer.unwrap_or_else(|_| Err(Failure::Transport("no answer in time".into())));
        match answer {
            Ok((status, reply)) => {
                fleet.figures.answered(what, status, took);
                self.sender.handle_reply(now, &reply, &&*self.device);
            }
            Err(failure) => {
                fleet.figures.failed(&failure);
                // Another hub may be there.
                (self.connection, self.hub) = (None, self.hub + 1);
                self.sender.handle_failure(now, failure);
            }
        }
    }

    async fn post(&mut self, fleet: &Fleet, what: &str, body: Vec<u8>) -> Result<(u16, Bytes), Failure> {
        let transport = |error: &dyn std::fmt::Display| Failure::Transport(error.to_string());
        let hub = fleet.hubs[self.hub % fleet.hubs.len()];
        let mut connection = match self.connection.take().filter(SendRequest::is_ready) {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(hub).await.map_err(|error| transport(&error))?;
                let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(|error| transport(&error))?;
                tokio::spawn(driver);
                connection
            }
        };
        let request = Request::builder().method(Method::POST).header(HOST, hub.to_string());
        let request = request.uri(format!("/v1/sync/{}/{what}", self.name)).body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| transport(&error))?;
        let response = connection.send_request(request).await.map_err(|error| transport(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let reply = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let reply = reply.map_err(|error| Failure::Transport(error.to_string()))?.to_bytes();
        self.connection = Some(connection);
        if pyralog_sync_protocol::frame::Reply::decode(&reply).is_err() {
            let message = String::from_utf8_lossy(&reply).into_owned();
            return Err(Failure::Status { code: status, message, retry_after: header.map(Duration::from_secs) });
        }
        Ok((status, reply))
    }
}
