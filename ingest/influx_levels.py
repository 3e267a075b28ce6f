"""Down-sampled levels of the readings in an InfluxDB: what each holds, as InfluxQL and as Flux.

A window is labelled by its start and holds of the good readings last, min, max, mean and count, and
how many failed. Counters need `last` (a difference of two is the amount), gauges the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.influx_connection import named


@dataclass(frozen=True, slots=True)
class Level:
    """One level."""

    name: str
    """Its retention policy in 1.x, second half of its bucket's name in 2; also its window."""
    every: str
    """How often it is computed."""
    back: str
    """How far back it is computed anew each time: late readings up to there are taken in."""
    keep_days: int
    """Days it is kept, 0 = for ever."""


LEVELS = (Level("15m", "5m", "2h", 1830), Level("1h", "15m", "6h", 0))
"""A demand interval of electricity metering (GB/T 17215 load profiles) for five years; hours."""
MEASUREMENT = "reading"
_FUNCTIONS = ("last", "min", "max", "mean")


def select(database: str, policy: str, level: Level, bounds: str = "") -> str:
    """The InfluxQL that fills a level; `bounds` is a WHERE clause."""
    made = [f"{name}(value) AS {name}" for name in _FUNCTIONS]
    made += ["count(value) * 1.000 AS count", "sum(failed) AS failed"]  # as 1.8 shows it
    base = named(database)
    return (
        f'SELECT {", ".join(made)} INTO {base}."{level.name}".{MEASUREMENT} '  # noqa: S608
        f"FROM {base}.{named(policy)}.{MEASUREMENT} {bounds}GROUP BY time({level.name}), *"
    )


def continuous_query(database: str, policy: str, level: Level) -> str:
    """The statement that keeps a level up to date in 1.x."""
    return (
        f"CREATE CONTINUOUS QUERY {named(query_name(level))} ON {named(database)} "
        f"RESAMPLE EVERY {level.every} FOR {level.back} "
        f"BEGIN {select(database, policy, level)} END"
    )


def query_name(level: Level) -> str:
    """Name of a level's continuous query."""
    return f"{MEASUREMENT}_{level.name}"


def task_name(database: str, level: Level) -> str:
    """Name of a level's task in 2."""
    return f"{database} {MEASUREMENT} {level.name}"


def flux(database: str, policy: str, level: Level, start: str, stop: str = "now()") -> str:
    """The Flux that fills a level from `start` to `stop`, both Flux times."""
    source, target = f"{database}/{policy}", f"{database}/{level.name}"
    aggregated = [f'windows(fn: {name}, source: good, name: "{name}")' for name in _FUNCTIONS]
    aggregated += ['windows(fn: count, source: good, name: "count") |> toFloat()']
    aggregated += ['windows(fn: sum, source: failed, name: "failed")']
    return f"""\
all = from(bucket: "{source}")
    |> range(start: {start}, stop: {stop})
    |> filter(fn: (r) => r._measurement == "{MEASUREMENT}")
good = all |> filter(fn: (r) => r._field == "value")
failed = all |> filter(fn: (r) => r._field == "failed")
windows = (source, fn, name) => source
    |> aggregateWindow(every: {level.name}, fn: fn, createEmpty: false, timeSrc: "_start")
    |> set(key: "_field", value: name)
union(tables: [
    {("," + chr(10) + "    ").join(aggregated)},
])
    |> to(bucket: "{target}")
"""


def task(database: str, policy: str, level: Level) -> str:
    """The task that keeps a level up to date in 2."""
    name = task_name(database, level)
    start = f"date.truncate(t: -{level.back}, unit: {level.name})"
    return (
        'import "date"\n\n'
        f'option task = {{name: "{name}", every: {level.every}, offset: 10s}}\n\n'
        f"{flux(database, policy, level, start)}"
    )
