//! The MQTT endpoint on its own, with a sink that decodes flat JSON objects and keeps the newest values in memory.
//!
//! ```text
//! cargo run --release -p pyralog-agent --example mqtt_endpoint -- 127.0.0.1:18830
//! mosquitto_pub -p 18830 -q 1 -t plant/a/climate -m '{"temp": 21.5, "station": "north"}'
//! ```

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyralog_agent::{
    ingest::{
        PublishError, PublishSink,
        mqtt::{MqttEndpoint, MqttServerConfig, Unlimited},
    },
    records::{Records, Value},
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Values kept; the oldest go first.
const KEPT: usize = 1 << 20;

#[derive(Default)]
struct Store {
    numbers: VecDeque<f64>,
    records: u64,
    undecodable: u64,
}

struct JsonSink(Mutex<Store>);

impl PublishSink for JsonSink {
    fn publish(&self, topic: &str, payload: &[u8], scratch: &mut Records) -> Result<(), PublishError> {
        scratch.clear();
        scratch.begin("mqtt", None);
        scratch.push("topic", Value::Tag(topic));
        let decoded = serde_json::Deserializer::from_slice(payload).deserialize_map(Flat(scratch));
        scratch.finish();
        let mut store = self.0.lock();
        if decoded.is_err() {
            store.undecodable += 1;
            return Ok(());
        }
        for record in scratch.iter() {
            store.records += 1;
            for (_, value) in record.values() {
                if let Value::F64(number) = value {
                    if store.numbers.len() == KEPT {
                        store.numbers.pop_front();
                    }
                    store.numbers.push_back(number);
                }
            }
        }
        Ok(())
    }
}

/// Reads a flat JSON object into the open record.
struct Flat<'a>(&'a mut Records);

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flat JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&str>()? {
            map.next_value_seed(Field(self.0, name))?;
        }
        Ok(())
    }
}

struct Field<'a, 'n>(&'a mut Records, &'n str);

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a string, a boolean or null")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.push(self.1, Value::F64(value));
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.push(self.1, Value::Bool(value));
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.0.push(self.1, Value::Utf8(value));
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().init();
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:18830".to_owned());
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&listen))
}

async fn run(listen: &str) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let local = listener.local_addr()?;
    tracing::info!("listening on {local}");
    let sink = Arc::new(JsonSink(Mutex::default()));
    let endpoint = MqttEndpoint::new(MqttServerConfig::new(local), sink.clone(), Arc::new(Unlimited));
    let report = async {
        let (mut seen, mut every) = (0, tokio::time::interval(Duration::from_secs(5)));
        loop {
            every.tick().await;
            let (records, undecodable) = {
                let store = sink.0.lock();
                (store.records, store.undecodable)
            };
            if records != seen {
                seen = records;
                let counters = endpoint.counters();
                tracing::info!(records, undecodable, acked = counters.acked(), connections = counters.connections());
            }
        }
    };
    let shutdown = async {
        // Without a signal handler the process ends at once, which is as good here.
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        () = endpoint.serve(listener, None, shutdown) => Ok(()),
        () = report => Ok(()),
    }
}
