"""What every page is given: language, names, numbers, templates."""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from dashboards import format as numbers
from dashboards.access import Right, Who
from dashboards.kept import Kept
from dashboards.read_model import ReadModel
from dashboards.shown import STALE_S
from dashboards.texts import LANGUAGES, choose_language, code, text
from footprint.batch import MILLION, BatchResult
from footprint.exact import decimal_text
from footprint.plant import LocalText

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


ROWS = 100
"""Batches or instruments on one page."""


PARTS: Kept[Markup] = Kept(4000)
"""Rows of pages, about a kilobyte each."""

MOMENTS = frozenset(("signed_from", "signed_to", "true_from", "true_to"))
"""Numbers of findings that are times, ns UTC."""


class Page:
    """What every template is given."""

    def __init__(self, read: ReadModel, request: Request) -> None:
        self.read = read
        self.language = choose_language(
            request.query_params.get("lang"),
            request.cookies.get("lang"),
            request.headers.get("accept-language"),
        )
        self.asked = request.query_params.get("lang") in LANGUAGES
        self.path = request.url.path
        self.who: Who = request.state.who
        self.troubles = read.troubles() if self.who.may(Right.FIGURES) else []
        self.partial = request.headers.get("hx-request") == "true"
        plant = read.plant()
        self.zone = plant.time_zone if plant else "UTC"
        self.plant = plant
        self.stale_s = STALE_S
        self._index = read.index()

    def may(self, right: str) -> bool:
        """Whether who asks has a right: figures, everything, state."""
        return self.who.may(Right(right))

    def t(self, key: str, **values: object) -> str:
        """A text."""
        return text(key, self.language, **values)

    def code(self, family: str, name: str) -> str:
        """A code of the engine in words."""
        return code(family, name, self.language)

    def local(self, name: LocalText) -> str:
        """A name in the page's language."""
        return name.zh if self.language == "zh" else name.en

    def product(self, name: str) -> str:
        """Name of a product, its id where the plant does not know it."""
        found = self.plant.product(name) if self.plant else None
        return name if found is None else self.local(found.name)

    def line(self, name: str) -> str:
        """Name of a line, its id where the plant does not know it."""
        found = self._index.lines.get(name)
        return name if found is None else self.local(found.name)

    def has_instrument(self, name: str) -> bool:
        """Whether the plant has an instrument of that id."""
        return name in self._index.instruments

    def meters(self, asked: str, anchor: str) -> str:
        """Address of a place among the instruments; of a large plant those `asked` for alone."""
        query = "" if len(self._index.instruments) <= ROWS else f"?{urlencode({'q': asked})}"
        return f"/meters{query}#{_part(anchor)}"

    def source(self, name: str) -> str:
        """Name of an emission source, its id where the plant does not know it."""
        found = self._index.source_names.get(name)
        return name.removeprefix("material:") if found is None else self.local(found)

    def scrap(self, result: BatchResult) -> str:
        """Scrap of a batch, declared units."""
        return decimal_text(Fraction(result.batch.scrap, MILLION))

    def moment(self, at: int | None) -> str:
        """A time in plant time."""
        return numbers.moment(at, self.zone)

    def day(self, at: int | None) -> str:
        """A day in plant time."""
        return numbers.day(at, self.zone)

    def ago(self, seconds: int) -> str:
        """An age in words: 3 s ago."""
        number, unit = numbers.age(seconds)
        return f"{number} {self.t(f'ago_{unit}')}"

    def number_of(self, name: str, value: str) -> str:
        """A number of a finding with its name: times in plant time, other nanoseconds as seconds.

        What an exchange states of a register has the register's name behind it.
        """
        kind, place, register = name.partition("_")
        if kind not in ("closing", "opening"):
            kind, place, register = name.removesuffix("_ns"), "", ""
        words = self.code("num", kind) + (f" {register}" if place else "")
        value = value or "–"
        if value.lstrip("-").isdigit():
            if name in MOMENTS:
                value = self.moment(int(value))
            elif name.endswith("_ns"):
                value = f"{numbers.significant(int(value) / 10**9)} s"
        elif name == "reason":
            value = self.code("wait", value)
        return f"{words} {value}"

    def span(self, seconds: int) -> str:
        """A length of time in words: 12 min."""
        number, unit = numbers.age(seconds)
        return f"{number} {self.code('span', unit)}"

    def part(self, name: str, /, **values: Any) -> Markup:
        """A template as text."""
        template = TEMPLATES.get_template(name)
        return Markup(  # noqa: S704 - the template has escaped what is in it
            template.render(
                page=self,
                t=self.t,
                local=self.local,
                moment=self.moment,
                numbers=numbers,
                decimal=decimal_text,
                url=_part,
                **values,
            )
        )

    def held(self, name: str, place: Hashable, basis: object, stamp: object) -> Markup | None:
        """What `kept` holds of that, None where it has to be made."""
        return PARTS.held((name, self.language, place), (self._index, basis), stamp)

    def kept(
        self, name: str, place: Hashable, basis: object, stamp: object, /, **values: Any
    ) -> Markup:
        """A part that is the same while the plant and `basis` are the same objects, `stamp` equal.

        `place` says which one it is, and what else differs between readers.
        """
        return PARTS.get(
            (name, self.language, place),
            (self._index, basis),
            stamp,
            lambda: self.part(name, **values),
        )

    def render(self, name: str, status: int = 200, **values: Any) -> Response:
        """The page."""
        other = "en" if self.language == "zh" else "zh"
        content = self.part(name, other=other, **values)
        response = Response(content, status, media_type="text/html; charset=utf-8")
        if self.asked:
            response.set_cookie("lang", self.language, max_age=31_536_000, samesite="strict")
        return response


def _part(name: str) -> str:
    """A name as one part of an address."""
    return quote(name, safe="")
