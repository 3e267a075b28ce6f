"""The pages, organised by question: now, batches, meters."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from dashboards import format as numbers
from dashboards.charts import contributions
from dashboards.read_model import LineNow, ReadModel
from dashboards.texts import LANGUAGES, choose_language, kind, text
from dashboards.words import words
from footprint.batch import BatchResult
from footprint.exact import decimal_text, quotient_text
from footprint.plant import LocalText
from mrv.errors import MeterprintError

SHOWN = 8
"""Rows of the uncertainty budget that are shown at once."""
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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
        plant = read.plant()
        self.zone = plant.time_zone if plant else "UTC"
        self.plant = plant

    def t(self, key: str, **values: object) -> str:
        """A text."""
        return text(key, self.language, **values)

    def local(self, name: LocalText) -> str:
        """A name in the page's language."""
        return name.zh if self.language == "zh" else name.en

    def product(self, name: str) -> str:
        """Name of a product, its id where the plant does not know it."""
        found = self.plant.product(name) if self.plant else None
        return name if found is None else self.local(found.name)

    def line(self, name: str) -> str:
        """Name of a line, its id where the plant does not know it."""
        found = self.plant.line(name) if self.plant else None
        return name if found is None else self.local(found.name)

    def kind(self, name: str) -> str:
        """Kind of an instrument in words."""
        return kind(name, self.language)

    def moment(self, at: int | None) -> str:
        """A time in plant time."""
        return numbers.moment(at, self.zone)

    def clock(self, at: int | None, day_of: int | None = None) -> str:
        """Date and time of day in plant time; without the date where it is that of `day_of`."""
        return numbers.clock(at, self.zone, day_of)

    def day(self, at: int | None) -> str:
        """A date, plant time."""
        return numbers.day(at, self.zone)

    def last_day(self, at: int | None) -> str:
        """The last whole date before a half-open end, plant time."""
        return numbers.day(None if at is None else at - 1, self.zone)

    def render(self, name: str, **values: Any) -> Response:
        """The page."""
        other = "en" if self.language == "zh" else "zh"
        content = TEMPLATES.get_template(name).render(
            page=self,
            t=self.t,
            local=self.local,
            moment=self.moment,
            numbers=numbers,
            decimal=decimal_text,
            other=other,
            **values,
        )
        response = Response(content, media_type="text/html; charset=utf-8")
        if self.asked:
            response.set_cookie("lang", self.language, max_age=31_536_000, samesite="strict")
        return response


def _line(page: Page, now: LineNow) -> dict[str, Any]:
    """What the card of a line says: the latest batch with a figure per unit."""
    shown = now.settled
    running = now.result
    energy = None
    if shown is not None and any(s.unit in ("kWh", "MWh") for s in shown.sources):
        energy = quotient_text(shown.energy(), shown.good)
    value, spread = numbers.short(
        shown.per_unit if shown else None, shown.u_per_unit if shown else None
    )
    names = {p.id: p.name for p in page.plant.products} if page.plant else {}
    product = page.plant.product(shown.batch.product) if page.plant and shown else None
    return {
        "now": now,
        "shown": shown,
        "running": running if running is not None and running.batch.end is None else None,
        "value": value,
        "spread": spread,
        "unit": numbers.carbon_unit(shown.unit if shown else "piece", page.language),
        "energy": None if energy is None else numbers.significant(energy, 3),
        "energy_unit": numbers.per_unit("kWh", shown.unit if shown else "piece", page.language),
        "target": None
        if product is None or product.target is None
        else decimal_text(product.target),
        "names": names,
        "products": page.plant.products if page.plant else (),
    }


def router(read: ReadModel) -> APIRouter:
    """The routes of the pages."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    def home(request: Request) -> Response:
        page = Page(read, request)
        return page.render("now.html", cards=[_line(page, now) for now in read.lines()])

    @pages.get("/fragments/line/{name}")
    def line_fragment(name: str, request: Request) -> Response:
        page = Page(read, request)
        for now in read.lines():
            if now.line == name:
                return page.render("line.html", card=_line(page, now))
        return Response(status_code=404)

    @pages.get("/batches")
    def batches(request: Request) -> Response:
        return Page(read, request).render("batches.html", batches=read.batches())

    @pages.get("/batches/{name}")
    def batch(name: str, request: Request) -> Response:
        page = Page(read, request)
        result = read.batch(name)
        if result is None:
            response = page.render("missing.html")
            response.status_code = 404
            return response
        names = {s.id: s.name for s in page.plant.sources} if page.plant else {}
        chart = contributions(result, page.plant, page.language)
        factors = read.factors(result)
        budget = result.components.budget()
        top = max(result.sources, key=lambda s: s.burden, default=None)
        return page.render(
            "batch.html",
            result=result,
            names=names,
            chart=Markup(chart),  # noqa: S704 (charts.py escapes what it is given)
            unit=numbers.carbon_unit(result.unit, page.language),
            budget=budget[:SHOWN],
            rest=budget[SHOWN:],
            rest_share=sum(part for *_, part in budget[SHOWN:]),
            factors=factors,
            reasons=_reasons(page, result),
            certificates=read.certificates(result),
            revisions=read.revisions(name),
            digest=result.digest(),
            top=local_name(page, names, top.source) if top and top.burden else None,
        )

    @pages.get("/batches/{name}/evidence")
    def evidence(name: str, request: Request) -> Response:
        page = Page(read, request)
        result = read.batch(name)
        if result is None:
            response = page.render("missing.html")
            response.status_code = 404
            return response
        found = read.evidence(name)
        return page.render(
            "evidence.html",
            result=result,
            evidence=found,
            streams=found.streams(),
            digest=result.digest(),
        )

    @pages.get("/help")
    def help_page(request: Request) -> Response:
        page = Page(read, request)
        return page.render("help.html", words=words(page.language))

    @pages.get("/meters")
    def meters(request: Request) -> Response:
        page = Page(read, request)
        rows = read.meters()
        bad = sum(1 for row in rows if row.state != "valid")
        return page.render("meters.html", rows=rows, bad=bad, agents=read.agents())

    @pages.post("/batches")
    def batch_event(
        request: Request,
        line: Annotated[str, Form()],
        event: Annotated[str, Form()],
        batch: Annotated[str, Form()],
        product: Annotated[str, Form()] = "",
        good: Annotated[str, Form()] = "0",
        scrap: Annotated[str, Form()] = "0",
    ) -> Response:
        page = Page(read, request)
        body: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "line": line,
            "event": event,
            "batch": batch,
            "t": str(time.time_ns()),
        }
        body |= {"product": product} if event == "start" else {"good": good, "scrap": scrap or "0"}
        try:
            read.batch_event(body, "page")
        except MeterprintError as error:
            response = page.render("refused.html", error=error)
            response.status_code = 422
            return response
        return RedirectResponse("/", status_code=303)

    return pages


def _reasons(page: Page, result: BatchResult) -> dict[str, str]:
    """Why each factor was chosen, in words."""
    found = {}
    for source in result.sources:
        if source.factor:
            text = page.t(f"reason_{source.factor_reason}")
            default = f"; {page.t('default_u')}" if source.factor_default_u else ""
            found[source.factor] = text + default
    return found


def local_name(page: Page, names: dict[str, LocalText], source: str) -> str:
    """Name of an emission source in the page's language."""
    return page.local(names[source]) if source in names else source
