//! MQTT 3.1.1 packets by hand, for clients that do what no library would.

/// A CONNECT of this client. `keep_alive` is in seconds, 0 for none.
pub fn connect(id: &str, clean: bool, keep_alive: u16) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(if clean { 2 } else { 0 });
    body.extend_from_slice(&keep_alive.to_be_bytes());
    body.extend_from_slice(&(id.len() as u16).to_be_bytes());
    body.extend_from_slice(id.as_bytes());
    let mut out = vec![0x10];
    length(&mut out, body.len());
    out.extend_from_slice(&body);
    out
}

/// Appends a PUBLISH; `id` is left out at QoS 0.
pub fn publish(out: &mut Vec<u8>, qos: u8, id: u16, topic: &str, payload: &[u8]) {
    publish_head(out, qos, id, topic, payload.len());
    out.extend_from_slice(payload);
}

/// Appends all of a PUBLISH but its payload, whose length it announces.
pub fn publish_head(out: &mut Vec<u8>, qos: u8, id: u16, topic: &str, payload: usize) {
    out.push(0x30 | qos << 1);
    length(out, 2 + topic.len() + if qos > 0 { 2 } else { 0 } + payload);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        out.extend_from_slice(&id.to_be_bytes());
    }
}

/// Marks a PUBLISH as one that was sent before.
pub fn again(packet: &mut [u8]) {
    if let Some(head) = packet.first_mut() {
        *head |= 8;
    }
}

fn length(out: &mut Vec<u8>, mut rest: usize) {
    loop {
        let more = rest >= 128;
        out.push((rest % 128) as u8 | if more { 0x80 } else { 0 });
        rest /= 128;
        if !more {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_standard() {
        assert_eq!(connect("a", true, 10), b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a");
        let mut out = Vec::new();
        publish(&mut out, 0, 7, "t", b"xy");
        publish(&mut out, 1, 7, "t", b"xy");
        assert_eq!(out, b"\x30\x05\x00\x01txy\x32\x07\x00\x01t\x00\x07xy");
        out.clear();
        publish_head(&mut out, 0, 0, "t", 256 << 20 >> 1);
        assert_eq!(out[1..5], [0x83, 0x80, 0x80, 0x40]);
        out.clear();
        publish(&mut out, 1, 7, "t", b"xy");
        again(&mut out);
        assert_eq!(out[0], 0x3a);
    }
}
