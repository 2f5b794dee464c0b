"""Reads a table of a lake with an engine and prints what each column holds as JSON: read_lake.py ENGINE TABLE COLUMNS.

ENGINE is duckdb, polars, polars-delta, pyarrow, delta (the deltalake package) or spark. COLUMNS are separated by commas, each NAME:KIND:
number and bool give count, sum, min and max (true is 1), text gives count, distinct values, min and max.
"""

import json
import sys

engine, table = sys.argv[1], sys.argv[2]
columns = [("offset", "number"), *(tuple(column.rsplit(":", 1)) for column in sys.argv[3].split(","))]


def duckdb():
    import duckdb

    wanted = []
    for name, kind in columns:
        value = f'"{name}"::TINYINT' if kind == "bool" else f'"{name}"'
        total = f"count(DISTINCT {value})" if kind == "text" else f"sum({value})::DOUBLE"
        wanted.append(f"count({value}), {total}, min({value}), max({value})")
    files = f"read_parquet('{table}/date=*/*.parquet', hive_partitioning = true, union_by_name = true)"
    rows, first, last, dates, *cells = duckdb.sql(
        f"SELECT count(*), epoch_us(min(time)), epoch_us(max(time)), count(DISTINCT date), {', '.join(wanted)} FROM {files}"
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
    for name, kind in columns:
        column = polars.col(name).cast(polars.Int8) if kind == "bool" else polars.col(name)
        total = column.drop_nulls().n_unique() if kind == "text" else column.cast(polars.Float64).sum()
        cells += [column.count().alias(name + "#"), total.alias(name + "+"), column.min().alias(name + "<"), column.max().alias(name + ">")]
    rows, first, last, dates, *cells = frame.select(cells).collect().row(0)
    return rows, first, last, dates, cells


def of_arrow(dataset):
    import pyarrow.compute as pc

    read = dataset.to_table(columns=["time", "date", *(name for name, _ in columns)])
    cells = []
    for name, kind in columns:
        column = read[name].cast("int8") if kind == "bool" else read[name]
        total = pc.count_distinct(column) if kind == "text" else pc.sum(column)
        cells += [pc.count(column).as_py(), total.as_py(), pc.min(column).as_py(), pc.max(column).as_py()]
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

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.session.timeZone": "UTC",
        # One machine and small files: to list folders here takes less than a task for each, and one row needs no two hundred tasks.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        "spark.sql.files.openCostInBytes": "65536",
        "spark.sql.shuffle.partitions": "1",
    }
    session = SparkSession.builder.master("local[*]")
    for key, value in settings.items():
        session = session.config(key, value)
    session = session.getOrCreate()
    frame = session.read.option("mergeSchema", "true").parquet(table)
    # One pass over the files: with count_distinct each row would be multiplied by the number of columns that have one.
    different = lambda column: f.size(f.collect_set(column))
    wanted = [f.count("*"), f.unix_micros(f.min("time")), f.unix_micros(f.max("time")), different(f.col("date"))]
    for name, kind in columns:
        column = f.col(f"`{name}`").cast("int") if kind == "bool" else f.col(f"`{name}`")
        total = different(column) if kind == "text" else f.sum(column.cast("double"))
        wanted += [f.count(column), total, f.min(column), f.max(column)]
    rows, first, last, dates, *cells = frame.agg(*wanted).first()
    return rows, first, last, dates, cells


rows, first, last, dates, cells = {"duckdb": duckdb, "polars": polars, "polars-delta": polars_delta, "pyarrow": pyarrow, "delta": delta, "spark": spark}[engine]()
cells = [cell if isinstance(cell, str) else float(cell) for cell in cells]
found = {name: cells[4 * index : 4 * index + 4] for index, (name, _) in enumerate(columns)}
print(json.dumps({"rows": rows, "first": first, "last": last, "dates": dates, "columns": found}))
