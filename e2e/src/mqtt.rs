//! A publisher: QoS 1, in order, and it knows how many publishes were acknowledged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};

use crate::{Result, wait};

/// Publishes that may be under way at a time.
const WINDOW: u16 = 200;

/// Publishes each payload to `topic` at QoS 1 and waits for the last acknowledgement.
///
/// # Errors
/// When the connection breaks, or acknowledgements stay away for a minute.
pub async fn publish(to: SocketAddr, client_id: &str, topic: &str, payloads: Vec<String>) -> Result<()> {
    let mut options = MqttOptions::new(client_id, to.ip().to_string(), to.port());
    options.set_inflight(WINDOW).set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, usize::from(WINDOW));
    let total = payloads.len() as u64;
    let topic = topic.to_owned();
    // Apart from the event loop, whose `poll` must never be dropped half way.
    let sender = tokio::spawn(async move {
        for payload in payloads {
            client.publish(&topic, QoS::AtLeastOnce, false, payload).await?;
        }
        Result::<AsyncClient>::Ok(client)
    });
    let (mut acknowledged, mut last) = (0, Instant::now());
    while acknowledged < total {
        let event = tokio::time::timeout(wait::LONG, events.poll()).await;
        if let Ok(Event::Incoming(Incoming::PubAck(_))) = event.map_err(|_| "the MQTT connection is silent")? {
            (acknowledged, last) = (acknowledged + 1, Instant::now());
        } else if last.elapsed() > wait::LONG {
            return Err(format!("no acknowledgement for a minute; {acknowledged} of {total} before").into());
        }
    }
    sender.await??.disconnect().await?;
    let _ = tokio::time::timeout(Duration::from_secs(1), events.poll()).await;
    Ok(())
}
