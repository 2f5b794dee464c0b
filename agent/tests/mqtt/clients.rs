//! Clients that people use, unchanged.

use std::{process::Command, time::Duration};

use pyralog_agent::ingest::mqtt::{Access, User};

use crate::support::{Server, run, wait_until, within};

fn mosquitto_pub(server: &Server, version: &str, qos: &str) -> Command {
    let mut command = Command::new("mosquitto_pub");
    let port = server.address.port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-q", qos, "-t", "plant/a"]);
    command
}

#[test]
fn mosquitto_pub_sends_a_thousand_lines_in_every_version_and_qos() {
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let server = Server::new();
            let lines: Vec<String> = (0..1000).map(|n| format!("{{\"n\":{n}}}")).collect();
            let output = run(mosquitto_pub(&server, version, qos).arg("-l"), &format!("{}\n", lines.join("\n")));
            assert!(output.status.success(), "{version} QoS {qos}: {output:?}");
            assert_eq!(server.payloads(1000), lines, "{version} QoS {qos}");
            let acked = if qos == "0" { 0 } else { 1000 };
            assert_eq!(server.endpoint.counters().acked(), acked, "{version} QoS {qos}");
        }
    }
}

#[test]
fn mosquitto_pub_with_retain_an_empty_and_a_large_message_is_taken() {
    let server = Server::new();
    let large = "x".repeat(200_000);
    assert!(run(mosquitto_pub(&server, "mqttv5", "1").args(["-r", "-n"]), "").status.success());
    assert!(run(mosquitto_pub(&server, "mqttv311", "2").arg("-s"), &large).status.success());
    assert_eq!(server.payloads(2), [String::new(), large]);
}

#[test]
fn mosquitto_pub_is_let_in_with_the_right_password_only() {
    let server = Server::with(u64::MAX / 2, |config| {
        config.access = Access::Users(vec![User::new("board", "secret")]);
    });
    for version in ["mqttv311", "mqttv5"] {
        let publish = |password| {
            let mut command = mosquitto_pub(&server, version, "1");
            run(command.args(["-u", "board", "-P", password, "-m", "x"]), "")
        };
        assert!(publish("secret").status.success());
        let refused = publish("guess");
        assert!(!refused.status.success());
        assert!(
            String::from_utf8_lossy(&refused.stderr).to_lowercase().contains("user name or password"),
            "{refused:?}"
        );
    }
    assert_eq!(server.payloads(2).len(), 2);
    assert_eq!(server.endpoint.counters().unauthorized(), 2);
}

#[test]
fn mosquitto_sub_learns_that_it_may_not_subscribe() {
    let server = Server::new();
    let port = server.address.port().to_string();
    for version in ["mqttv311", "mqttv5"] {
        let output = run(Command::new("mosquitto_sub").args(["-p", &port, "-V", version, "-t", "a/#", "-W", "20"]), "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("denied"), "{version}: {output:?}");
    }
}

#[test]
fn rumqttc_publishes_in_version_3() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
    let server = Server::new();
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", server.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let acked = within(&server.runtime, async {
        let (client, mut events) = AsyncClient::new(options, 10);
        let sender = tokio::spawn(async move {
            for n in 0..300 {
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
                client.publish("plant/b", qos, false, n.to_string()).await.unwrap();
            }
            client
        });
        let mut acked = 0;
        while acked < 200 {
            if let Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) = events.poll().await.unwrap() {
                acked += 1;
            }
        }
        sender.await.unwrap().disconnect().await.unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Outgoing(Outgoing::Disconnect)) {}
        acked
    });
    assert_eq!(acked, 200);
    let mut numbers: Vec<u32> = server.payloads(300).iter().map(|payload| payload.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    wait_until("the end of the connection", || server.endpoint.counters().connections() == 0);
}

#[test]
fn rumqttc_publishes_in_version_5() {
    use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
    let server = Server::new();
    let options = MqttOptions::new("rumqttc", "127.0.0.1", server.address.port());
    within(&server.runtime, async {
        let (client, mut events) = AsyncClient::new(options, 10);
        let sender = tokio::spawn(async move {
            for n in 0..200 {
                let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][n % 2];
                client.publish("plant/c", qos, true, n.to_string()).await.unwrap();
            }
        });
        let mut acked = 0;
        while acked < 200 {
            if let Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) = events.poll().await.unwrap() {
                acked += 1;
            }
        }
        sender.await.unwrap();
    });
    assert_eq!(server.payloads(200).len(), 200);
}

const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt
port, version = int(sys.argv[1]), mqtt.MQTTv5 if sys.argv[2] == "5" else mqtt.MQTTv311
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho" + sys.argv[2], protocol=version)
client.connect("127.0.0.1", port, keepalive=10)
client.loop_start()
sent = [client.publish("plant/d", str(n), qos=n % 3) for n in range(300)]
for message in sent:
    message.wait_for_publish(20)
assert all(message.is_published() for message in sent)
client.disconnect()
client.loop_stop()
"#;

#[test]
fn paho_publishes_in_both_versions() {
    let Some(python) = std::env::var_os("PYRALOG_PYTHON") else {
        println!("skipped: set PYRALOG_PYTHON to a Python that has paho-mqtt (`cargo xtask test` makes one)");
        return;
    };
    for version in ["3", "5"] {
        let server = Server::new();
        let port = server.address.port().to_string();
        let output = run(Command::new(&python).args(["-", &port, version]), PAHO);
        assert!(output.status.success(), "version {version}: {output:?}");
        let mut numbers: Vec<u32> = server.payloads(300).iter().map(|payload| payload.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "version {version}");
        assert_eq!(server.endpoint.counters().acked(), 200);
    }
}
