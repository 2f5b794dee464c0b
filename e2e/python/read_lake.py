"""Reads a table of a lake with an engine and prints count, sum, min and max of each column as JSON: read_lake.py ENGINE TABLE [FLOATS].

ENGINE is duckdb, polars, polars-delta, pyarrow, delta (the deltalake package) or spark; FLOATS names columns, separated by commas.
"""

import json
import sys

engine, table, floats = sys.argv[1], sys.argv[2], [name for name in sys.argv[3].split(",") if name]
numbers = ["offset", *floats]


def duckdb():
    import duckdb

    quoted = [f'"{name}"' for name in numbers]
    wanted = ", ".join(f"count({name}), sum({name})::DOUBLE, min({name}), max({name})" for name in quoted)
    files = f"read_parquet('{table}/date=*/*.parquet', hive_partitioning = true, union_by_name = true)"
    rows, first, last, dates, *cells = duckdb.sql(
        f"SELECT count(*), epoch_us(min(time)), epoch_us(max(time)), count(DISTINCT date), {wanted} FROM {files}"
    ).fetchall()[0]
    return rows, first, last, dates, cells


def polars():
    import glob

    import polars

    # One scan has the columns of its first file.
    files = sorted(glob.glob(f"{table}/date=*/*.parquet"))
    scans = [polars.scan_parquet(file, hive_partitioning=True) for file in files]
    return of_polars(polars.concat(scans, how="diagonal"))


def polars_delta():
    import polars

    return of_polars(polars.scan_delta(table))


def of_polars(frame):
    import polars

    cells = [polars.len(), polars.col("time").min().dt.timestamp("us").alias("first"), polars.col("time").max().dt.timestamp("us").alias("last")]
    cells.append(polars.col("date").n_unique())
    for name in numbers:
        column = polars.col(name)
        cells += [column.count().alias(name + "#"), column.sum().alias(name + "+"), column.min().alias(name + "<"), column.max().alias(name + ">")]
    rows, first, last, dates, *cells = frame.select(cells).collect().row(0)
    return rows, first, last, dates, cells


def of_arrow(dataset):
    import pyarrow.compute as pc

    read = dataset.to_table(columns=["time", "date", *numbers])
    cells = []
    for name in numbers:
        column = read[name]
        cells += [pc.count(column).as_py(), float(pc.sum(column).as_py()), pc.min(column).as_py(), pc.max(column).as_py()]
    times = read["time"].cast("int64")
    return read.num_rows, pc.min(times).as_py(), pc.max(times).as_py(), len(pc.unique(read["date"])), cells


def pyarrow():
    import pyarrow
    import pyarrow.dataset as ds

    # A dataset has the columns of its first file unless told; the newest has all.
    plain = ds.dataset(table, format="parquet", partitioning="hive")
    schemas = [fragment.physical_schema for fragment in plain.get_fragments()]
    schema = pyarrow.unify_schemas([*schemas, plain.schema])
    return of_arrow(ds.dataset(table, format="parquet", partitioning="hive", schema=schema))


def delta():
    import deltalake

    return of_arrow(deltalake.DeltaTable(table).to_pyarrow_dataset())


def spark():
    from pyspark.sql import SparkSession, functions as f

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    session = session.config("spark.sql.caseSensitive", "false").getOrCreate()
    frame = session.read.option("mergeSchema", "true").parquet(table)
    wanted = [f.count("*"), f.unix_micros(f.min("time")), f.unix_micros(f.max("time")), f.count_distinct("date")]
    for name in numbers:
        quoted = f"`{name}`"
        wanted += [f.count(quoted), f.sum(quoted), f.min(quoted), f.max(quoted)]
    rows, first, last, dates, *cells = frame.agg(*wanted).first()
    return rows, first, last, dates, cells


rows, first, last, dates, cells = {"duckdb": duckdb, "polars": polars, "polars-delta": polars_delta, "pyarrow": pyarrow, "delta": delta, "spark": spark}[engine]()
columns = {name: [float(cell) for cell in cells[4 * index : 4 * index + 4]] for index, name in enumerate(numbers)}
print(json.dumps({"rows": rows, "first": first, "last": last, "dates": dates, "columns": columns}))
