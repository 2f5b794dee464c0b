"""Opens a records stream as a table and prints what is in it as JSON: open_stream.py URL."""

import json
import sys
import urllib.request

import pyarrow as pa

request = urllib.request.Request(sys.argv[1], headers={"Accept": "application/vnd.apache.arrow.stream"})
with urllib.request.urlopen(request, timeout=60) as response:
    table = pa.ipc.open_stream(response).read_all()
table.validate(full=True)
print(json.dumps({
    "rows": table.num_rows,
    "columns": table.column_names,
    "types": [str(field.type) for field in table.schema],
    "nulls": {name: table[name].null_count for name in table.column_names},
    "stations": sorted(word for word in set(table["station"].to_pylist()) if word is not None),
    "offsets_rise": table["offset"].to_pylist() == sorted(set(table["offset"].to_pylist())),
}))
