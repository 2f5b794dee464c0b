"""Publishes COUNT readings at QoS 0, 1 and 2 each with paho-mqtt: paho_publish.py PORT (3|5) COUNT."""

import json
import sys

import paho.mqtt.client as mqtt

port, version, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
protocol = {"3": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{version}", protocol=protocol)
client.connect("127.0.0.1", port, keepalive=30)
client.loop_start()
sent = []
for qos in (0, 1, 2):
    for number in range(count):
        reading = {"qos": qos, "number": number, "half": number / 2}
        sent.append(client.publish(f"paho/{version}/readings", json.dumps(reading), qos=qos))
for info in sent:
    info.wait_for_publish(timeout=30)
    assert info.is_published(), info
client.disconnect()
client.loop_stop()
print(len(sent))
