"""Writes with influxdb-client as its documentation does: influx_write.py URL COUNT."""

import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

url, count = sys.argv[1], int(sys.argv[2])
with InfluxDBClient(url=url, token="any", org="any", enable_gzip=True) as client:
    write = client.write_api(write_options=SYNCHRONOUS)
    points = [
        Point("influx").tag("room", "kitchen").field("temp", 20.0 + number / 10).field("count", number).field("ok", True)
        .time(1_700_000_000 + number, WritePrecision.S)
        for number in range(count)
    ]
    write.write(bucket="any", record=points, write_precision=WritePrecision.S)
    write.write(bucket="any", record={"measurement": "influx", "fields": {"temp": -1.5}, "time": 1_800_000_000}, write_precision=WritePrecision.S)
