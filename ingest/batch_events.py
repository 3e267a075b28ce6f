"""Batch events from HTTP, MQTT, CSV, the command line and forms become production facts."""

from __future__ import annotations

import csv
import io
import threading
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingest.facts import FactWriter, load_facts
from ingest.journal import Journal
from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact, production_chain
from mrv.quantity import exact_number

FIELDS = ("id", "line", "batch", "product", "event", "good", "scrap", "t", "supersedes")
"""Fields of a batch event."""
STARTED, ENDED = "batch_started", "batch_ended"


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """A batch starts or ends."""

    id: str
    """Event id, unique: the same one twice is one event."""
    line: str
    """Line."""
    batch: str
    """Batch."""
    product: str
    """Product; only of a start."""
    ends: bool
    """Whether it is the end."""
    good: str
    """Good output, exact decimal; only of an end."""
    scrap: str
    """Scrap, exact decimal; only of an end."""
    t: int
    """Moment, ns UTC."""


def _decimal(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "0")
    try:
        number = exact_number(str(value).strip())
    except ValueError as error:
        raise InputError(f"a decimal number is expected, seen {value!r}", field=name) from error
    if number < 0:
        raise InputError(f"not negative, seen {value!r}", field=name)
    return str(value)


def moment(value: object, field: str = "t") -> int:
    """Ns UTC from ISO 8601 with a zone, or from a decimal string of ns. Raises InputError."""
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) <= 19:
        found = int(text)
    else:
        found = _iso(text, field)
    if not -(2**63) <= found < 2**63:
        raise InputError(f"a time up to 2262 is expected, seen {text[:40]!r}", field=field)
    return found


def _iso(text: str, field: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"a time is expected, seen {text[:40]!r}",
            field=field,
            hint="write 2026-11-22T13:06:00+08:00",
        ) from error
    if parsed.tzinfo is None:
        raise InputError(
            f"a time with its zone is expected, seen {text!r}", field=field, hint="add +08:00 or Z"
        )
    try:
        whole = int(parsed.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError) as error:
        raise InputError(f"a time is expected, seen {text[:40]!r}", field=field) from error
    return whole * 10**9 + parsed.microsecond * 1000


def _plain(text: str, field: str) -> str:
    """The text, if it can be written down and shown: no control character, no half surrogate."""
    if len(text) > 128 or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise InputError(f"a short plain text is expected, seen {text!r:.60}", field=field)
    return text


def read_event(body: Mapping[str, Any]) -> BatchEvent:
    """A batch event from a plain record. Raises InputError naming the field."""
    for name in body:
        if name not in FIELDS:
            raise InputError("unknown field", field=str(name), hint=f"known: {', '.join(FIELDS)}")
    texts = {}
    for name in ("id", "line", "batch", "event"):
        value = body.get(name)
        if not isinstance(value, (str, int)) or not str(value) or len(str(value)) > 128:
            raise InputError(f"a text is expected, seen {value!r:.60}", field=name)
        texts[name] = _plain(str(value), name)
    if texts["event"] not in ("start", "end"):
        raise InputError(f"start or end is expected, seen {texts['event']!r}", field="event")
    ends = texts["event"] == "end"
    product = _plain(str(body.get("product") or ""), "product")
    if not ends and not product:
        raise InputError("a start names its product", field="product")
    return BatchEvent(
        texts["id"],
        texts["line"],
        texts["batch"],
        product,
        ends,
        _decimal(body, "good"),
        _decimal(body, "scrap"),
        moment(body.get("t", "")),
    )


class BatchEvents:
    """Takes events in and states them as facts; an event id counts once."""

    def __init__(
        self,
        journal: Journal,
        writer: FactWriter,
        lines: Callable[[], list[str]],
        on_fact: Callable[[Fact], None] | None = None,
    ) -> None:
        self._writer = writer
        self._lines = lines
        self._on_fact = on_fact
        self._lock = threading.Lock()
        self._seen: dict[str, Fact] = {
            str(fact.body["event_id"]): fact
            for fact in load_facts(journal)
            if fact.header.type in (STARTED, ENDED) and "event_id" in fact.body
        }

    def take(self, body: Mapping[str, Any], author: str) -> tuple[Fact, bool]:
        """The fact an event makes and whether it is new.

        Raises InputError for a bad field and where an id comes again with other content.
        `supersedes` names the seq of the production fact it corrects.
        """
        event = read_event(body)
        lines = self._lines()
        if lines and event.line not in lines:
            raise InputError(
                f"no line is called {event.line!r}",
                field="line",
                hint=f"lines: {', '.join(sorted(lines))}",
            )
        content: dict[str, Any] = {"event_id": event.id, "batch": event.batch}
        if event.ends:
            content |= {"good": event.good, "scrap": event.scrap}
        else:
            content["product"] = event.product
        supersedes = body.get("supersedes")
        if supersedes is not None and not (isinstance(supersedes, int) and supersedes >= 0):
            raise InputError(f"a number is expected, seen {supersedes!r}", field="supersedes")
        with self._lock:
            known = self._seen.get(event.id)
            if known is not None:
                same = known.body == content and known.header.valid_from == event.t
                if same:
                    return known, False
                raise InputError(
                    f"event {event.id!r} was taken with other content",
                    field="id",
                    hint="send a correction under a new id, with `supersedes`",
                )
            fact = self._writer.record(
                production_chain(event.line),
                ENDED if event.ends else STARTED,
                event.batch,
                content,
                author=author,
                valid_from=event.t,
                supersedes=supersedes,
            )
            self._seen[event.id] = fact
        if self._on_fact is not None:
            self._on_fact(fact)
        return fact, True

    def take_csv(self, text: str, file: str, author: str) -> tuple[int, list[InputError]]:
        """Events of a CSV file; how many were taken, and each bad row with its line."""
        taken, errors = 0, []
        reader = csv.DictReader(io.StringIO(text))
        for row in reader:
            record = {name: value for name, value in row.items() if value not in (None, "")}
            try:
                if None in row:
                    raise InputError("too many columns")
                self.take(record, author)
                taken += 1
            except MeterprintError as error:
                name = getattr(error, "field", "")
                errors.append(
                    InputError(
                        str(error.args[0]),
                        file=file,
                        line=reader.line_num,
                        field=name,
                        hint=error.hint,
                    )
                )
        return taken, errors
