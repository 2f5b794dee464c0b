//! From an MQTT message to the ring: route, decode, append; what cannot be decoded is kept raw in `_rejected`.

use parking_lot::{Mutex, RwLock};

use super::decode::json::MAX_GROWTH;
use super::decode::{Format, Scratch, decode};
use super::route::Routes;
use super::{PublishError, PublishSink};
use crate::records::Records;
use crate::ring::{AppendError, Clock, Ring, Use};

/// Payloads up to here are decoded within what every connection holds anyway.
const SMALL_PAYLOAD: usize = 8 * 1024;

/// Memory that a connection's buffer may keep from one message to the next.
const KEPT_SCRATCH: usize = 128 * 1024;

/// Decoders' memory that waits for the next message; more threads than this at once allocate anew.
const POOL: usize = 16;

/// Decodes messages by the routes and appends them to the ring.
#[derive(Debug)]
pub struct Intake {
    ring: Ring,
    clock: Clock,
    /// Replaced when the configuration is read again.
    routes: RwLock<Routes>,
    pool: Mutex<Vec<Memory>>,
}

/// What decoding one message needs besides the connection's buffer.
#[derive(Debug, Default)]
struct Memory {
    log: String,
    scratch: Scratch,
}

impl Intake {
    /// An intake for `ring`; `clock` gives the time of arrival.
    pub fn new(ring: Ring, clock: Clock, routes: Routes) -> Self {
        Self { ring, clock, routes: RwLock::new(routes), pool: Mutex::new(Vec::with_capacity(POOL)) }
    }

    /// Goes by these routes from now on; messages in work end by those from before.
    pub fn set_routes(&self, routes: Routes) {
        *self.routes.write() = routes;
    }

    /// The ring behind it.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Appends records that the agent itself made, such as host readings.
    pub fn append(&self, records: &Records) -> Result<(), PublishError> {
        append(&self.ring, records, self.clock)
    }

    /// The largest payload that can be decoded within the memory that one request can get.
    fn limit(&self, format: Format) -> usize {
        (usize::try_from(self.ring.largest()).unwrap_or(usize::MAX) / growth(format)).max(SMALL_PAYLOAD)
    }
}

impl PublishSink for Intake {
    fn publish(&self, topic: &str, payload: &[u8], scratch: &mut Records) -> Result<(), PublishError> {
        let routes = self.routes.read();
        let route = routes.find(topic);
        let limit = self.limit(route.format);
        if payload.len() > limit {
            return Err(PublishError::TooLarge { len: payload.len(), limit });
        }
        let held = match payload.len() {
            0..=SMALL_PAYLOAD => None,
            len => Some(
                self.ring
                    .reserve_for(Use::Large, (len * growth(route.format)) as u64)
                    .map_err(|_| PublishError::Full)?,
            ),
        };
        let mut memory = self.pool.lock().pop().unwrap_or_default();
        let Memory { log, scratch: names } = &mut memory;
        scratch.clear();
        let reason = match route.target(log) {
            None => Some("the captures make no log name of 1 to 255 bytes".to_owned()),
            Some(target) => {
                decode(route.format, payload, route.json, target, scratch, names).err().map(|error| error.to_string())
            }
        };
        let done = match reason {
            None => append(&self.ring, scratch, self.clock),
            Some(reason) => {
                self.ring.reject(topic, &reason, payload, self.clock.now());
                Ok(())
            }
        };
        scratch.shrink_to(KEPT_SCRATCH);
        self.give_back(memory);
        drop(held);
        done
    }
}

impl Intake {
    fn give_back(&self, memory: Memory) {
        if memory.scratch.heap_bytes() > SMALL_PAYLOAD {
            return;
        }
        let mut pool = self.pool.lock();
        if pool.len() < POOL {
            pool.push(memory);
        }
    }
}

/// Bytes that decoding may take for one byte of payload: what it may become, and a buffer that doubles when it grows.
fn growth(format: Format) -> usize {
    match format {
        Format::Json | Format::LineProtocol | Format::Auto => 2 * MAX_GROWTH,
        Format::Number | Format::Text | Format::Raw => 2,
    }
}

fn append(ring: &Ring, records: &Records, clock: Clock) -> Result<(), PublishError> {
    match ring.append(records, clock.now()) {
        Ok(_) => Ok(()),
        Err(AppendError::Full { .. } | AppendError::Shape { .. }) => Err(PublishError::Full),
    }
}

#[cfg(test)]
mod tests;
