"""Batch events from HTTP, MQTT, CSV, the command line and forms become production facts."""

from __future__ import annotations

import csv
import io
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from footprint.stated_batches import read_declared
from ingest.facts import FactWriter, load_facts
from ingest.journal import Journal
from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact, production_chain
from mrv.quantity import exact_number

FIELDS = (
    *("id", "line", "batch", "product", "event", "good", "scrap", "t", "supersedes"),
    *("source", "quantity", "unit", "u_percent"),
)
"""Fields of a batch event; the last four only of a declaration."""
STARTED, ENDED, DECLARED = "batch_started", "batch_ended", "amount_declared"
KINDS = {"start": STARTED, "end": ENDED, "declare": DECLARED}
"""Word of an event → type of the fact it makes."""


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """A batch starts or ends, or somebody states what a source gave to it."""

    id: str
    """Event id, unique: the same one twice is one event."""
    line: str
    """Line."""
    batch: str
    """Batch."""
    kind: str
    """Type of the fact: batch_started, batch_ended or amount_declared."""
    content: Mapping[str, str]
    """Body of the fact but for event and batch: product; good and scrap; or source, quantity,
    unit and u_percent. Numbers are exact decimals."""
    t: int
    """Moment, ns UTC."""
    supersedes: int | None
    """seq of the production fact it corrects, None = none."""


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
    if texts["event"] not in KINDS:
        raise InputError(
            f"one of {', '.join(KINDS)} is expected, seen {texts['event']!r}", field="event"
        )
    kind = KINDS[texts["event"]]
    return BatchEvent(
        texts["id"],
        texts["line"],
        texts["batch"],
        kind,
        _content(kind, body),
        moment(body.get("t", "")),
        _seq(body.get("supersedes")),
    )


def _content(kind: str, body: Mapping[str, Any]) -> dict[str, str]:
    if kind == STARTED:
        product = _plain(str(body.get("product") or ""), "product")
        if not product:
            raise InputError("a start names its product", field="product")
        return {"product": product}
    if kind == ENDED:
        return {"good": _decimal(body, "good"), "scrap": _decimal(body, "scrap")}
    source = _plain(str(body.get("source") or ""), "source")
    content = {"source": source, "quantity": str(body.get("quantity", ""))}
    content |= {"unit": str(body.get("unit", "")), "u_percent": _decimal(body, "u_percent")}
    read_declared(content)
    return content


def _seq(value: object) -> int | None:
    """Number of the fact an event corrects; in a table it is written as text."""
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InputError(
            f"the number of a fact is expected, seen {value!r:.40}", field="supersedes"
        )
    return int(text)


class BatchEvents:
    """Takes events in and states them as facts; an event id counts once."""

    def __init__(
        self,
        journal: Journal,
        writer: FactWriter,
        lines: Callable[[], list[str]],
        on_fact: Callable[[Fact], None] | None = None,
        known: Iterable[Fact] | None = None,
    ) -> None:
        """Events of the facts that are `known`, None = all of the journal."""
        self._journal = journal
        self._writer = writer
        self._lines = lines
        self._on_fact = on_fact
        self._lock = threading.Lock()
        self._seen: dict[str, Fact] = {}
        self._line_of: dict[str, str] = {}
        self._started: dict[tuple[str, int], str] = {}
        for fact in load_facts(journal) if known is None else known:
            if fact.header.type in KINDS.values():
                self._keep(fact)

    def _keep(self, fact: Fact) -> None:
        if "event_id" in fact.body:
            self._seen[str(fact.body["event_id"])] = fact
        header = fact.header
        if header.supersedes is not None:
            self._line_of.pop(self._started.get((header.chain, header.supersedes), ""), None)
        if header.type == STARTED:
            self._started[header.chain, header.seq] = fact.subject
            self._line_of[fact.subject] = header.chain.removeprefix(production_chain(""))

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
        content: dict[str, Any] = {"event_id": event.id, "batch": event.batch, **event.content}
        chain = production_chain(event.line)
        with self._lock:
            known = self._seen.get(event.id)
            if known is not None:
                header = known.header
                if (header.chain, known.body, header.valid_from) == (chain, content, event.t):
                    return known, False
                raise InputError(
                    f"event {event.id!r} was taken with other content",
                    field="id",
                    hint="send a correction under a new id, with `supersedes`",
                )
            self._check_place(event, chain)
            fact = self._writer.record(
                chain,
                event.kind,
                event.batch,
                content,
                author=author,
                valid_from=event.t,
                supersedes=event.supersedes,
            )
            self._keep(fact)
        if self._on_fact is not None:
            self._on_fact(fact)
        return fact, True

    def _check_place(self, event: BatchEvent, chain: str) -> None:
        """A batch runs on one line, and a correction names a fact that is there."""
        line = self._line_of.get(event.batch, event.line)
        if line != event.line:
            raise InputError(
                f"batch {event.batch!r} runs on line {line}, not {event.line}",
                field="line",
                hint="give the other batch a name of its own",
            )
        length = self._journal.chain_length(chain)[0]
        if event.supersedes is not None and event.supersedes >= length:
            raise InputError(
                f"{chain} has {length} facts, there is no #{event.supersedes}", field="supersedes"
            )

    def take_csv(self, text: str, file: str, author: str) -> tuple[int, list[InputError]]:
        """Events of a CSV file; how many were taken, and each bad row with its line."""
        taken = 0
        errors: list[InputError] = []
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        for row in _rows(reader, file, errors):
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


def _rows(
    reader: csv.DictReader[str], file: str, errors: list[InputError]
) -> Iterator[dict[str, str]]:
    """Rows of a table until one that is no CSV at all, which ends it and is an error."""
    try:
        yield from reader
    except csv.Error as error:
        errors.append(InputError(f"is not CSV: {error}", file=file, line=reader.line_num))
