"""Posts an Arrow stream with floats that text formats cannot carry: send_arrow.py URL."""

import sys
import urllib.request

import pyarrow as pa

temps = [1.5, float("nan"), float("inf"), float("-inf"), None, -0.0]
times = pa.array(range(1_000, 1_000 + len(temps)), pa.timestamp("ns", "UTC"))
table = pa.table({"time": times, "temp": pa.array(temps, pa.float64())})
sink = pa.BufferOutputStream()
with pa.ipc.new_stream(sink, table.schema) as writer:
    writer.write_table(table)
headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
request = urllib.request.Request(sys.argv[1], data=sink.getvalue().to_pybytes(), headers=headers, method="POST")
with urllib.request.urlopen(request, timeout=60) as response:
    assert response.status in (200, 204), response.status
