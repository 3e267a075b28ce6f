"""The mapping file of a replay: how rows of tables become readings and batches (docs: replay)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from device_profiles.yaml_tree import read_yaml
from footprint.reader import InputErrors, Node
from mrv.channel import AssuranceTier
from mrv.errors import InputError


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """A column of a table and the channel it feeds."""

    column: str
    """Heading in the table."""
    channel: str
    """`<instrument>.<register>`."""
    resolution: Fraction
    """Value of one count."""
    unit: str
    """Unit."""


@dataclass(frozen=True, slots=True)
class MappedTable:
    """One table of the data."""

    file: str
    """File name in the data directory."""
    kind: str
    """amount | counter | gauge."""
    columns: tuple[MappedColumn, ...]
    """Columns that are readings."""
    batch: str
    """Column with the batch, "" = none."""
    times: str
    """File with the time of each cell of the same row key and column, "" = none."""
    time: str
    """Column with the time, "" = none."""
    end: str
    """Column with the end of the interval, "" = none."""
    length_s: int
    """Length of an interval that is stamped once, s; 0 = a moment."""
    stamped_end: bool
    """Whether the one stamp is the end of the interval."""
    next_day_if: tuple[str, str]
    """(column, text): with that text the stamp is of the next day; ("", "") = never."""
    at_batch_end: bool
    """Whether the amount is dated to the last event of its batch."""
    power: bool
    """Whether the column is a mean power: amount = value × hours of the interval."""


@dataclass(frozen=True, slots=True)
class MappedBatches:
    """How batches come about."""

    line: str
    """Line."""
    product: str
    """Product."""
    by: str
    """key (first to last event of each key) | day (calendar days)."""
    prefix: str
    """Put before the key or the day."""
    good: str
    """Good output of each batch, decimal."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure the data states of itself, to be recomputed."""

    column: str
    """Column with tCO2 a row."""
    of: str
    """Column with the kWh it rests on."""
    factor: Fraction
    """kgCO2e/kWh the claim uses."""
    decimals: int
    """Decimals of the claim."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A whole mapping file."""

    file: str
    """Where it was read."""
    agent: str
    """Agent that replays."""
    stream: str
    """Stream of all channels."""
    tier: AssuranceTier
    """Tier: a file import is D."""
    time_format: str
    """strptime format of all times; they are UTC unless they say otherwise."""
    tables: tuple[MappedTable, ...]
    """Tables."""
    batches: MappedBatches
    """Batches."""
    claim: Claim | None
    """Claim to check, None = none."""
    overlap: tuple[str, ...]
    """Channels whose intervals may not overlap."""
    within: tuple[tuple[str, str], ...]
    """(prefix of channels, channel): amounts of the first must fall into the batch's span of the
    second."""
    required: tuple[str, ...]
    """Channels every batch must have an amount of."""

    def columns(self) -> list[tuple[MappedTable, MappedColumn]]:
        """Every mapped column with its table."""
        return [(table, column) for table in self.tables for column in table.columns]


_TABLE = (
    "file",
    "kind",
    "columns",
    "batch",
    "times",
    "time",
    "end",
    "length_s",
    "stamped",
    "next_day_if",
    "at",
    "value",
)


def _table(node: Node) -> MappedTable:
    node.members(_TABLE)
    columns = []
    for item in node.child("columns").items():
        item.members(("column", "channel", "resolution", "unit"))
        columns.append(
            MappedColumn(
                item.child("column").text(),
                item.child("channel").text(),
                item.child("resolution").number(positive=True),
                item.child("unit").text(),
            )
        )
    next_day = node.child("next_day_if")
    if next_day.value is not None:
        next_day.members(("column", "is"))
    table = MappedTable(
        file=node.child("file").text(),
        kind=node.child("kind").choice(("amount", "counter", "gauge")),
        columns=tuple(columns),
        batch=node.child("batch").text(""),
        times=node.child("times").text(""),
        time=node.child("time").text(""),
        end=node.child("end").text(""),
        length_s=node.child("length_s").integer(0),
        stamped_end=node.child("stamped").choice(("start", "end"), "start") == "end",
        next_day_if=(next_day.child("column").text(""), next_day.child("is").text("")),
        at_batch_end=node.child("at").choice(("time", "batch_end"), "time") == "batch_end",
        power=node.child("value").choice(("amount", "mean_power"), "amount") == "mean_power",
    )
    if not (table.time or table.times or table.at_batch_end):
        node.child("time").fault("a column with the time is expected", "or times, or at: batch_end")
    return table


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises InputErrors with file, line and field of every fault."""
    source = read_yaml(path)
    faults: list[InputError] = []
    node = Node(source.tree, "", faults)
    node.members(("agent", "stream", "tier", "time_format", "tables", "batches", "claim", "checks"))
    batches = node.child("batches")
    batches.members(("line", "product", "by", "prefix", "good"))
    claim = node.child("claim")
    if claim.value is not None:
        claim.members(("column", "of", "factor", "decimals"))
    checks = node.child("checks")
    within = []
    if checks.value is not None:
        checks.members(("overlap", "within", "required"))
        for item in checks.child("within").items():
            item.members(("channels", "span_of"))
            within.append((item.child("channels").text(), item.child("span_of").text()))
    mapping = Mapping(
        file=str(path),
        agent=node.child("agent").text(),
        stream=node.child("stream").text(),
        tier=AssuranceTier(node.child("tier").choice(("B", "C", "D"), "D")),
        time_format=node.child("time_format").text("%Y-%m-%d %H:%M:%S"),
        tables=tuple(_table(item) for item in node.child("tables").items()),
        batches=MappedBatches(
            batches.child("line").text(),
            batches.child("product").text(),
            batches.child("by").choice(("key", "day"), "key"),
            batches.child("prefix").text(""),
            batches.child("good").text("1"),
        ),
        claim=None
        if claim.value is None
        else Claim(
            claim.child("column").text(),
            claim.child("of").text(),
            claim.child("factor").number(positive=True),
            claim.child("decimals").integer(2),
        ),
        overlap=checks.child("overlap").texts(),
        within=tuple(within),
        required=checks.child("required").texts(),
    )
    if faults:
        raise InputErrors([source.locate(fault) for fault in faults])
    return mapping
